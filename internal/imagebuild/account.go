package imagebuild

import (
	"context"
	"strings"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/attribute"

	"github.com/dockless-ci/dockless/internal/span"
)

// account starts the span of a build of r. What it returns ends the span and tells
// [Options].Observe.
func (b *Builder) account(ctx context.Context, r *Request) (context.Context, func(*Result, []string, error)) {
	start := time.Now()
	ctx, s := span.Start(ctx, "build", attribute.StringSlice("container.image.name", r.Tags), attribute.StringSlice("dockless.platforms", r.Platforms))
	return ctx, func(result *Result, nodes []string, err error) {
		e := Event{Build: result, Node: strings.Join(nodes, ","), Err: err, Took: time.Since(start)}
		if err != nil {
			e.Build = nil
		}
		if e.Build != nil {
			e.Took = result.Stats.Duration
			s.Set(attribute.StringSlice("dockless.platforms", result.Platforms), attribute.String("dockless.node", result.Node),
				attribute.String("container.image.id", result.Digest.String()),
				attribute.Int("dockless.steps", result.Stats.Steps), attribute.Int("dockless.steps.cached", result.Stats.Cached))
		}
		s.End(err)
		if b.options.Observe != nil {
			b.options.Observe(e)
		}
	}
}

// mostVertices bounds the spans that one solve makes: no Dockerfile comes near it,
// and a collector takes that many at once.
const mostVertices = 500

// vertices makes spans of what BuildKit tells of a solve: one for each vertex that
// ran, and below it one for each push. Spans of BuildKit's own, which say more, come
// from buildkitd itself where it has a collector. It is used by one goroutine at a
// time, and is nil when nobody will see the spans.
type vertices struct {
	order  []digest.Digest
	known  map[digest.Digest]*client.Vertex
	pushes map[string]*client.VertexStatus
}

func newVertices(ctx context.Context) *vertices {
	if !span.Recorded(ctx) {
		return nil
	}
	return &vertices{known: make(map[digest.Digest]*client.Vertex), pushes: make(map[string]*client.VertexStatus)}
}

func (v *vertices) add(st *client.SolveStatus) {
	if v == nil {
		return
	}
	for _, x := range st.Vertexes {
		if x.Started == nil || x.Completed == nil {
			continue
		}
		if _, ok := v.known[x.Digest]; !ok {
			if len(v.order) == mostVertices {
				continue
			}
			v.order = append(v.order, x.Digest)
		}
		v.known[x.Digest] = x
	}
	for _, p := range st.Statuses {
		if strings.HasPrefix(p.ID, "pushing ") && p.Started != nil && p.Completed != nil && len(v.pushes) < mostVertices {
			v.pushes[p.ID] = p
		}
	}
}

// spanName is a vertex's name without the values of build arguments, which BuildKit
// expands in those of steps: the place in the Dockerfile and the instruction's word.
func spanName(name string) string {
	if !stepName.MatchString(name) {
		return name
	}
	label, text, _ := strings.Cut(name, "] ")
	word, _, _ := strings.Cut(text, " ")
	return label + "] " + word
}

// end makes the spans, below that of ctx.
func (v *vertices) end(ctx context.Context) {
	if v == nil {
		return
	}
	for _, d := range v.order {
		x := v.known[d]
		span.Add(ctx, span.Past{
			Name: spanName(x.Name), Start: *x.Started, End: *x.Completed, Error: x.Error,
			Attributes: []attribute.KeyValue{attribute.String("buildkit.vertex", d.String()), attribute.Bool("buildkit.cached", x.Cached)},
		})
	}
	for _, p := range v.pushes {
		span.Add(ctx, span.Past{Name: p.ID, Start: *p.Started, End: *p.Completed, Attributes: []attribute.KeyValue{attribute.String("buildkit.vertex", p.Vertex.String())}})
	}
}
