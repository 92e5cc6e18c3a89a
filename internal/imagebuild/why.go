package imagebuild

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/dockless-ci/dockless/internal/explain"
)

const (
	// describeTimeout is how long the end of a build waits for the description of
	// what it was made of. That runs beside the solve and is done before it, unless
	// a large context meets a build that found everything in the cache: then two
	// seconds hash about a gigabyte, and nobody shall wait longer for a reason.
	describeTimeout = 2 * time.Second
	// recordTimeout bounds the look for a record in a registry, which runs beside
	// the solve too.
	recordTimeout = 2 * time.Second
	// recordPushTimeout bounds the push of some hundred kilobytes, after the build.
	recordPushTimeout = 5 * time.Second
)

var (
	errDescribing = fmt.Errorf("it took longer than the build and %s", describeTimeout)
	errConcluded  = errors.New("the build has ended")
)

// inquiry finds out why the steps of one build ran. Its nil value does nothing.
type inquiry struct {
	b      *Builder
	r      *Request
	cancel context.CancelCauseFunc
	alone  func() bool   // takes the end of the build's context off the description
	done   chan struct{} // closed when draft, err and last are set
	draft  *explain.Draft
	err    error
	last   *explain.Record
}

// inquire begins to describe what the build is made of, beside its solves. When
// r has a Dockerfile from a stream, it is one that can be read again.
func (b *Builder) inquire(ctx context.Context, r *Request) *inquiry {
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	q := &inquiry{b: b, r: r, cancel: cancel, done: make(chan struct{})}
	q.alone = context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	ctx = own
	text, err := q.text() // now: a stream is the solve's from here on
	var g sync.WaitGroup
	g.Go(func() {
		if q.err = err; err == nil {
			q.draft, q.err = q.describe(ctx, text)
		}
	})
	g.Go(func() { q.last = q.findLast(ctx) })
	go func() {
		defer close(q.done)
		g.Wait()
	}()
	return q
}

// conclude waits for the description, compares it with the record of the last
// good build, writes result.Reasons and keeps the new record. It is called once,
// also when the build failed and result is nil.
//
// When no step ran there is nothing to explain, and nobody waits: a description
// that is not there yet is dropped, because the files may change from here on, and
// the older record stays.
func (q *inquiry) conclude(ctx context.Context, result *Result) {
	if q == nil {
		return
	}
	defer q.alone()
	if result == nil {
		q.drop()
		return
	}
	told(result, explain.Outcome{})
	stop := time.AfterFunc(describeTimeout, func() { q.cancel(errDescribing) })
	if !slices.ContainsFunc(result.Steps, func(s Step) bool { return s.Ran && !s.Base }) && !q.ended() {
		stop.Stop()
		q.drop()
		return
	}
	defer q.cancel(errConcluded)
	defer stop.Stop()
	told(result, q.finish(ctx, result))
}

// drop ends the description and waits until it reads no file of the context any more:
// a job that was canceled removes them next.
func (q *inquiry) drop() {
	q.cancel(errConcluded)
	select {
	case <-q.done:
	case <-time.After(stopGrace):
	}
}

// told writes an outcome into a result.
func told(result *Result, o explain.Outcome) {
	result.Reasons, result.Stats.Saved = append([]explain.Reason{}, o.Reasons...), o.Saved
	if result.Metadata == nil {
		result.Metadata = make(map[string]any)
	}
	result.Metadata["dockless.build.reasons"] = result.Reasons
	result.Metadata["dockless.build.steps"] = result.Stats.Steps
	result.Metadata["dockless.build.cached"] = result.Stats.Cached
}

func (q *inquiry) ended() bool {
	select {
	case <-q.done:
		return true
	default:
		return false
	}
}

// finish compares what was described, and keeps its record. It does not change
// result.
func (q *inquiry) finish(ctx context.Context, result *Result) explain.Outcome {
	var record explain.Record
	asked := explain.Asked{NoCache: q.r.NoCache, NoCacheFilter: q.r.NoCacheFilter, Imports: result.Imports}
	solved := solvedSteps(result.Steps)
	var last *explain.Record
	switch err := q.waitFor(ctx); {
	case err != nil:
		asked.Why = "the build was not described: " + err.Error()
	case q.err != nil:
		asked.Why, last = "the build was not described: "+q.err.Error(), q.last
	default:
		last = q.last
		q.draft.Resolve(solved)
		q.deliveries(ctx, result)
		if record, err = q.draft.Seal(last); err != nil {
			asked.Why = err.Error()
		}
	}
	record.Time, record.Nodes = time.Now(), q.nodeIDs(result)
	outcome := explain.Compare(last, &record, solved, asked)
	if asked.Why != "" {
		q.b.log.DebugContext(ctx, "build not described", "error", asked.Why)
		return outcome
	}
	if record.Complete() { // else the older one is the better
		q.keep(ctx, result, &record)
	}
	return outcome
}

// stopGrace is how long the description may take to notice that it is to end:
// it looks before every file and block.
const stopGrace = time.Second

// waitFor returns when the description is there, and an error when it did not
// end after it was told to.
func (q *inquiry) waitFor(ctx context.Context) error {
	timer := time.NewTimer(describeTimeout + stopGrace)
	defer timer.Stop()
	select {
	case <-q.done:
		return nil
	case <-timer.C:
		return errDescribing
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// text reads the Dockerfile; nil: BuildKit fetches it.
func (q *inquiry) text() ([]byte, error) {
	switch stream, ok := q.r.DockerfileText.(io.ReadSeeker); {
	case ok:
		if _, err := stream.Seek(0, io.SeekStart); err != nil {
			return nil, fmt.Errorf("reading the Dockerfile: %w", err)
		}
		return io.ReadAll(io.LimitReader(stream, maxDockerfile))
	case q.r.DockerfileText != nil:
		return nil, errors.New("the Dockerfile came from a stream")
	case q.r.remote():
		return nil, nil
	}
	text, err := q.read(q.r.dockerfile())
	if err != nil && q.r.Dockerfile == "" {
		text, err = q.read(filepath.Join(q.r.Context, "dockerfile"))
	}
	return text, err
}

func (q *inquiry) read(name string) ([]byte, error) {
	open := q.r.Open
	if open == nil {
		open = os.Open
	}
	f, err := open(name)
	if err != nil {
		return nil, fmt.Errorf("reading the Dockerfile: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	return io.ReadAll(io.LimitReader(f, maxDockerfile))
}

func (q *inquiry) describe(ctx context.Context, text []byte) (*explain.Draft, error) {
	r := q.r
	wanted, err := r.platforms()
	if err != nil {
		return nil, err
	}
	native := q.b.current()[0].Platforms
	if len(wanted) == 0 {
		wanted = native[:min(1, len(native))]
	}
	build := explain.Build{
		Dockerfile: text, Context: r.Context, Remote: r.remote(), Contexts: r.Contexts, Target: r.Target,
		Arguments: r.BuildArgs, Options: q.options(text), Platforms: wanted, Native: native, Open: r.Open,
	}
	if r.DockerfileText == nil && !r.remote() {
		if ignore, err := q.read(r.dockerfile() + ".dockerignore"); err == nil {
			build.Ignore = append([]byte{}, ignore...)
		}
	}
	return explain.Describe(ctx, build, &q.b.records.in(q.b.options.StateDir).sums)
}

// options returns the flags that are in the cache keys of RUN steps. Of a host,
// its name is and its address is not.
func (q *inquiry) options(text []byte) map[string]string {
	out := make(map[string]string)
	set := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	set("network", q.r.Network)
	set("ulimit", strings.Join(q.r.Ulimits, ","))
	set("cgroup-parent", q.r.CgroupParent)
	if q.r.ShmSize > 0 {
		set("shm-size", strconv.FormatInt(q.r.ShmSize, 10))
	}
	hosts := make([]string, len(q.r.AddHosts))
	for i, h := range q.r.AddHosts {
		hosts[i], _, _ = strings.Cut(h, ":")
	}
	set("add-host", strings.Join(hosts, ","))
	syntax, _, _, _ := parser.DetectSyntax(text)
	set(explain.SyntaxOption, cmp.Or(q.r.BuildArgs["BUILDKIT_SYNTAX"], syntax))
	return out
}

func solvedSteps(steps []Step) []explain.Solved {
	at := make(map[string]int, len(steps))
	for i, s := range steps {
		at[s.Vertex.String()] = i
	}
	out := make([]explain.Solved, len(steps))
	for i, s := range steps {
		out[i] = explain.Solved{Name: s.Name, Base: s.Base, Ran: s.Ran, Cached: s.Cached, Duration: s.Duration}
		for _, in := range s.Inputs {
			if j, ok := at[in.String()]; ok {
				out[i].Inputs = append(out[i].Inputs, j)
			}
		}
	}
	return out
}
