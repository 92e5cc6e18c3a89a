package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

var tagCommand = command.Command{Area: "build", Event: "addbuildtag"}

// staged returns an attempt whose log is kept.
func staged(ctx context.Context) (*attempt, *keeper) {
	kept := &keeper{}
	x := &execution{masks: mask.NewSet(), rep: kept, vars: vars.New(func(string) {})}
	n := x.newNode(job.NewRecordID(), job.TypeTask, "step", "step", 1)
	return &attempt{entry: &entry{node: n}, x: x, ctx: ctx}, kept
}

// queue queues an errand as a command does, with the lock.
func (a *attempt) queue(do errand) error {
	a.node.mu.Lock()
	defer a.node.mu.Unlock()
	return a.later(tagCommand, do)
}

func TestWhatCommandsForTheServerSayIsNotKeptUntilTheEnd(t *testing.T) {
	a, kept := staged(t.Context())
	for i := range mostErrands {
		if err := a.queue(func(_ context.Context, say func(string)) error { say(fmt.Sprintf("tag %d", i)); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	a.errands.mu.Lock()
	waiting := len(a.errands.sections)
	a.errands.mu.Unlock()
	if waiting > mostWaiting+1 {
		t.Errorf("%d sections are kept, want no more than may wait", waiting)
	}
	if err := a.queue(nil); !errors.Is(err, errEnoughErrands) {
		t.Errorf("one more errand: %v, want a refusal", err)
	}
	if err := a.queue(nil); err != nil {
		t.Errorf("the one after it: %v, want one error for all", err)
	}
	a.settle()
	a.node.complete(job.Succeeded, "")
	at := 0
	for _, line := range kept.lines {
		if line == fmt.Sprintf("tag %d", at) {
			at++
		}
	}
	if at != mostErrands || a.node.failed {
		t.Errorf("%d errands are in the log in order, want %d; failed %v", at, mostErrands, a.node.failed)
	}
}

// A server that is away must not keep a step that is over, whoever waits for it.
func TestAStepThatEndsDoesNotWaitForTheServer(t *testing.T) {
	timeout := errors.New("the time of the step is over")
	for name, c := range map[string]struct {
		end  func(a *attempt, cancel context.CancelCauseFunc)
		want string
	}{
		"timeout": {func(_ *attempt, cancel context.CancelCauseFunc) { cancel(timeout) }, "101 logging commands that talk to the server were not carried out, because the step ended first: the time of the step is over"},
		"done": {func(a *attempt, cancel context.CancelCauseFunc) {
			close(a.node.done)
			time.Sleep(time.Minute)
			cancel(timeout) // nothing else ends an errand that runs
		}, "101 logging commands that talk to the server were not carried out, because the step ended first: "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				a, kept := staged(ctx)
				go func() { time.Sleep(time.Hour); c.end(a, cancel) }()
				for range 101 { // one runs, 64 wait, the next holds the step up
					if err := a.queue(func(ctx context.Context, say func(string)) error {
						say("begun")
						<-ctx.Done()
						return ctx.Err()
					}); err != nil {
						t.Fatal(err)
					}
				}
				a.node.mute()
				a.settle()
				a.node.complete(job.Failed, "")
				var faults []string
				for _, i := range a.node.record.Issues {
					faults = append(faults, i.Message)
				}
				if len(faults) != 1 || !strings.HasPrefix(faults[0], c.want) || !a.node.failed {
					t.Errorf("issues %q, failed %v, want one that begins with %q", faults, a.node.failed, c.want)
				}
				if text := strings.Join(kept.lines, "\n"); strings.Count(text, "begun") != 1 {
					t.Errorf("the log is\n%s\nwant what the interrupted one said", text)
				}
			})
		})
	}
}
