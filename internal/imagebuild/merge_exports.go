package imagebuild

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/internal/imagename"
)

// exports returns the exporters of the part number i.
func (m *merger) exports(i int) ([]client.ExportEntry, error) {
	var out []client.ExportEntry
	if m.here {
		e, err := m.keptHere(i)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	} else {
		out = append(out, m.remotes()...)
	}
	for j, o := range m.r.Outputs {
		switch o.Type {
		case client.ExporterLocal:
			e, err := o.entry("")
			if err != nil {
				return nil, err
			}
			out = append(out, e)
		case client.ExporterTar:
			file := m.tar(i, j)
			out = append(out, client.ExportEntry{Type: client.ExporterTar, Attrs: notNil(o.Attrs), Output: func(map[string]string) (io.WriteCloser, error) {
				return os.Create(file)
			}})
		}
	}
	image := slices.ContainsFunc(m.r.Outputs, func(o Output) bool { return o.Type == client.ExporterImage })
	if len(out) == 0 && (image || len(m.names) > 0 && len(m.r.Outputs) == 0) {
		// Nobody takes the image, but its digest is still worth knowing. Under a
		// name a node would keep its part as if it were all.
		out = append(out, client.ExportEntry{Type: client.ExporterImage, Attrs: map[string]string{"oci-mediatypes": "true", "store": "false"}})
	}
	return out, nil
}

// keptHere returns the exporter of part i to this machine.
func (m *merger) keptHere(i int) (client.ExportEntry, error) {
	e := client.ExportEntry{Type: client.ExporterOCI, Attrs: map[string]string{"tar": "false", "oci-mediatypes": "true"}}
	err := os.MkdirAll(m.layout(i), 0o755) //nolint:gosec // image content is no secret, and other users load it
	if err == nil {
		e.OutputStore, err = local.NewStore(m.layout(i))
	}
	if err != nil {
		return e, fmt.Errorf("keeping the image: %w", err)
	}
	var names []string
	for _, n := range m.names {
		names = append(names, n.String())
	}
	if len(names) > 0 {
		e.Attrs["name"] = strings.Join(names, ",") // for the attestations
	}
	maps.Copy(e.Attrs, m.r.form())
	return e, nil
}

// formKeys are the settings of an image exporter that change the image.
var formKeys = []string{"compression", "compression-level", "force-compression", "rewrite-timestamp", "oci-artifact"}

// form returns the settings, of the push and of the outputs, that change the image.
func (r *Request) form() map[string]string {
	out := make(map[string]string)
	add := func(attrs map[string]string) {
		for _, key := range formKeys {
			if v, ok := attrs[key]; ok {
				out[key] = v
			}
		}
	}
	if r.Push {
		add(r.PushAttrs)
	}
	for _, o := range r.Outputs {
		if o.Type != client.ExporterLocal && o.Type != client.ExporterTar {
			add(o.Attrs)
		}
	}
	return out
}

// remotes returns the exporters by which a node pushes its part itself, without
// giving it a name.
func (m *merger) remotes() []client.ExportEntry {
	var out []client.ExportEntry
	if m.r.Push {
		out = append(out, m.byDigest(m.names, m.r.PushAttrs)...)
	}
	for _, o := range m.r.Outputs {
		if o.pushes() {
			out = append(out, m.byDigest(m.namesOf(o), o.Attrs)...)
		}
	}
	return out
}

func (m *merger) byDigest(names []reference.Named, attrs map[string]string) []client.ExportEntry {
	out := pushes(names, m.r.Insecure, nil)
	for i, e := range out {
		var group []reference.Named
		for _, n := range names {
			if slices.Contains(strings.Split(e.Attrs["name"], ","), n.String()) {
				group = append(group, n)
			}
		}
		all := notNil(attrs)
		maps.Copy(all, e.Attrs)
		all["name"], all["push-by-digest"], all["name-canonical"] = repositories(group), "true", "true"
		out[i].Attrs = all
	}
	return out
}

// notNil returns a copy of m that can be written to.
func notNil(m map[string]string) map[string]string {
	if m == nil {
		return make(map[string]string)
	}
	return maps.Clone(m)
}

// pushes reports whether an output is an image in a registry.
func (o Output) pushes() bool {
	return o.Type == client.ExporterImage && (isTrue(o.Attrs["push"]) || isTrue(o.Attrs["push-by-digest"]))
}

func isTrue(s string) bool {
	b, err := strconv.ParseBool(s)
	return err == nil && b
}

// pushed returns the names under which the index is pushed, each once.
func (m *merger) pushed() []reference.Named {
	var out []reference.Named
	add := func(names []reference.Named) {
		for _, n := range names {
			if !slices.ContainsFunc(out, func(o reference.Named) bool { return o.String() == n.String() }) {
				out = append(out, n)
			}
		}
	}
	if m.r.Push {
		add(m.names)
	}
	for _, o := range m.r.Outputs {
		if o.pushes() && !isTrue(o.Attrs["push-by-digest"]) {
			add(m.namesOf(o))
		}
	}
	return out
}

// pushedByDigest returns the repositories that get the index without a name.
func (m *merger) pushedByDigest() []reference.Named {
	var out []reference.Named
	for _, o := range m.r.Outputs {
		if o.Type != client.ExporterImage || !isTrue(o.Attrs["push-by-digest"]) {
			continue
		}
		for _, n := range m.namesOf(o) {
			n = reference.TrimNamed(n)
			if !slices.ContainsFunc(out, func(o reference.Named) bool { return o.String() == n.String() }) {
				out = append(out, n)
			}
		}
	}
	return out
}

// namesOf returns the names of an image output: its own, else the tags.
func (m *merger) namesOf(o Output) []reference.Named {
	if o.Attrs["name"] == "" {
		return m.names
	}
	var out []reference.Named
	for n := range strings.SplitSeq(o.Attrs["name"], ",") {
		if named, err := imagename.Full(n); err == nil { // else BuildKit says so
			out = append(out, named)
		}
	}
	return out
}
