package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/identity"
	"github.com/opencontainers/go-digest"
	"go.opentelemetry.io/otel/attribute"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/exportqueue"
	"github.com/dockless-ci/dockless/internal/span"
)

// queueFor is how long an export that is to go on behind its build waits for its
// turn: the build waits with it, because the files are read only then.
const queueFor = 30 * time.Second

// errRebuilding ends a cache export that would run steps.
var errRebuilding = errors.New("the node has dropped a step's result in the meantime, and an export must not run it again")

// export is one cache export: the build solved again, every step of it cached
// now, with the cache as the only output. It comes second so that the image is
// pushed by then, and can be given up without harm.
//
// It imports what the first solve imported: steps that came from there are not on
// the node as long as nobody needed their files.
type export struct {
	s        *solver // with what the export may use
	entry    buildcache.Entry
	registry string
	imports  []buildcache.Entry
	form     buildcache.Form
	longest  time.Duration // of all, the wait in the queue included
	queue    time.Duration // of the wait alone
	steps    []Step
	out      CacheExport

	cancel context.CancelCauseFunc
	read   func()        // tells once that the files of the build are not needed any more
	done   chan struct{} // closed when out is complete
	over   bool          // is about to close done; guarded by exports.mu

	mu      sync.Mutex
	behind  bool           // the build has gone on: nothing is shown, and no file read, any more
	showing *client.Vertex // of the export, as shown last
}

// exportCache exports the cache of a build to entry. It returns when the export
// has ended or, as the policy says, goes on behind the build. A registry that did
// not answer before is not tried again.
//
// It goes on only to a registry that is known to take the form: a refusal comes
// with the last request, and another try reads the files again.
func (s *solver) exportCache(ctx context.Context, entry buildcache.Entry, known answers) *CacheExport {
	x := &export{
		entry: entry, registry: registryOf(entry), imports: known.usable,
		out: CacheExport{Ref: entry.Attrs["ref"]}, steps: s.recorder.steps(), done: make(chan struct{}),
	}
	policy, all := s.r.cache(), s.b.exports
	if dead := known.dead[x.registry]; dead != nil {
		x.out.Err = fmt.Errorf("exporting the cache to %s: %w", x.out.Ref, dead)
		return &x.out
	}
	skip, err := all.ledger.enter(ctx, x.out.Ref, s.imported(known.usable), x.steps, known.took+s.recorder.importing.to.Sub(s.recorder.importing.from))
	s.unlearned(ctx, err)
	if skip != "" && (policy.Mode == "" || policy.Mode == buildcache.ModeAuto) {
		x.out.Skipped = skip
		return &x.out
	}
	form, tried, err := all.forms.of(ctx, x.registry)
	s.unlearned(ctx, err)
	x.form, x.longest = form, policy.ExportTimeout
	if x.longest <= 0 {
		x.longest = buildcache.DefaultExportTimeout
	}
	if x.queue = x.longest; policy.Mode != buildcache.ModeSync {
		x.queue = min(x.queue, queueFor)
	}
	// The build's own client is closed with it.
	if x.s, err = s.again(ctx); err != nil {
		x.out.Err = fmt.Errorf("exporting the cache to %s: %w", x.out.Ref, err)
		return &x.out
	}
	return x.start(ctx, tried && policy.Mode != buildcache.ModeSync)
}

// start runs the export and waits until it has ended or, where it may be left
// alone, needs nothing of the build any more.
func (x *export) start(ctx context.Context, leave bool) *CacheExport {
	begun := time.Now()
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	x.cancel = cancel
	stop := context.AfterFunc(ctx, func() { cancel(context.Cause(ctx)) })
	read := make(chan struct{})
	x.read = sync.OnceFunc(func() { close(read) })
	go func() {
		defer close(x.done)
		defer x.s.b.exports.ended(x)
		defer cancel(nil)
		x.run(own, begun)
	}()
	var left <-chan struct{} // nil waits for the end only
	if leave {
		left = read
	}
	select {
	case <-x.done:
	case <-left:
		// From here on ctx is not the export's any more, unless it has ended.
		if x.s.b.exports.keep(x) && stop() && x.leave() {
			return &CacheExport{Ref: x.out.Ref, Background: true, Form: x.form, Duration: time.Since(begun)}
		}
		<-x.done
	}
	stop()
	out := x.out
	return &out
}

// leave ends what the export does in the sight of the build, and reports whether
// it may go on out of it.
func (x *export) leave() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.showing == nil {
		return false
	}
	if x.showing.Completed == nil {
		now, v := time.Now(), *x.showing
		v.Completed = &now
		x.s.display.show(&client.SolveStatus{
			Vertexes: []*client.Vertex{&v},
			Logs:     []*client.VertexLog{{Vertex: v.Digest, Stream: 1, Data: []byte("goes on behind the build\n"), Timestamp: now}},
		})
	}
	x.behind = true
	return true
}

// run makes the export and books it.
func (x *export) run(ctx context.Context, begun time.Time) {
	out, s := &x.out, x.s
	if queue := s.b.options.Queue; queue != nil {
		queue(1)
		defer queue(-1)
	}
	ctx, about := span.Start(ctx, "export cache", attribute.String("dockless.cache", out.Ref), attribute.String("dockless.node", s.node.Name))
	defer func() { about.End(out.Err) }()
	ended := ctx // whose end is not the registry's fault
	ctx, cancel := context.WithTimeoutCause(ctx, x.longest, fmt.Errorf("not done within %s", x.longest))
	defer cancel()
	release, err := x.await(ctx)
	if err == nil {
		err = errors.Join(x.send(ctx), release())
	}
	err = errors.Join(err, s.client.Close())
	out.Duration, out.Form = time.Since(begun), x.form
	if err != nil {
		out.Err = fmt.Errorf("exporting the cache to %s: %w", out.Ref, err)
	}
	// The books are kept also when the build was cancelled in the meantime.
	book := context.WithoutCancel(ctx)
	switch {
	case err == nil:
		s.b.log.DebugContext(book, "cache exported", "ref", out.Ref, "duration", out.Duration, "form", x.form.String())
	case ended.Err() == nil:
		s.b.log.WarnContext(book, "cache not exported", "ref", out.Ref, "duration", out.Duration, "error", err)
		if ctx.Err() == nil && isUnreachable(err) {
			s.b.dead.add(x.registry, err)
		}
	}
	if err == nil {
		if out.Bytes, err = s.cacheSize(ended, out.Ref); err != nil {
			s.b.log.DebugContext(book, "size of the cache not known", "ref", out.Ref, "error", err)
		}
		s.unlearned(book, s.b.exports.ledger.exported(book, out.Ref, out.Duration-out.Waited, x.steps))
	}
	if observe := s.b.options.Observe; observe != nil {
		observe(Event{Export: out, Node: s.node.Name, Err: out.Err, Took: out.Duration})
	}
}

// await waits for the export's turn and says so.
func (x *export) await(ctx context.Context) (release func() error, err error) {
	from := time.Now()
	why := fmt.Errorf("%d other exports to %s did not end within %s", exportqueue.AtATime, x.registry, x.queue)
	ctx, cancel := context.WithTimeoutCause(ctx, x.queue, why)
	defer cancel()
	v := &client.Vertex{Digest: digest.FromString(identity.NewID()), Name: "waiting for other cache exports to " + x.registry, Started: &from}
	waited := false
	release, err = x.s.b.exports.queue.Take(ctx, x.registry, func() {
		waited = true
		x.s.b.log.InfoContext(ctx, "waiting for other cache exports", "registry", x.registry, "ref", x.out.Ref)
		x.show(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
	})
	if waited {
		now, ended := time.Now(), *v
		ended.Completed = &now
		x.out.Waited = now.Sub(from)
		x.show(&client.SolveStatus{Vertexes: []*client.Vertex{&ended}})
	}
	return release, err
}

// send exports in the best form that the registry takes, and remembers it.
func (x *export) send(ctx context.Context) error {
	forms, reason := x.s.b.exports.forms, ""
	for {
		err := x.solve(ctx)
		if err == nil {
			if _, known, _ := forms.of(ctx, x.registry); !known {
				x.s.unlearned(ctx, forms.learn(ctx, x.registry, x.form, reason))
			}
			return nil
		}
		if !isRefusal(err) {
			return err
		}
		weaker, more := x.form.Weaker()
		if !more {
			// No form is to blame, so the next build begins anew.
			x.s.unlearned(ctx, forms.forget(ctx, x.registry))
			return err
		}
		reason = err.Error()
		x.s.b.log.WarnContext(ctx, "a registry refuses caches in a form", "registry", x.registry, "form", x.form.String(), "next", weaker.String(), "error", err)
		x.s.unlearned(ctx, forms.learn(ctx, x.registry, weaker, reason))
		x.mu.Lock()
		behind := x.behind
		if !behind {
			x.form = weaker
		}
		x.mu.Unlock()
		if behind {
			return fmt.Errorf("the next build tries %s: %w", weaker, err)
		}
	}
}

// solve is one try.
func (x *export) solve(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opt, err := x.s.options(x.imports)
	if err != nil {
		return err
	}
	delete(opt.FrontendAttrs, "no-cache")
	opt.Ref = identity.NewID()
	opt.CacheExports = solveEntries([]buildcache.Entry{x.entry.In(x.form)}, x.s.r.Insecure)
	shown := make(map[digest.Digest]bool)
	var begun time.Time // by the node's clock: when the first vertex of the solve started
	var failure string  // of the export, which ignore-error keeps out of the answer
	_, err = x.s.solve(ctx, opt, func(st *client.SolveStatus) {
		for _, v := range st.Vertexes {
			if begun.IsZero() && v.Started != nil {
				begun = *v.Started
			}
			if rebuilt(v, begun) {
				cancel(errRebuilding)
			}
			if strings.HasPrefix(v.Name, exportPrefix) && v.Error != "" {
				failure = strings.ReplaceAll(strings.TrimSpace(v.Error), "\n", " ")
			}
		}
		if part := only(st, exportPrefix, shown); part != nil {
			x.show(part)
		}
	})
	switch {
	case ctx.Err() != nil && err != nil:
		return context.Cause(ctx)
	case err != nil:
		return errors.New(oneLine(err))
	case failure != "":
		return errors.New(failure)
	}
	return nil
}

// show shows a part of the export as long as the build waits for it.
func (x *export) show(part *client.SolveStatus) {
	x.mu.Lock()
	for _, v := range part.Vertexes {
		if strings.HasPrefix(v.Name, exportPrefix) && v.Started != nil {
			x.showing = v
		}
	}
	started := x.showing != nil
	if !x.behind {
		x.s.display.show(part)
	}
	x.mu.Unlock()
	if started {
		x.read() // exporting begins when the solve has all its results
	}
}
