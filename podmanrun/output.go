package podmanrun

import (
	"context"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

const (
	// heldLines is how many lines of a stream wait at most for the look that confirms
	// them: a look takes Podman 3 ms, so that one for each 8192 lines is little beside
	// reading them, and they are a few MB at most where lines are short.
	heldLines = 8192
	// confirmPause is between two looks that confirm fewer lines. Podman itself looks into
	// the file every 250 ms.
	confirmPause = 200 * time.Millisecond
	// idleLook is how often a container that writes nothing is looked at: a stream that
	// misses the end of its container never ends.
	idleLook = 5 * time.Second
	// lastWords is how long the stream of a container that is gone may still bring lines:
	// Podman ends it 250 ms after its container, and it finds that out by 250 ms more.
	lastWords = time.Second
)

// output is what one container writes, each line once and in the order of the log, over
// restarts of the container and of Podman. What a stream brings may lack lines that
// Podman read after the end of the container, so it counts once the container is seen
// to run after that. The rest is read again without following, where nothing is lost.
type output struct {
	logSource
	client  *Client
	line    func(libpod.Line)
	trouble func(error) // told what failed and is tried again
	at      logPosition
}

// logPosition is how far the output of a container has been read: up to and with the nth
// line of a read since from. Its zero value is nothing.
type logPosition struct {
	from string // as Podman writes it
	nth  int
}

// since is what a read that goes on from the position asks for, at least as late as
// the first read's: Podman leaves out lines of the very time.
func (p logPosition) since(first time.Time) time.Time {
	if at, err := time.Parse(time.RFC3339Nano, p.from); err == nil && at.Add(-1).After(first) {
		return at.Add(-1)
	}
	return first
}

// deliver hands on lines of a read since the position when it began.
func (out *output) deliver(lines ...libpod.Line) {
	for _, l := range lines {
		if p := (logPosition{l.From, l.Nth}); p.from != out.at.from || p.nth > out.at.nth {
			out.at = p
			out.line(l)
		}
	}
}

// read delivers what the log has by now; the beginning of a line only when the line is
// the last.
func (out *output) read(ctx context.Context, o libpod.LogsOptions, last bool) error {
	o.Since = out.at.since(out.since)
	var begun []libpod.Line
	err := out.client.api.Logs(ctx, out.id, out.name, o, func(l libpod.Line) {
		if l.Unfinished {
			begun = append(begun, l)
		} else {
			out.deliver(l)
		}
	})
	if err == nil && last {
		for _, l := range begun {
			out.line(l)
		}
	}
	return err
}

// insisted is read that is tried once more.
func (out *output) insisted(ctx context.Context, o libpod.LogsOptions, last bool) error {
	broken := out.read(ctx, o, last)
	if broken == nil || gone(broken) || ctx.Err() != nil {
		return broken
	}
	if err := out.pause(ctx, broken); err != nil {
		return err
	}
	return out.read(ctx, o, last)
}

// pause tells what failed, and waits until it may be tried again.
func (out *output) pause(ctx context.Context, broken error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out.trouble(broken)
	return retry.Wait(ctx, watchAgain)
}

// follow delivers what the container writes until it has ended for good or is gone, or
// ctx ends. Of what it wrote before, only the last lines are delivered unless tail is
// zero.
func (out *output) follow(ctx context.Context, run *libpod.Container, tail int) error {
	if tail > 0 {
		ended := libpod.Ended(run.State.Status) && !run.StartsAgain()
		if err := out.insisted(ctx, libpod.LogsOptions{Tail: tail, Resume: true}, ended); err != nil || ended {
			return err
		}
	}
	for {
		var unsure []libpod.Line
		if run.State.Running {
			var broken error
			if unsure, broken = out.followRun(ctx, run); broken != nil && !gone(broken) {
				if err := out.pause(ctx, broken); err != nil {
					return err
				}
			}
		}
		next, err := insist(ctx, out.trouble, func(ctx context.Context) (*libpod.Container, error) {
			return out.client.writesOn(ctx, out.id, run.State.StartedAt)
		})
		if err != nil {
			return err
		}
		// One that runs on has its lines read by the next stream at the latest.
		err = out.insisted(ctx, libpod.LogsOptions{}, next == nil)
		if gone(err) {
			out.deliver(unsure...) // nobody will know better
		}
		if next == nil || gone(err) || ctx.Err() != nil {
			return err
		}
		run = next
	}
}

// followRun delivers what the container writes while it is seen to run. It returns what
// came after that.
func (out *output) followRun(ctx context.Context, run *libpod.Container) (unsure []libpod.Line, err error) {
	ctx, stop := context.WithCancel(ctx)
	held, broken := make(chan libpod.Line, heldLines), error(nil)
	go func() {
		defer close(held)
		o := libpod.LogsOptions{Follow: true, Since: out.at.since(out.since)}
		broken = out.client.api.Logs(ctx, out.id, out.name, o, func(l libpod.Line) {
			if l.Unfinished {
				return // the stream broke in it
			}
			select {
			case held <- l:
			case <-ctx.Done():
			}
		})
	}()
	defer func() {
		if gone(err) {
			time.AfterFunc(lastWords, stop)
		} else {
			stop()
		}
		for l := range held { // until nobody writes into it any more
			unsure = append(unsure, l)
		}
		stop()
	}()
	for batch := []libpod.Line(nil); ; {
		var more bool
		if batch, more = taken(batch[:0], held); !more {
			return batch, broken
		}
		now, err := out.client.api.InspectContainer(ctx, out.id)
		if err != nil || !now.State.StartedAt.Equal(run.State.StartedAt) || !goesOn(now) {
			return batch, err
		}
		out.deliver(batch...)
		if 0 < len(batch) && len(batch) < heldLines {
			if err := retry.Wait(ctx, confirmPause); err != nil {
				return nil, err
			}
		}
	}
}

// taken waits for a line, for [idleLook] at most, and appends it and all that are there to
// batch, [heldLines] at most. More is false when there will be none.
func taken(batch []libpod.Line, held <-chan libpod.Line) (_ []libpod.Line, more bool) {
	select {
	case l, ok := <-held:
		if !ok {
			return batch, false
		}
		batch = append(batch, l)
	case <-time.After(idleLook):
		return batch, true
	}
	for len(batch) < heldLines {
		select {
		case l, ok := <-held:
			if !ok {
				return batch, true // the next call tells
			}
			batch = append(batch, l)
		default:
			return batch, true
		}
	}
	return batch, true
}

// goesOn reports whether a container has not ended yet.
func goesOn(c *libpod.Container) bool { return c.State.Running || c.State.Status == "stopping" }

// writesOn waits until a container whose output is not read any more was started anew
// since before, or turns out to run on, and returns it; nil when it does neither. A stream
// may be over a moment before Podman knows that its container is.
func (c *Client) writesOn(ctx context.Context, id string, before time.Time) (*libpod.Container, error) {
	for begun := time.Now(); ; {
		answer, err := c.api.InspectContainer(ctx, id)
		if gone(err) {
			return nil, nil //nolint:nilnil // it was removed
		}
		if err != nil {
			return nil, err
		}
		waited, status := time.Since(begun), answer.State.Status
		if answer.State.StartedAt.After(before) || waited >= watchAgain && (goesOn(answer) || status == "paused") {
			return answer, nil
		}
		if libpod.Ended(status) && !answer.StartsAgain() || waited >= restartPatience {
			return nil, nil //nolint:nilnil // it has ended for good
		}
		if err := retry.Wait(ctx, restartPoll); err != nil {
			return nil, err
		}
	}
}
