package runner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// mostRetries caps retryCountOnTaskFailure (protocol §6.5).
const mostRetries = 10

var (
	errTimeout = errors.New("The task has timed out.") //nolint:staticcheck // the service's sentence, shown as it is
	errDone    = errors.New("the task said that it is done")
	errRetry   = errors.New("a step that failed is tried again")
)

// entry is one thing a job runs: a step, its post-job part, or something of
// the agent's own.
type entry struct {
	node      *node
	step      job.Step // zero for the agent's own
	task      task
	name      string
	condition string
	header    bool // the log opens with a description of the task
	post      bool // a post-job part
	beside    bool // runs beside the checkout steps that follow it
	always    bool // runs even when the agent shuts down, because it removes things
	run       func(ctx context.Context, a *attempt) error

	settings map[string]string // task variables, shared by the parts of one step
	details  details           // what the step reports below its record
	account  account           // of the processes it runs
}

// attempt is one try of an entry.
type attempt struct {
	*entry
	x   *execution
	ctx context.Context //nolint:containedctx // of this try, for its logging commands and services
	in  inputs
	env environment

	where *container // that its processes run in; nil: the host

	errands *errands // what the step's commands have to do with the server; nil: nothing

	summaries int // of test results, attached by errands only
}

// runEntries runs everything in order. What may run beside the checkout is
// awaited by the first entry that is none, so that every other step finds the
// services and the sources.
func (x *execution) runEntries(ctx context.Context) {
	var beside sync.WaitGroup
	defer beside.Wait()
	for _, e := range x.entries {
		if e.beside {
			if x.admit(ctx, e) {
				beside.Go(func() { x.perform(ctx, e) })
			}
			continue
		}
		if e.post || !strings.EqualFold(e.step.Reference.ID, checkoutID) {
			beside.Wait()
		}
		x.runEntry(ctx, e)
	}
}

// runEntry decides whether e runs, runs it and completes its record
// (protocol §8.13).
func (x *execution) runEntry(ctx context.Context, e *entry) {
	if x.admit(ctx, e) {
		x.perform(ctx, e)
	}
}

// admit starts the record of e and decides whether it runs. When it does not,
// the record is complete.
func (x *execution) admit(ctx context.Context, e *entry) bool {
	n := e.node
	n.start()
	x.define("agent.jobStatus", x.status(ctx).Title())
	for _, err := range x.vars.Recompute() {
		n.warning(err.Error())
	}
	x.scope(e)
	run, why, err := x.decide(ctx, e)
	switch {
	case err != nil:
		n.error(err)
		x.merge(job.Failed)
		n.complete(job.Failed, "")
	case !run:
		n.print(why)
		n.complete(job.Skipped, why)
	}
	return run && err == nil
}

// perform runs an entry that was admitted and completes its record.
func (x *execution) perform(ctx context.Context, e *entry) {
	n := e.node
	ctx, s := e.startSpan(ctx)
	n.print("##[section]Starting: " + e.name)
	if e.header {
		for _, line := range e.task.header(e.step.Reference) {
			n.print(line)
		}
	}
	result := x.try(ctx, e)
	if result == job.Failed && e.step.ContinueOnError {
		result = job.SucceededWithIssues
	}
	if result == job.SucceededWithIssues || result == job.Failed {
		x.merge(result)
	}
	e.closeDetails(result)
	e.closeAccount()
	endSpan(s, n, result)
	n.print("##[section]Finishing: " + e.name)
	n.complete(result, "")
}

// scope sets the variables that only this entry sees.
func (x *execution) scope(e *entry) {
	scoped := []vars.Variable{
		{Name: "system.taskInstanceId", Value: string(e.node.record.ID)},
		{Name: "system.taskInstanceName", Value: e.step.Name},
		{Name: "system.taskDisplayName", Value: e.name},
		{Name: "task.displayName", Value: e.name},
		{Name: "task.publishTelemetry", Value: "False"}, // this agent collects none
	}
	if e.goesInside() && x.targetOf(e.step) != "" {
		scoped = append(scoped, x.insideVariables()...)
	}
	x.vars.SetScoped(scoped...)
}

// decide evaluates the condition of e. why explains a no.
func (x *execution) decide(ctx context.Context, e *entry) (run bool, why string, err error) {
	if stop := job.StopOf(ctx); stop != nil && (stop.Reason != job.StopCanceled || x.hard.Err() != nil) && !e.always {
		return false, "Skipping the step: " + stop.Message, nil
	}
	if input := x.forbidden(e); input != "" {
		return false, "Skipping the step: its input " + input + " names a service connection, and the build of a fork may not use any.", nil
	}
	run, trace, err := expr.EvalStepCondition(e.condition, func(name string) (string, bool) {
		v, ok := x.vars.Get(name)
		return v.Value, ok
	}, expr.Status(x.status(ctx).Title()))
	if err != nil {
		return false, "", err
	}
	return run, "Skipping step due to condition evaluation.\n" + trace, nil
}

// forbidden returns the input with which e names a service connection although
// the job builds a fork that may use none (protocol §8.6), or "". The server's
// word on that counts, which steps cannot change.
func (x *execution) forbidden(e *entry) string {
	if !vars.Truth(x.said("system.restrictSecrets"), false) || !vars.Truth(x.said("build.isFork"), false) {
		return ""
	}
	return e.task.connection(e.step.Inputs)
}

// try runs e once, and again while it fails and may be retried.
func (x *execution) try(ctx context.Context, e *entry) job.Result {
	n := e.node
	retries := e.step.RetryCountOnTaskFailure
	if retries > mostRetries {
		n.warning(fmt.Sprintf("retryCountOnTaskFailure is %d; this agent retries at most %d times.", retries, mostRetries))
		retries = mostRetries
	}
	if e.post {
		retries = 0
	}
	step, end := x.stepContext(ctx, e)
	defer end()
	for again := 0; ; again++ {
		result, err := x.once(step, e)
		if result != job.Failed || step.Err() != nil || again >= retries {
			if err != nil {
				n.error(err)
			}
			return result
		}
		pause := time.Duration((again+1)*(again+1)) * time.Second
		text := "The task failed"
		if err != nil {
			text = err.Error()
		}
		n.warning(fmt.Sprintf("%s; trying again (%d of %d) in %s.", strings.TrimSuffix(text, "."), again+1, retries, pause))
		if retry.Wait(step, pause) != nil {
			return x.ended(step, n, errRetry)
		}
		n.mu.Lock()
		n.result, n.failed, n.deaf, n.done = "", false, false, make(chan struct{}) // an earlier attempt is forgotten
		n.mu.Unlock()
	}
}

// stepContext returns the context that e runs in. It ends when the step's time
// is over, when the job's grace is, and when the job is stopped and the
// condition of e does not hold any more (protocol §8.14).
func (x *execution) stepContext(ctx context.Context, e *entry) (context.Context, func()) {
	step, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	release := func() {}
	if minutes := e.step.TimeoutInMinutes; minutes > 0 && !e.post {
		step, release = context.WithTimeoutCause(step, time.Duration(minutes)*x.minute, errTimeout)
	}
	stopped, hard := ctx.Done(), x.hard.Done()
	if ctx.Err() != nil {
		stopped = nil // its condition was evaluated knowing that
	}
	if e.always {
		stopped, hard = nil, nil
		step, release = context.WithTimeoutCause(step, cleanupTimeout, errCleanup)
	}
	stopWatching := x.watch(step, e.name)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-stopped:
			x.define("agent.jobStatus", job.Canceled.Title())
			if run, _, err := x.decide(ctx, e); !run || err != nil {
				cancel(job.StopOf(ctx))
				return
			}
		case <-hard:
		case <-step.Done():
			return
		}
		select {
		case <-hard:
			cancel(context.Cause(x.hard))
		case <-step.Done():
		}
	})
	return step, func() {
		stopWatching()
		cancel(errOver)
		release()
		watch.Wait()
	}
}

// once runs e one time and returns its result and, unless it was reported
// already, the error behind it.
func (x *execution) once(ctx context.Context, e *entry) (job.Result, error) {
	a := &attempt{entry: e, x: x, ctx: ctx}
	err := a.place()
	if err == nil {
		err = e.run(ctx, a)
	}
	a.settle()
	if err != nil && ctx.Err() != nil {
		return x.ended(ctx, e.node, err), nil
	}
	e.node.mu.Lock()
	defer e.node.mu.Unlock()
	result := job.Succeeded.Merge(e.node.result)
	if e.node.failed {
		result = result.Merge(job.Failed)
	}
	if err != nil && !errors.Is(err, errDone) {
		result = result.Merge(job.Failed)
		return result, err
	}
	return result, nil
}

// ended says how a step that was interrupted ends.
func (x *execution) ended(ctx context.Context, n *node, err error) job.Result {
	cause := context.Cause(ctx)
	if errors.Is(cause, errTimeout) {
		n.error(errTimeout)
		return job.Failed
	}
	if !errors.Is(err, cause) && !errors.Is(err, errRetry) {
		n.print("The step ended with: " + err.Error())
	}
	n.error(fmt.Errorf("The operation was canceled: %w", cause)) //nolint:staticcheck // the service's words
	return job.Canceled
}
