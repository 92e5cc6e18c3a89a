package imagebuild

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// Step is one instruction of the Dockerfile as it was solved for one platform.
type Step struct {
	Vertex   digest.Digest
	Inputs   []digest.Digest // vertices it builds on
	Name     string          // as BuildKit shows it: "[build 2/5] RUN go build"
	Base     bool            // a FROM: what the build starts from, counted in no statistics
	Cached   bool
	Ran      bool // it was executed, to its end or not; neither Ran nor Cached: not needed
	Error    string
	Started  time.Time     // zero when it did not run
	Duration time.Duration // zero when it did not run
}

// Stats sums up the steps of a build.
type Stats struct {
	Steps    int           // steps that were needed, without base images
	Cached   int           // of these, steps whose result was taken from a cache
	Duration time.Duration // of the whole build, without the cache export
	Export   time.Duration // of the cache export
	Saved    time.Duration // what the cached steps took when they last ran; zero: not known
}

// stepName matches the names of Dockerfile instructions. BuildKit numbers them
// within their stage and numbers nothing else.
var stepName = regexp.MustCompile(`^\[(?:[^\]]* )?\d+/\d+\] `)

// isBase reports whether a step's name is that of a base image. It is resolved
// anew in every build, which is neither running nor caching.
func isBase(name string) bool { return strings.Contains(name, "] FROM ") }

// recorder keeps what the status stream says about steps. It is used by one
// goroutine at a time.
type recorder struct {
	order []digest.Digest
	seen  map[digest.Digest]*client.Vertex
	// importing is when caches began and ceased to be imported.
	importing struct{ from, to time.Time }
}

func newRecorder() *recorder { return &recorder{seen: make(map[digest.Digest]*client.Vertex)} }

func (r *recorder) add(s *client.SolveStatus) {
	for _, v := range s.Vertexes {
		if !stepName.MatchString(v.Name) {
			r.addImport(v)
			continue
		}
		old, ok := r.seen[v.Digest]
		if !ok {
			r.order = append(r.order, v.Digest)
		} else if old.Cached || old.Completed != nil && v.Completed == nil {
			// Told again: by another part of the graph, or because the layers of a
			// cached result are being fetched, which BuildKit reports as if it ran.
			continue
		}
		r.seen[v.Digest] = v
	}
}

func (r *recorder) addImport(v *client.Vertex) {
	if !strings.HasPrefix(v.Name, importPrefix) || v.Started == nil || v.Completed == nil {
		return
	}
	if from := r.importing.from; from.IsZero() || v.Started.Before(from) {
		r.importing.from = *v.Started
	}
	if v.Completed.After(r.importing.to) {
		r.importing.to = *v.Completed
	}
}

func (r *recorder) steps() []Step {
	out := make([]Step, 0, len(r.order))
	for _, d := range r.order {
		v := r.seen[d]
		s := Step{Vertex: d, Inputs: slices.Clone(v.Inputs), Name: v.Name, Base: isBase(v.Name), Cached: v.Cached, Error: v.Error}
		if v.Started != nil && !v.Cached {
			s.Ran, s.Started = true, *v.Started
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
		switch {
		case s.Base || !s.Cached && !s.Ran:
		case s.Cached:
			st.Steps++
			st.Cached++
		default:
			st.Steps++
		}
	}
	return st
}
