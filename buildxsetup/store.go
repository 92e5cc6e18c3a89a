package buildxsetup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/platforms"
	"github.com/docker/buildx/store"
	"github.com/docker/buildx/util/confutil"
	"github.com/gofrs/flock"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// remoteDriver is buildx's name for "somebody else runs this buildkitd".
const remoteDriver = "remote"

// lockTimeout bounds the wait for buildx's own lock on its directory, which it
// holds for the few milliseconds of a read or write.
const lockTimeout = 10 * time.Second

var errLockTimeout = fmt.Errorf("another process holds it for %s", lockTimeout)

// current is buildx's record of the builder that commands use by default. With
// Global set it holds for every Docker endpoint, else for the endpoint Key.
type current struct {
	Key    string
	Name   string
	Global bool
}

// withStore runs f while buildx's directory is locked. The directory is made
// when absent; an existing one is not touched unless f writes.
func withStore(ctx context.Context, dir string, f func(*store.Txn) error) error {
	s, err := store.New(confutil.NewConfig(nil, confutil.WithDir(dir)))
	if err != nil {
		return fmt.Errorf("opening the builders in %s: %w", dir, err)
	}
	if err := awaitLock(ctx, dir); err != nil {
		return err
	}
	txn, unlock, err := s.Txn()
	if err != nil {
		return fmt.Errorf("locking the builders in %s: %w", dir, err)
	}
	defer unlock()
	return f(txn)
}

// awaitLock waits until the lock is free, because [store.Store.Txn] itself waits
// without bound. Somebody may take it in between, for as short a time again.
func awaitLock(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockTimeout, errLockTimeout)
	defer cancel()
	lock := flock.New(filepath.Join(dir, ".lock"))
	_, err := lock.TryLockContext(ctx, 20*time.Millisecond)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err := errors.Join(err, lock.Close()); err != nil {
		return fmt.Errorf("locking the builders in %s: %w", dir, err)
	}
	return nil
}

// readCurrent reads the record directly: [store.Txn.Current] resets it when it
// is asked for another Docker endpoint.
func readCurrent(dir string) (current, error) {
	var c current
	data, err := os.ReadFile(filepath.Join(dir, "current"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("reading the current builder: %w", err)
	}
	if err := json.Unmarshal(data, &c); err != nil {
		return current{}, nil //nolint:nilerr // buildx, too, takes a broken record for none
	}
	return c, nil
}

// writeBuilder makes the stored builder equal to name and nodes and current for
// every Docker endpoint. With load, builds load their images unless the record
// says otherwise. It reports what it changed and writes nothing when
// there is nothing to change.
func writeBuilder(ctx context.Context, dir, name string, nodes []Node, load bool) (changed []string, before current, err error) {
	err = withStore(ctx, dir, func(txn *store.Txn) error {
		old, err := txn.NodeGroupByName(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			old = nil // unreadable is as good as absent: it is written anew
		}
		want := nodeGroup(name, nodes, old, load)
		if changed = differences(old, want); len(changed) > 0 {
			if err := txn.Save(want); err != nil {
				return fmt.Errorf("writing builder %s: %w", name, err)
			}
		}
		if before, err = readCurrent(dir); err != nil {
			return err
		}
		if before.Global && before.Name == name {
			return nil
		}
		changed = append(changed, "current")
		if err := txn.SetCurrent("", name, true, false); err != nil {
			return fmt.Errorf("making builder %s current: %w", name, err)
		}
		return nil
	})
	return changed, before, err
}

// nodeGroup is the stored form of a builder. Options of old that are not ours to
// decide are kept.
func nodeGroup(name string, nodes []Node, old *store.NodeGroup, load bool) *store.NodeGroup {
	group := &store.NodeGroup{Name: name, Driver: remoteDriver}
	for _, n := range nodes {
		stored := store.Node{Name: n.Name, Endpoint: n.Endpoint}
		if n.Pinned {
			stored.Platforms = n.Platforms
		}
		if n.tls != nil {
			stored.DriverOpts = map[string]string{"cacert": n.tls.ca, "cert": n.tls.cert, "key": n.tls.key, "servername": n.tls.serverName}
		}
		option, ok := keptOption(old, n.Name, "default-load")
		if !ok && load {
			option, ok = "true", true
		}
		if ok {
			if stored.DriverOpts == nil {
				stored.DriverOpts = make(map[string]string)
			}
			stored.DriverOpts["default-load"] = option
		}
		group.Nodes = append(group.Nodes, stored)
	}
	return group
}

func keptOption(old *store.NodeGroup, node, option string) (string, bool) {
	if old == nil {
		return "", false
	}
	for _, n := range old.Nodes {
		if n.Name == node {
			v, ok := n.DriverOpts[option]
			return v, ok
		}
	}
	return "", false
}

// differences names what in old is not as in want; none means equal.
func differences(old, want *store.NodeGroup) []string {
	if old == nil {
		return []string{"builder"}
	}
	var out []string
	add := func(what string, differs bool) {
		if differs && !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	add("driver", old.Driver != want.Driver || old.Dynamic)
	add("nodes", len(old.Nodes) != len(want.Nodes))
	for i := range min(len(old.Nodes), len(want.Nodes)) {
		o, w := old.Nodes[i], want.Nodes[i]
		add("nodes", o.Name != w.Name)
		add("endpoint", o.Endpoint != w.Endpoint)
		add("options", !maps.Equal(o.DriverOpts, w.DriverOpts))
		add("options", len(o.BuildkitdFlags) > 0 || len(o.Files) > 0)
		add("platforms", !slices.EqualFunc(o.Platforms, w.Platforms, samePlatform))
	}
	return out
}

func samePlatform(a, b ocispecs.Platform) bool {
	return platforms.FormatAll(platforms.Normalize(a)) == platforms.FormatAll(platforms.Normalize(b))
}

// removeBuilder deletes the stored builder name and reports whether there was
// one. When it was current, the record goes back to what before says.
func removeBuilder(ctx context.Context, dir, name string, before current) (removed bool, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	err = withStore(ctx, dir, func(txn *store.Txn) error {
		if _, err := txn.NodeGroupByName(name); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return fmt.Errorf("reading builder %s: %w", name, err)
		}
		if err := txn.Remove(name); err != nil {
			return fmt.Errorf("removing builder %s: %w", name, err)
		}
		removed = true
		now, err := readCurrent(dir)
		if err != nil || now.Name != name {
			return err
		}
		if before.Name == name {
			before = current{}
		}
		if err := txn.SetCurrent(before.Key, before.Name, before.Global, false); err != nil {
			return fmt.Errorf("taking back the current builder: %w", err)
		}
		return nil
	})
	return removed, err
}

// storedCurrent returns the builder that buildx would use now, as nodes we can
// reach ourselves. None is an answer: ok is false and reason says why.
func storedCurrent(ctx context.Context, dir string) (name string, nodes []Node, reason string, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return "", nil, "buildx has no builder", nil
	}
	err = withStore(ctx, dir, func(txn *store.Txn) error {
		c, err := readCurrent(dir)
		if err != nil {
			return err
		}
		if c.Name == "" {
			reason = "no builder is current"
			return nil
		}
		group, err := txn.NodeGroupByName(c.Name)
		if err != nil {
			reason = fmt.Sprintf("the current builder %s has no record", c.Name)
			return nil //nolint:nilerr // reported as the reason
		}
		if group.Driver != remoteDriver {
			reason = fmt.Sprintf("the current builder %s has the driver %q, which only the docker CLI can reach", c.Name, group.Driver)
			return nil
		}
		name = group.Name
		for _, n := range group.Nodes {
			node := Node{Name: n.Name, Endpoint: n.Endpoint, Platforms: n.Platforms, Pinned: len(n.Platforms) > 0}
			if ca := n.DriverOpts["cacert"]; ca != "" {
				node.tls = &tlsFiles{ca: ca, cert: n.DriverOpts["cert"], key: n.DriverOpts["key"], serverName: n.DriverOpts["servername"]}
			}
			nodes = append(nodes, node)
		}
		return nil
	})
	return name, nodes, reason, err
}
