package gitsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/runner/internal/plainfile"
)

const (
	// updateTimeout bounds the update, which others wait for.
	updateTimeout = 30 * time.Minute
	// manyPacks is the number of packs from which on they are joined: each fetch
	// that brought something leaves one, and git looks into all.
	manyPacks = 30
)

var (
	// errFetch says that the update of a mirror failed in git.
	errFetch  = errors.New("fetching into the mirror failed")
	errBroken = errors.New("its files are not what they were") // a wrapped one says what is wrong
	errUpdate = fmt.Errorf("its update took longer than %s", updateTimeout)
	errBusy   = errors.New("another agent reads it")
)

// update fetches what is new at the server into the mirror.
func (m *mirror) update(ctx context.Context) error {
	for _, dir := range []string{"pack", "info"} {
		if err := os.MkdirAll(filepath.Join(m.dir, "objects", dir), 0o755); err != nil { //nolint:gosec // other agents read it as other users
			return m.broken(err)
		}
	}
	wait, cancel := m.patient(ctx)
	defer cancel()
	return m.locked(wait, ".lock", false, func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, updateTimeout, errUpdate)
		defer cancel()
		if err := m.front(); err != nil {
			return err
		}
		m.sweep()
		refspecs := []string{"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"}
		if s := m.Source; s.Ref != "" && !ours(s.Ref) {
			refspecs = append(refspecs, "+"+s.Ref+":"+s.Ref)
		}
		args := append([]string{"fetch", "--force", "--no-tags", "--prune", "--progress", "--no-write-fetch-head", m.URL}, refspecs...)
		if err := m.git(ctx, m.header(), args...); err != nil {
			return fmt.Errorf("%w: %w", errFetch, err)
		}
		if err := m.git(ctx, nil, "pack-refs", "--all", "--prune"); err != nil {
			return fmt.Errorf("keeping the refs: %w", err)
		}
		if err := m.keepRefs(); err != nil {
			return err
		}
		return m.join(ctx)
	})
}

// git runs git on the repository in front of the mirror.
func (m *mirror) git(ctx context.Context, config map[string]string, args ...string) error {
	return m.Mirrors.Run(ctx, m.scratch, config, append([]string{"--git-dir=" + m.scratch}, args...)...)
}

// frontConfig is the configuration of a repository in front of a mirror: git tidies
// nothing up on its own, keeps what it fetches in packs, and serves any commit.
const frontConfig = `[core]
	repositoryformatversion = 0
	bare = true
[gc]
	auto = 0
[http]
	version = HTTP/1.1
[fetch]
	unpackLimit = 1
[uploadpack]
	allowAnySHA1InWant = true
`

// front makes the repository that git works on. The objects are those of the mirror.
func (m *mirror) front() error {
	refs, err := m.read(filepath.Join(m.dir, "packed-refs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return m.broken(err)
	}
	if err := onlyPlain(filepath.Join(m.dir, "objects")); err != nil {
		return m.broken(err)
	}
	return errors.Join(
		os.Mkdir(filepath.Join(m.scratch, "refs"), 0o700),
		os.WriteFile(filepath.Join(m.scratch, "HEAD"), []byte("ref: refs/heads/main\n"), 0o600),
		os.WriteFile(filepath.Join(m.scratch, "config"), []byte(frontConfig), 0o600),
		os.WriteFile(filepath.Join(m.scratch, "packed-refs"), onlyRefs(refs), 0o600),
		os.Symlink(filepath.Join(m.dir, "objects"), filepath.Join(m.scratch, "objects")),
	)
}

// keepRefs gives the mirror the branches and tags of the repository in front of it.
// Pull requests come and go by the thousand, so theirs are not kept.
func (m *mirror) keepRefs() error {
	refs, err := os.ReadFile(filepath.Join(m.scratch, "packed-refs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keeping the refs: %w", err)
	}
	file := filepath.Join(m.dir, "packed-refs")
	if err := plainfile.Replace(file+".new", file, bytes.NewReader(onlyRefs(refs)), 0o644); err != nil {
		return fmt.Errorf("keeping the refs: %w", m.broken(err))
	}
	return nil
}

// broken says that err is the fault of a mirror that is there, and not of a disk
// that is full or not ours to write.
func (m *mirror) broken(err error) error {
	for _, of := range []error{syscall.EROFS, syscall.ENOSPC, syscall.EDQUOT} {
		if errors.Is(err, of) {
			return err
		}
	}
	if !there(m.dir) {
		return err
	}
	return fmt.Errorf("%w: %w", errBroken, err)
}

// onlyPlain looks for what is neither a file nor a directory below dir. Git would
// wait for a pipe, in the place of a pack or of a list of other repositories.
func onlyPlain(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // a pack that another agent has just joined
		case err == nil && !d.IsDir() && !d.Type().IsRegular():
			return fmt.Errorf("%s is no plain file", path)
		}
		return err
	})
}

// sweep removes what a killed git left half written. The mirror is locked.
func (m *mirror) sweep() {
	left, _ := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "tmp_*")) // the pattern is well formed
	for _, file := range left {
		_ = os.Remove(file) // no more than space is lost
	}
}

// join makes fewer packs out of many, the small ones first. Nothing is dropped. A
// reader that has a pack to itself holds it up until the next time.
func (m *mirror) join(ctx context.Context) error {
	packs, _ := filepath.Glob(filepath.Join(m.dir, "objects", "pack", "*.pack")) // as in sweep
	if len(packs) < manyPacks {
		return nil
	}
	now, cancel := context.WithCancelCause(ctx)
	cancel(errBusy)
	err := m.locked(now, ".use", false, func() error { return m.git(ctx, nil, "repack", "-d", "--geometric=2") })
	if err != nil && ctx.Err() == nil {
		m.Log("The " + strconv.Itoa(len(packs)) + " packs of the mirror stay as they are: " + err.Error())
		return nil
	}
	return err
}
