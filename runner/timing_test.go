package runner

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// timed makes a job and an entry whose work is run, without processes or files.
func timed(step job.Step, run func(ctx context.Context, a *attempt) error) (*execution, *entry, *keeper) {
	k := &keeper{}
	x := &execution{minute: time.Minute, rep: k, masks: mask.NewSet(), m: &job.Message{JobID: "j"}, log: slog.New(slog.DiscardHandler), outputs: make(map[string]string)}
	x.vars = vars.New(func(string) {})
	return x, &entry{node: x.newNode("r", job.TypeTask, "n", "n", 1), step: step, name: "n", run: run, settings: make(map[string]string)}, k
}

func TestAStepThatTakesTooLongFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, e, _ := timed(job.Step{TimeoutInMinutes: 5, RetryCountOnTaskFailure: 3}, func(ctx context.Context, _ *attempt) error {
			<-ctx.Done()
			return context.Cause(ctx)
		})
		x.hard = t.Context()
		began := time.Now()
		x.runEntry(t.Context(), e)
		r := e.node.record
		if took := time.Since(began); r.Result != job.Failed || took != 5*time.Minute || x.result != job.Failed {
			t.Errorf("step %s after %s, want failed after 5m without another try", r.Result, took)
		}
		if len(r.Issues) != 1 || r.Issues[0].Message != "The task has timed out." {
			t.Errorf("issues = %+v", r.Issues)
		}
	})
}

// Protocol §8.13: after attempt n, counted from 0, wait (n+1)² seconds.
func TestRetriesWaitLongerEachTime(t *testing.T) {
	for name, c := range map[string]struct {
		retries, failures, tries int
		took                     time.Duration
		want                     job.Result
	}{
		"third try works":  {5, 2, 3, 5 * time.Second, job.Succeeded},
		"never works":      {3, 99, 4, 14 * time.Second, job.Failed},
		"no retries":       {0, 99, 1, 0, job.Failed},
		"at most ten":      {50, 99, 11, 385 * time.Second, job.Failed},
		"works at once":    {3, 0, 1, 0, job.Succeeded},
		"commands may too": {1, -1, 2, time.Second, job.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tries := 0
				x, e, _ := timed(job.Step{RetryCountOnTaskFailure: c.retries}, func(_ context.Context, a *attempt) error {
					tries++
					if c.failures < 0 {
						a.node.mu.Lock()
						defer a.node.mu.Unlock()
						a.node.failed = true
						return nil
					}
					if tries <= c.failures {
						return errors.New("no")
					}
					return nil
				})
				x.hard = t.Context()
				began := time.Now()
				x.runEntry(t.Context(), e)
				if took := time.Since(began); tries != c.tries || took != c.took || e.node.record.Result != c.want {
					t.Errorf("%d tries in %s, %s; want %d, %s, %s", tries, took, e.node.record.Result, c.tries, c.took, c.want)
				}
			})
		})
	}
}

// A try that said it was done, and failed, had its output dropped. The next one
// is heard again.
func TestARetryIsHeardAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		x, e, k := timed(job.Step{RetryCountOnTaskFailure: 1}, func(_ context.Context, a *attempt) error {
			tries++
			s := &splitter{n: a.node, execute: func([]byte) bool { return false }}
			defer s.finish()
			if _, err := fmt.Fprintf(s, "try %d\n", tries); err != nil {
				return err
			}
			if tries == 2 {
				return nil
			}
			a.node.mute()
			return errors.New("no")
		})
		x.hard = t.Context()
		x.runEntry(t.Context(), e)
		if !slices.Contains(k.lines, "try 2") || e.node.record.Result != job.Succeeded {
			t.Errorf("step %s, lines %q, want those of the second try", e.node.record.Result, k.lines)
		}
	})
}

func TestAStopEndsTheWaitForARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, e, _ := timed(job.Step{RetryCountOnTaskFailure: 10}, func(context.Context, *attempt) error { return errors.New("no") })
		x.hard = t.Context()
		stop := &job.Stop{Reason: job.StopShutdown, Message: "The agent was told to stop."}
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Second, stop)
		defer cancel()
		began := time.Now()
		x.runEntry(ctx, e)
		if took := time.Since(began); took != 3*time.Second || e.node.record.Result != job.Canceled {
			t.Errorf("step %s after %s, want canceled after 3s", e.node.record.Result, took)
		}
	})
}

// Design §5: the services start while the sources are fetched. Every other step
// waits for both.
func TestServicesStartBesideTheCheckout(t *testing.T) {
	sources := job.Step{Reference: job.TaskReference{ID: checkoutID, Version: "1.0.0"}}
	for name, c := range map[string]struct {
		services, checkout time.Duration // until they end
		fails              string
		stop               time.Duration // of the job; 0: never
		want               []string
	}{
		"slow services":    {services: 10 * time.Second, checkout: 3 * time.Second, want: []string{"0s containers begin", "0s checkout begin", "3s checkout succeeded", "10s containers succeeded", "10s step begin", "11s step succeeded", "11s stop begin", "12s stop succeeded"}},
		"slow checkout":    {services: 2 * time.Second, checkout: 5 * time.Second, want: []string{"0s containers begin", "0s checkout begin", "2s containers succeeded", "5s checkout succeeded", "5s step begin", "6s step succeeded", "6s stop begin", "7s stop succeeded"}},
		"services fail":    {services: time.Second, checkout: 3 * time.Second, fails: "containers", want: []string{"0s containers begin", "0s checkout begin", "1s containers failed", "3s checkout succeeded", "3s step skipped", "3s stop begin", "4s stop succeeded"}},
		"checkout fails":   {services: 5 * time.Second, checkout: 3 * time.Second, fails: "checkout", want: []string{"0s containers begin", "0s checkout begin", "3s checkout failed", "5s containers succeeded", "5s step skipped", "5s stop begin", "6s stop succeeded"}},
		"canceled at once": {services: 9 * time.Second, checkout: 9 * time.Second, stop: 2 * time.Second, want: []string{"0s containers begin", "0s checkout begin", "2s X canceled", "2s X canceled", "2s step skipped", "2s stop begin", "3s stop succeeded"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				var mu sync.Mutex
				var got []string
				note := func(text string) {
					mu.Lock()
					defer mu.Unlock()
					got = append(got, fmt.Sprint(time.Since(began), " ", text))
				}
				x, _, _ := timed(job.Step{}, nil)
				x.hard = t.Context()
				x.rep = ends{note}
				add := func(name string, takes time.Duration, step job.Step) *entry {
					e := &entry{
						node: x.newNode(job.RecordID(name), job.TypeTask, name, name, 1), name: name, step: step, settings: make(map[string]string),
						run: func(ctx context.Context, _ *attempt) error {
							note(name + " begin")
							if err := retry.Wait(ctx, takes); err != nil {
								return context.Cause(ctx)
							}
							if name == c.fails {
								return errors.New("no")
							}
							return nil
						},
					}
					x.entries = append(x.entries, e)
					return e
				}
				add("containers", c.services, job.Step{}).beside = true
				add("checkout", c.checkout, sources)
				add("step", time.Second, job.Step{})
				stop := add("stop", time.Second, job.Step{})
				stop.condition, stop.always = "always()", true
				ctx := t.Context()
				if c.stop > 0 {
					var cancel func()
					ctx, cancel = context.WithTimeoutCause(ctx, c.stop, &job.Stop{Reason: job.StopCanceled, Message: "Canceled.", Grace: time.Minute})
					defer cancel()
				}
				x.runEntries(ctx)
				for i, line := range got[:2] { // they begin together
					if i == 0 && strings.Contains(line, "checkout") {
						got[0], got[1] = got[1], got[0]
					}
				}
				for i, line := range got {
					if strings.HasSuffix(line, " canceled") { // they end together
						got[i] = strings.Fields(line)[0] + " X canceled"
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("what happened (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// ends is a Reporter that notes how records end.
type ends struct{ note func(string) }

func (e ends) UpdateRecord(r job.Record) {
	if r.State == job.Completed {
		e.note(r.Name + " " + string(r.Result))
	}
}
func (ends) Attach(context.Context, job.RecordID, job.Attachment) {}
func (ends) WriteLine(job.RecordID, []byte)                       {}
func (ends) Waits() bool                                          { return false }
