package imagebuild

import (
	"regexp"
	"slices"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// Step is one instruction of the Dockerfile as it was solved for one platform.
type Step struct {
	Vertex   digest.Digest
	Inputs   []digest.Digest // vertices it builds on
	Name     string          // as BuildKit shows it: "[build 2/5] RUN go build"
	Cached   bool
	Ran      bool // it was executed, to its end or not; neither Ran nor Cached: not needed
	Error    string
	Duration time.Duration // zero when it did not run
}

// Stats sums up the steps of a build.
type Stats struct {
	Steps    int           // steps that were needed
	Cached   int           // of these, steps whose result was taken from a cache
	Duration time.Duration // of the whole build, without the cache export
	Export   time.Duration // of the cache export
}

// stepName matches the names of Dockerfile instructions. BuildKit numbers them
// within their stage and numbers nothing else.
var stepName = regexp.MustCompile(`^\[(?:[^\]]* )?\d+/\d+\] `)

// recorder keeps what the status stream says about steps. It is used by one
// goroutine at a time.
type recorder struct {
	order []digest.Digest
	seen  map[digest.Digest]*client.Vertex
}

func newRecorder() *recorder { return &recorder{seen: make(map[digest.Digest]*client.Vertex)} }

func (r *recorder) add(s *client.SolveStatus) {
	for _, v := range s.Vertexes {
		if !stepName.MatchString(v.Name) {
			continue
		}
		old, ok := r.seen[v.Digest]
		if !ok {
			r.order = append(r.order, v.Digest)
		} else if old.Completed != nil && v.Completed == nil {
			continue // told again by another part of the graph
		}
		r.seen[v.Digest] = v
	}
}

func (r *recorder) steps() []Step {
	out := make([]Step, 0, len(r.order))
	for _, d := range r.order {
		v := r.seen[d]
		s := Step{Vertex: d, Inputs: slices.Clone(v.Inputs), Name: v.Name, Cached: v.Cached, Error: v.Error}
		if v.Started != nil && !v.Cached {
			s.Ran = true
			if v.Completed != nil {
				s.Duration = v.Completed.Sub(*v.Started)
			}
		}
		out = append(out, s)
	}
	return out
}

func count(steps []Step) (st Stats) {
	for _, s := range steps {
		if s.Cached || s.Ran {
			st.Steps++
		}
		if s.Cached {
			st.Cached++
		}
	}
	return st
}
