package imagebuild

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// view shows the statuses of one solve among others on one display: it keeps the
// same vertex of two nodes apart and says whose one is. The zero value of its
// prefix and salt changes nothing. It is used by one goroutine at a time.
type view struct {
	display *display
	prefix  string // of names that BuildKit gives no platform: "linux/arm64"
	salt    string
	open    map[digest.Digest]*client.Vertex // as shown, started and not completed
}

func (v *view) show(s *client.SolveStatus) {
	if v.prefix != "" || v.salt != "" {
		s = v.own(s)
	}
	for _, x := range s.Vertexes {
		if x.Completed != nil {
			delete(v.open, x.Digest)
		} else if x.Started != nil {
			if v.open == nil {
				v.open = make(map[digest.Digest]*client.Vertex)
			}
			v.open[x.Digest] = x
		}
	}
	v.display.show(s)
}

// own returns a copy of s with names and digests of this view.
func (v *view) own(s *client.SolveStatus) *client.SolveStatus {
	out := &client.SolveStatus{}
	for _, x := range s.Vertexes {
		c := *x
		c.Digest, c.Name, c.Inputs = v.digest(x.Digest), v.name(x.Name), slices.Clone(x.Inputs)
		for i, d := range c.Inputs {
			c.Inputs[i] = v.digest(d)
		}
		out.Vertexes = append(out.Vertexes, &c)
	}
	for _, x := range s.Statuses {
		c := *x
		c.Vertex = v.digest(x.Vertex)
		out.Statuses = append(out.Statuses, &c)
	}
	for _, x := range s.Logs {
		c := *x
		c.Vertex = v.digest(x.Vertex)
		out.Logs = append(out.Logs, &c)
	}
	for _, x := range s.Warnings {
		c := *x
		c.Vertex = v.digest(x.Vertex)
		out.Warnings = append(out.Warnings, &c)
	}
	return out
}

func (v *view) digest(d digest.Digest) digest.Digest {
	if v.salt == "" || d == "" {
		return d
	}
	return digest.FromString(v.salt + "\x00" + d.String())
}

// name says whose a vertex is. Steps and some others carry their platform already.
func (v *view) name(name string) string {
	switch {
	case v.prefix == "" || name == "" || stepName.MatchString(name) || strings.HasPrefix(name, "["+v.prefix+" "):
		return name
	case strings.HasPrefix(name, "["):
		return "[" + v.prefix + " " + name[1:]
	}
	return "[" + v.prefix + "] " + name
}

// abandon ends what is still open on the display, because nobody else will.
func (v *view) abandon(why string) {
	now := time.Now()
	s := &client.SolveStatus{}
	for _, d := range slices.Sorted(maps.Keys(v.open)) {
		c := *v.open[d]
		c.Completed, c.Error = &now, why
		s.Vertexes = append(s.Vertexes, &c)
	}
	v.open = nil
	if len(s.Vertexes) > 0 {
		v.display.show(s)
	}
}

// say shows one line that is no step.
func (d *display) say(line string) {
	now := time.Now()
	d.show(&client.SolveStatus{Vertexes: []*client.Vertex{{
		Digest: digest.FromString("said\x00" + line), Name: line, Started: &now, Completed: &now,
	}}})
}
