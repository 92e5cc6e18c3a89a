package podmanrun

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

// extension is the key of a service whose content is ours.
const extension = "x-dockless"

// WarmScopes say whose volumes a stack may start from, and who may start from its.
// They are names of letters, digits, dots, dashes and underscores. The zero value
// keeps and finds nothing.
type WarmScopes struct {
	Own   string   // where what this stack keeps goes, and where it looks first
	Other []string // where it looks besides
}

func (s WarmScopes) all() []string {
	if s.Own == "" {
		return nil
	}
	return append([]string{s.Own}, s.Other...)
}

// warmWish is what a service says below x-dockless.
type warmWish struct {
	on      bool
	volumes []string // names or places of those that matter; nil: all
}

// warmWishOf reads x-dockless: {warm: true} or {warm: {volumes: [data, /var/lib/x]}}.
func warmWishOf(s types.ServiceConfig) (warmWish, error) {
	value, ok := s.Extensions[extension]
	if !ok || value == nil {
		return warmWish{}, nil
	}
	keys, ok := value.(map[string]any)
	if !ok {
		return warmWish{}, fmt.Errorf("%s is no mapping", extension)
	}
	for key := range keys {
		if key != "warm" {
			return warmWish{}, fmt.Errorf("%s has no key %s, only warm", extension, key)
		}
	}
	switch v := keys["warm"].(type) {
	case nil:
		return warmWish{}, nil
	case bool:
		return warmWish{on: v}, nil
	case map[string]any:
		list, ok := v["volumes"].([]any)
		wish := warmWish{on: true}
		for _, item := range list {
			text, isText := item.(string)
			ok = ok && isText
			wish.volumes = append(wish.volumes, text)
		}
		if !ok || len(list) == 0 || len(v) != 1 {
			return warmWish{}, fmt.Errorf("%s: warm has volumes, a list of names of volumes and of places in the container, and nothing else", extension)
		}
		return wish, nil
	}
	return warmWish{}, fmt.Errorf("%s: warm is neither true, false nor a mapping with volumes", extension)
}

// warmVolume is a volume whose content is kept.
type warmVolume struct {
	key     string // in the compose file; empty is one of the container's own
	name    string
	target  string
	options []string
}

// wants reports whether the volume is one of those that a service names.
func (w warmWish) wants(v warmVolume) bool {
	return w.volumes == nil || v.key != "" && slices.Contains(w.volumes, v.key) || slices.Contains(w.volumes, v.target)
}

// privateVolume names the volume that one container has at target, the same in
// every start.
func privateVolume(p *types.Project, service, target string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, strings.Trim(target, "/"))
	return p.Name + "_" + service + "_" + name
}

// notWarmError is why a service cannot be started warm.
type notWarmError string

func (e notWarmError) Error() string { return string(e) }

// warmVolumes finds the volumes of a service whose content is kept. What would make the state of one start
// wrong for the next is an [notWarmError].
func (n *unit) warmVolumes(wish warmWish, img *libpod.Image) ([]warmVolume, error) {
	if err := n.warmable(wish); err != nil {
		return nil, err
	}
	mounted := make(map[string]bool)
	for _, m := range n.request.Mounts {
		mounted[path.Clean(m.Destination)] = true
	}
	var list []warmVolume
	for _, v := range n.request.Volumes {
		mounted[path.Clean(v.Dest)] = true
		volume := warmVolume{key: n.volumeKey(v.Name), name: v.Name, target: path.Clean(v.Dest), options: v.Options}
		if v.Name == "" {
			volume.name = privateVolume(n.up.project, n.name, volume.target)
		}
		if !wish.wants(volume) {
			continue
		}
		if err := n.keepable(v, volume); err != nil {
			return nil, err
		}
		list = append(list, volume)
	}
	for _, target := range slices.Sorted(maps.Keys(img.Config.Volumes)) {
		volume := warmVolume{target: path.Clean(target)}
		volume.name = privateVolume(n.up.project, n.name, volume.target)
		if mounted[volume.target] || !wish.wants(volume) {
			continue
		}
		list = append(list, volume)
	}
	for _, wanted := range wish.volumes {
		if !slices.ContainsFunc(list, func(v warmVolume) bool { return v.key == wanted || v.target == wanted }) {
			return nil, notWarmError("it has no volume " + wanted)
		}
	}
	if len(list) == 0 {
		return nil, notWarmError("it has no volume")
	}
	slices.SortFunc(list, func(a, b warmVolume) int { return strings.Compare(a.target, b.target) })
	return list, nil
}

// warmable tells what about a service, beside its whole volumes, keeps it from
// starting warm.
func (n *unit) warmable(wish warmWish) error {
	s := n.service
	switch {
	case n.health == nil:
		return notWarmError("it has no healthcheck, which would tell when its data is complete")
	case s.GetScale() != 1:
		return notWarmError("it has several containers")
	case n.completes:
		return notWarmError("another service waits for its end")
	case len(s.PostStart)+len(s.PreStop) > 0:
		return notWarmError("it has hooks, which would run on data that they have changed already")
	case len(n.request.Secrets) > 0:
		return notWarmError("it has a secret of Podman's, whose content cannot be compared")
	case len(n.request.VolumesFrom)+len(n.request.ImageVolumes) > 0:
		return notWarmError("it has volumes of another container or image")
	}
	// Their mounts tell only some releases of Podman that they are parts.
	for _, p := range partsIn(n.request.Labels) {
		if target := path.Clean(p.Target); wish.wants(warmVolume{key: n.volumeKey(p.Volume), target: target}) {
			return notWarmError("only a part of volume " + target + " is mounted")
		}
	}
	if name := n.guest(); name != "" {
		return notWarmError("service " + name + " lives in its container")
	}
	return nil
}

// keepable tells what about a volume keeps it from being kept.
func (n *unit) keepable(v libpod.NamedVolume, w warmVolume) error {
	switch {
	case slices.Contains(v.Options, "ro"):
		return notWarmError("volume " + w.target + " is read-only, and what fills it cannot be compared")
	case v.Name == "":
		return nil
	case w.key == "":
		return notWarmError("volume " + w.target + " is not one of the project's")
	}
	config := n.up.project.Volumes[w.key]
	if bool(config.External) || config.Driver != "" && config.Driver != "local" || len(config.DriverOpts) > 0 {
		return notWarmError("volume " + w.key + " is external, or has a driver of its own")
	}
	for name, other := range n.up.project.AllServices() {
		for _, ov := range other.Volumes {
			if name != n.name && ov.Type == types.VolumeTypeVolume && ov.Source == w.key {
				return notWarmError("volume " + w.key + " is service " + name + "'s, too")
			}
		}
	}
	return nil
}

// volumeKey is the key in the compose file of a volume; empty for any other.
func (n *unit) volumeKey(name string) string {
	for key := range n.up.project.Volumes {
		if name != "" && volumeName(n.up.project, key) == name {
			return key
		}
	}
	return ""
}

// warmKey makes the key of the state that the service is in when it is healthy for
// the first time: everything that it starts from.
func (n *unit) warmKey(ctx context.Context, volumes []warmVolume, img *libpod.Image) (string, error) {
	r, k := n.request, warm.NewKey()
	k.Add("image", []string{img.ID, img.OS, img.Architecture})
	k.Add("entrypoint", r.Entrypoint)
	k.Add("command", r.Command)
	k.Add("environment", r.Env)
	k.Add("user", append([]string{r.User, r.WorkDir, r.Hostname, r.Umask}, r.Groups...))
	k.Add("check", n.health.Test)
	for _, v := range volumes {
		k.Add("volume", v.target)
	}
	for _, f := range r.files {
		k.Add("file", []any{f.Path, f.Mode, f.UID, f.GID, f.Content})
	}
	parts := partsIn(r.Labels)
	for _, m := range r.Mounts {
		// A part that nobody wishes to keep is no more compared than a whole volume.
		if m.Type != types.VolumeTypeBind || slices.ContainsFunc(parts, func(p part) bool { return p.Target == m.Destination }) {
			continue
		}
		if !n.up.client.local() {
			return "", notWarmError("it has a bind mount, and Podman is on another machine")
		}
		if err := k.AddFiles(ctx, "mount "+m.Destination, m.Source); err != nil {
			if ctx.Err() == nil {
				err = notWarmError(fmt.Sprintf("what is mounted at %s cannot be compared: %v", m.Destination, err))
			}
			return "", err
		}
	}
	return k.String(), nil
}

// Fixture is the state of a service that later starts begin from.
type Fixture = warm.Fixture

// errNoWarmDir means that there is no place for fixtures.
const errNoWarmDir notWarmError = "there is no place for data that is kept: this user cannot write beside Podman's volumes, and DOCKLESS_WARM_DIR is not set"

// warmStore finds where fixtures are kept. A volume that is there, if any, spares
// Podman a third of a second: it knows its place at once and tells of itself slowly.
func (c *Client) warmStore(ctx context.Context, volume string) (warm.Store, error) {
	store := warm.Store{Dir: c.warmDir, Size: c.warmSize}
	if store.Dir != "" {
		return store, nil
	}
	volumes, err := c.api.VolumesDir(ctx, volume)
	if err != nil {
		return store, err
	}
	if volumes == "" || !c.local() || !writable(path.Dir(volumes)) {
		return store, errNoWarmDir
	}
	store.Dir = path.Join(path.Dir(volumes), "dockless-warm")
	return store, nil
}

// Fixtures lists what services with warm are started from, used last first.
func (c *Client) Fixtures(ctx context.Context) ([]Fixture, error) {
	store, err := c.warmStore(ctx, "")
	if err != nil {
		return nil, err
	}
	return store.List()
}

// RemoveFixture removes one of them.
func (c *Client) RemoveFixture(ctx context.Context, f Fixture) error {
	store, err := c.warmStore(ctx, "")
	if err != nil {
		return err
	}
	return store.Remove(f)
}

// PruneFixtures removes as many of them as it takes for the others to fit, and what
// starts left behind that were killed. It returns the fixtures that it removed.
func (c *Client) PruneFixtures(ctx context.Context) ([]Fixture, error) {
	store, err := c.warmStore(ctx, "")
	if err != nil {
		return nil, err
	}
	return store.Prune()
}
