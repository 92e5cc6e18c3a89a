package podmanrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// joinsParts is the first Podman that mounts a part of a volume without following a
// link out of it: it opens the part, looks where that is, and mounts what it has
// opened. Podman 4.4 joins two texts, and those before know no parts (libpod's
// safeMountSubPath in the tags v4.4.0 and v4.5.0).
const joinsParts = "4.5"

// part is a directory or file of a volume in a container. It is kept in a label,
// because who starts the container again need not have its file.
type part struct {
	Volume  string   `json:"volume"`
	Path    string   `json:"path"` // within the volume
	Target  string   `json:"target"`
	Options []string `json:"options,omitempty"`
}

func (p part) String() string { return fmt.Sprintf("subpath %s of volume %s", p.Path, p.Volume) }

// partsIn reads the label of a container.
func partsIn(labels map[string]string) []part {
	var parts []part
	if text := labels[labelParts]; text != "" && json.Unmarshal([]byte(text), &parts) != nil {
		return nil // anybody can write a label
	}
	return parts
}

// looseParts are the parts of volumes in a container that its Podman does not keep
// within them.
func (c *Client) looseParts(labels map[string]string) []part {
	if !c.api.Before(joinsParts) {
		return nil
	}
	return partsIn(labels)
}

// addParts gives the container those parts of other containers whose volumes it has,
// unless it has something else there: Podman would hand it the whole volumes.
func (r *createRequest) addParts(of map[string]string, options string) {
	for _, p := range partsIn(of) {
		if slices.ContainsFunc(r.Volumes, func(v libpod.NamedVolume) bool { return path.Clean(v.Dest) == path.Clean(p.Target) }) ||
			slices.ContainsFunc(r.Mounts, func(m libpod.Mount) bool { return path.Clean(m.Destination) == path.Clean(p.Target) }) {
			continue
		}
		if options != "" {
			p.Options = append(strings.Split(options, ","), "nocopy")
		}
		r.Volumes = append(r.Volumes, libpod.NamedVolume{Name: p.Volume, Dest: p.Target, Options: p.Options, SubPath: p.Path})
	}
	r.noteParts()
}

// noteParts notes the parts of volumes that the container has.
func (r *createRequest) noteParts() {
	var parts []part
	for _, v := range r.Volumes {
		if v.SubPath != "" {
			parts = append(parts, part{Volume: v.Name, Path: v.SubPath, Target: v.Dest, Options: v.Options})
		}
	}
	if len(parts) > 0 {
		data, _ := json.Marshal(parts) // strings always encode
		r.Labels[labelParts] = string(data)
	}
}

// placeParts mounts parts of volumes by their place on Podman's machine where Podman
// itself does not know them, or follows links out of the volume.
func (n *unit) placeParts(ctx context.Context) error {
	if len(n.up.client.looseParts(n.request.Labels)) == 0 {
		return nil
	}
	// What is mounted there has to be there, and a dependency may be what makes it.
	if err := n.dependencies(ctx); err != nil {
		return err
	}
	var whole []libpod.NamedVolume
	for _, v := range n.request.Volumes {
		if v.SubPath == "" {
			whole = append(whole, v)
			continue
		}
		p := part{Volume: v.Name, Path: v.SubPath, Target: v.Dest}
		if n.request.RestartPolicy != "" {
			err := fmt.Errorf("%s: Podman %s would follow links out of the volume whenever it starts the container again", p, n.up.client.Version())
			return n.up.at("services."+n.name+".restart", hint.With(err, "leave restart out, or use Podman %s or later", joinsParts))
		}
		place, err := n.up.client.api.VolumePath(ctx, v.Name)
		if err != nil {
			return err
		}
		within, err := n.up.client.within(place, p)
		if err == nil {
			err = within.Close()
		}
		if err != nil {
			return n.up.at("services."+n.name+".volumes.volume.subpath", err)
		}
		options := slices.DeleteFunc(slices.Clone(v.Options), func(o string) bool { return o == "nocopy" })
		n.request.Mounts = append(n.request.Mounts, libpod.Mount{
			Type: "bind", Source: filepath.Join(place, v.SubPath), Destination: v.Dest, Options: append(options, "rbind"),
		})
	}
	n.request.Volumes = whole
	return nil
}

// StartsHereOnly reports whether a container must be started by this package, which
// compares what Podman has mounted in it with what is in its volumes, and by nobody
// who asks Podman alone. One that is not there may be started by anybody.
func (c *Client) StartsHereOnly(ctx context.Context, id string) (bool, error) {
	if !c.api.Before(joinsParts) {
		return false, nil // which spares the question
	}
	answer, err := c.api.InspectContainer(ctx, id)
	if err != nil {
		return false, ignoreGone(err)
	}
	return len(c.looseParts(answer.Config.Labels)) > 0, nil
}

// prepareStart is to be called before a container that does not run is started. Where Podman
// finds the parts of volumes by their paths, another container may have put a link
// there since anybody looked; so Podman mounts everything first, and what it has
// mounted is compared with what is in the volume before the program runs.
func (c *Client) prepareStart(ctx context.Context, id, name string, labels map[string]string) error {
	parts := c.looseParts(labels)
	if len(parts) == 0 {
		return nil
	}
	if err := c.api.InitContainer(ctx, id, name); err != nil {
		return err
	}
	err := c.checkParts(ctx, id, parts)
	if err != nil {
		err = errors.Join(err, ignoreGone(c.api.StopContainer(context.WithoutCancel(ctx), id, name, 0)))
	}
	return err
}

func (c *Client) checkParts(ctx context.Context, id string, parts []part) error {
	answer, err := c.api.InspectContainer(ctx, id)
	if err != nil {
		return err
	}
	for _, p := range parts {
		place, err := c.api.VolumePath(ctx, p.Volume)
		if err != nil {
			return err
		}
		within, err := c.within(place, p)
		if err != nil {
			return err
		}
		err = mountedIs(within, answer.State.Pid, p.Target)
		if err = errors.Join(err, within.Close()); err != nil {
			return fmt.Errorf("%s: what Podman mounted at %s is not known to be in the volume: %w", p, p.Target, err)
		}
	}
	return nil
}

// restart stops a container and starts it again.
func (c *Client) restart(ctx context.Context, id, name string, labels map[string]string, grace time.Duration) error {
	if len(c.looseParts(labels)) == 0 {
		return c.api.RestartContainer(ctx, id, name, grace)
	}
	if err := c.api.StopContainer(ctx, id, name, grace); err != nil {
		return err
	}
	return c.start(ctx, id, name, labels)
}

// start starts a container that does not run.
func (c *Client) start(ctx context.Context, id, name string, labels map[string]string) error {
	if err := c.prepareStart(ctx, id, name, labels); err != nil {
		return err
	}
	return c.api.StartContainer(ctx, id, name)
}

// useJoining is the advice to have a Podman that can.
func useJoining(err error) error {
	return hint.With(err, "use Podman %s or later, which keeps subpaths within their volumes by itself, or mount the whole volume", joinsParts)
}
