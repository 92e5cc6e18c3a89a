package buildcmd

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/internal/hint"
)

// bakeDisplay shows several builds on one of BuildKit's displays, each step with
// the name of its target. Targets often have steps in common, which BuildKit runs
// once and tells every one of their builds of: such a step is shown once, for the
// target that was told first. Its methods may be called concurrently until close.
type bakeDisplay struct {
	named    bool                     // steps have the names of targets
	statuses chan *client.SolveStatus // closed by close
	done     chan struct{}            // closed when the display has ended
	err      error                    // why it ended, once done is closed

	mu    sync.Mutex
	shown map[digest.Digest]shownStep
}

// shownStep is a step on the display. A zero completed means not yet.
type shownStep struct {
	target    string
	completed time.Time
}

func newBakeDisplay(ctx context.Context, w io.Writer, mode string, named bool) (*bakeDisplay, error) {
	ui, err := progressui.NewDisplay(w, progressui.DisplayMode(mode))
	if err != nil {
		return nil, hint.With(fmt.Errorf("showing progress as %q: %w", mode, err), "use one of auto, tty, plain, rawjson, quiet for --progress")
	}
	d := &bakeDisplay{named: named, statuses: make(chan *client.SolveStatus), done: make(chan struct{}), shown: make(map[digest.Digest]shownStep)}
	go func() {
		defer close(d.done)
		// The display ends with the channel: an interrupted command still shows its clean-up.
		_, d.err = ui.UpdateFrom(context.WithoutCancel(ctx), d.statuses)
	}()
	return d, nil
}

// observe returns what takes the statuses of one target's build.
func (d *bakeDisplay) observe(target string) func(*client.SolveStatus) {
	return func(s *client.SolveStatus) {
		if d.named {
			s = d.part(target, s)
		}
		select {
		case d.statuses <- s:
		case <-d.done:
		}
	}
}

// part returns what is to be shown of a status.
func (d *bakeDisplay) part(target string, s *client.SolveStatus) *client.SolveStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := &client.SolveStatus{}
	for _, v := range s.Vertexes {
		if !d.claim(target, v) {
			continue
		}
		named := *v
		named.Name = ofTarget(target, v.Name)
		out.Vertexes = append(out.Vertexes, &named)
	}
	ours := func(step digest.Digest) bool { return d.shown[step].target == target }
	for _, v := range s.Statuses {
		if ours(v.Vertex) {
			out.Statuses = append(out.Statuses, v)
		}
	}
	for _, v := range s.Logs {
		if ours(v.Vertex) {
			out.Logs = append(out.Logs, v)
		}
	}
	for _, v := range s.Warnings {
		if ours(v.Vertex) {
			out.Warnings = append(out.Warnings, v)
		}
	}
	return out
}

// claim reports whether a step is shown for target: nobody else shows it, or it
// runs again after it was complete.
func (d *bakeDisplay) claim(target string, v *client.Vertex) bool {
	step, known := d.shown[v.Digest]
	again := known && !step.completed.IsZero() && v.Started != nil && v.Started.After(step.completed) && !v.Cached
	if known && step.target != target && !again {
		return false
	}
	step = shownStep{target: target}
	if v.Completed != nil {
		step.completed = *v.Completed
	}
	d.shown[v.Digest] = step
	return true
}

// ended gives the steps that a target's build left open to the others.
func (d *bakeDisplay) ended(target string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for step, s := range d.shown {
		if s.target == target && s.completed.IsZero() {
			delete(d.shown, step)
		}
	}
}

// close ends the display and leaves its last picture on the screen.
func (d *bakeDisplay) close() error {
	close(d.statuses)
	<-d.done
	return d.err
}

// ofTarget puts a target into the brackets that a step's name begins with, where
// BuildKit puts that of a stage.
func ofTarget(target, step string) string {
	if inner, ok := strings.CutPrefix(step, "["); ok {
		return "[" + target + " " + inner
	}
	return "[" + target + "] " + step
}
