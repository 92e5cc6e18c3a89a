package agent_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// TestMain looks for leaks, but not while fuzzing, whose workers end in the
// middle of something.
func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.fuzz").Value.String() != "" {
		os.Exit(m.Run())
	}
	goleak.VerifyTestMain(m)
}

// body is what a test's job does between its records.
type body func(ctx context.Context, c agent.Conn) job.Result

// records wraps do as a runner would: the job's record and one for each step.
func records(do body) agent.JobFunc {
	return func(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
		now := func() *job.Time { t := job.At(time.Now()); return &t }
		own := m.JobID.Record()
		c.Reporter.UpdateRecord(job.Record{ID: own, Type: job.TypeJob, Name: m.JobDisplayName, RefName: m.JobName, State: job.InProgress, StartTime: now(), Attempt: 1})
		for i, step := range m.Steps {
			c.Reporter.UpdateRecord(job.Record{ID: step.ID, ParentID: own, Type: job.TypeTask, Name: step.DisplayName, RefName: step.Name, Order: i + 1, State: job.Pending, Attempt: 1})
		}
		result := job.Succeeded
		for _, step := range m.Steps {
			c.Reporter.UpdateRecord(job.Record{ID: step.ID, State: job.InProgress, StartTime: now()})
			c.Reporter.WriteLine(step.ID, []byte("##[section]Starting: "+step.DisplayName))
			result = do(ctx, c)
			c.Reporter.WriteLine(step.ID, []byte("##[section]Finishing: "+step.DisplayName))
			c.Reporter.UpdateRecord(job.Record{ID: step.ID, State: job.Completed, Result: result, FinishTime: now(), PercentComplete: 100})
		}
		end := job.Record{ID: own, State: job.Completed, Result: result, FinishTime: now(), PercentComplete: 100}
		if stop := job.StopOf(ctx); stop != nil {
			end.Issues = []job.Issue{{Type: job.Error, Category: "General", Message: stop.Message}}
		}
		c.Reporter.UpdateRecord(end)
		return result, nil
	}
}

func succeed(context.Context, agent.Conn) job.Result { return job.Succeeded }

// untilStopped runs until its job has to end.
func untilStopped(ctx context.Context, _ agent.Conn) job.Result {
	<-ctx.Done()
	return job.Canceled
}

func lasting(d time.Duration) body {
	return func(ctx context.Context, _ agent.Conn) job.Result {
		select {
		case <-time.After(d):
			return job.Succeeded
		case <-ctx.Done():
			return job.Canceled
		}
	}
}

func config(t testing.TB, srv *emulatortest.Server) agent.Config {
	t.Helper()
	return agent.Config{
		URL: srv.URL, Token: srv.PAT, Pool: srv.Pool, Name: "build-01", Auth: "pat",
		DrainTimeout: new(5 * time.Second), StateDir: t.TempDir(), Ephemeral: true, Reregister: true,
	}
}

func newAgent(t testing.TB, c agent.Config, run agent.JobFunc, change ...func(*agent.Deps)) *agent.Agent {
	t.Helper()
	d := agent.Deps{Log: slog.New(slog.DiscardHandler), Product: "dockless/test"}
	if testing.Verbose() {
		d.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for _, f := range change {
		f(&d)
	}
	a, err := agent.New(c, run, d)
	if err != nil {
		t.Fatal(err)
	}
	a.Hurry()
	return a
}

// started runs a until the test ends or stop is called; stop returns what Run did.
func started(t testing.TB, a *agent.Agent) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	var once sync.Once
	var err error
	stop = func() error {
		once.Do(func() {
			cancel(errors.New("SIGTERM"))
			select {
			case err = <-done:
			case <-time.After(20 * time.Second):
				t.Error("the agent did not stop within 20 s")
			}
		})
		return err
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Logf("Run ended with %v", err)
		}
	})
	return stop
}

func wantResult(t *testing.T, srv *emulatortest.Server, id job.ID, want job.Result) emulator.Status {
	t.Helper()
	status := srv.AwaitState(id, emulator.Completed)
	if status.Result != want {
		t.Errorf("job ended as %s, want %s", status.Result, want)
	}
	for _, v := range status.Violations {
		t.Errorf("the server objects: %+v", v)
	}
	return status
}

func TestAJobRunsAndIsReported(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("true", "true"))
	var leftover *agent.Leftover
	var a *agent.Agent
	a = newAgent(t, config(t, srv), records(func(_ context.Context, c agent.Conn) job.Result {
		if l, err := a.Leftover(); err != nil {
			t.Error(err)
		} else {
			leftover = l
		}
		if c.AgentName != "build-01" || c.AgentID == 0 || c.PoolID == 0 {
			t.Errorf("Conn = %+v, want the agent's and the pool's names", c)
		}
		return job.Succeeded
	}))
	stop := started(t, a)
	wantResult(t, srv, id, job.Succeeded)
	if leftover == nil || leftover.JobID != id {
		t.Errorf("a crash during the job would have left %+v, want job %s", leftover, id)
	}
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil after an orderly stop", err)
	}
	if l, err := a.Leftover(); l != nil || err != nil {
		t.Errorf("Leftover after the end = %v, %v, want none", l, err)
	}
	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, r := range report.Records {
		lines = append(lines, r.Log...)
	}
	if n := len(slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, "Starting: Run a script") })); n != 4 {
		t.Errorf("step logs and job log hold %d starting lines, want 2 + 2:\n%+v", n, report.Records)
	}
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents after the end = %v, want none", agents)
	}
}

func TestJobsRunOneAfterAnother(t *testing.T) {
	srv := emulatortest.New(t)
	var ids []job.ID
	for range 5 {
		ids = append(ids, srv.Queue(emulatortest.Script("true")))
	}
	started(t, newAgent(t, config(t, srv), records(succeed)))
	for _, id := range ids {
		wantResult(t, srv, id, job.Succeeded)
	}
}

func TestLosingTheLockStopsTheJob(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("sleep 60"))
	srv.WhenStarted(id, srv.LoseLock)
	reasons := make(chan job.StopReason, 2)
	cfg := config(t, srv)
	cfg.DrainTimeout = new(time.Duration)
	started(t, newAgent(t, cfg, records(func(ctx context.Context, c agent.Conn) job.Result {
		defer func() { reasons <- job.StopOf(ctx).Reason }()
		return untilStopped(ctx, c)
	})))
	if got := <-reasons; got != job.StopLockLost {
		t.Errorf("the job was stopped because of %q, want %q", got, job.StopLockLost)
	}
	status := srv.AwaitState(id, emulator.Completed)
	if status.Result != job.Abandoned {
		t.Errorf("job ended as %s, want abandoned", status.Result)
	}
	next := srv.Queue(emulatortest.Script("true")) // the agent is free for another
	srv.AwaitState(next, emulator.Running)
	if got, want := srv.FinishAttempts(id), 0; got != want {
		t.Errorf("attempts to finish a request that is no longer ours = %d, want %d", got, want)
	}
}

func TestACancellationStopsTheJobWithItsGrace(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("sleep 60"))
	stops := make(chan *job.Stop, 1)
	started(t, newAgent(t, config(t, srv), records(func(ctx context.Context, c agent.Conn) job.Result {
		if !srv.Cancel(id) {
			t.Error("the server knows nothing to cancel")
		}
		defer func() { stops <- job.StopOf(ctx) }()
		return untilStopped(ctx, c)
	})))
	if got := <-stops; got.Reason != job.StopCanceled || got.Grace != 5*time.Minute {
		t.Errorf("the job was stopped with %+v, want canceled with the message's five minutes", got)
	}
	wantResult(t, srv, id, job.Canceled)
}

func TestAJobMayFinishWithinTheDrainBudget(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("sleep 1"))
	stop := started(t, newAgent(t, config(t, srv), records(lasting(300*time.Millisecond))))
	srv.AwaitState(id, emulator.Running)
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	wantResult(t, srv, id, job.Succeeded)
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents after the end = %v, want none", agents)
	}
}

func TestAJobBeyondTheDrainBudgetIsCanceledAndSaysWhy(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("sleep 60"))
	c := config(t, srv)
	c.DrainTimeout = new(50 * time.Millisecond)
	stop := started(t, newAgent(t, c, records(untilStopped)))
	srv.AwaitState(id, emulator.Running)
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	wantResult(t, srv, id, job.Canceled)
	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	want := "the agent was told to stop (SIGTERM) and the job did not finish within its drain budget of 50ms"
	found := false
	for _, r := range report.Records {
		for _, issue := range r.Issues {
			found = found || issue.Message == want
		}
	}
	if !found {
		t.Errorf("no record says %q: %+v", want, report.Records)
	}
}

func TestADrainingAgentLeavesNewJobsToOthers(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("sleep 1"))
	first := newAgent(t, config(t, srv), records(lasting(300*time.Millisecond)))
	stop := started(t, first)
	srv.AwaitState(id, emulator.Running)
	next := srv.Queue(emulatortest.Script("true"))
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	wantResult(t, srv, id, job.Succeeded)
	if status, err := srv.Job(next); err != nil || status.State == emulator.Completed || !status.StartedAt.IsZero() {
		t.Errorf("the next job is %+v, %v, want it untouched", status, err)
	}
	started(t, newAgent(t, config(t, srv), records(succeed)))
	wantResult(t, srv, next, job.Succeeded)
}

func TestNoJobStartsBeforeItsFirstRenewal(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("true"))
	release := srv.HoldRenewals(id)
	defer release()
	var mu sync.Mutex
	released := false
	started(t, newAgent(t, config(t, srv), records(func(context.Context, agent.Conn) job.Result {
		mu.Lock()
		defer mu.Unlock()
		if !released {
			t.Error("the job started before its request was renewed")
		}
		return job.Succeeded
	})))
	srv.AwaitState(id, emulator.Assigned)
	time.Sleep(200 * time.Millisecond)
	mu.Lock()
	released = true
	mu.Unlock()
	release()
	wantResult(t, srv, id, job.Succeeded)
}

func TestAJobWhoseRequestCannotBeRenewedIsDropped(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("true"))
	release := srv.HoldRenewals(id)
	defer release()
	a := newAgent(t, config(t, srv), records(func(context.Context, agent.Conn) job.Result {
		t.Error("the job ran")
		return job.Succeeded
	}))
	a.SetRequestTimeout(500 * time.Millisecond)
	started(t, a)
	status := srv.AwaitState(id, emulator.Completed)
	if got := srv.FinishAttempts(id); status.Result != job.Abandoned || got != 0 {
		t.Errorf("job ended as %s after %d attempts to finish it, want abandoned after none", status.Result, got)
	}
}

func TestASecondAgentOfTheSameNameTakesOver(t *testing.T) {
	srv := emulatortest.New(t)
	c := config(t, srv)
	ready := make(chan bool, 8)
	first := newAgent(t, c, records(succeed), func(d *agent.Deps) { d.Health.Ready = func(open bool) { ready <- open } })
	stop := started(t, first)
	if open := <-ready; !open {
		t.Fatal("ready = false first, want true")
	}
	c.StateDir = t.TempDir()
	second := newAgent(t, c, records(succeed))
	second.SetSessionConflict(200 * time.Millisecond)
	err := second.Run(t.Context())
	if !errors.Is(err, ado.ErrSessionConflict) || !hasHint(err, "AZP_AGENT_NAME") {
		t.Errorf("Run = %v, %q, want a session conflict with a hint at AZP_AGENT_NAME", err, hint.All(err))
	}
	_ = stop() // its key was replaced: whether it still could unregister is not the point
}

func TestAnExpiredSessionIsReplaced(t *testing.T) {
	srv := emulatortest.New(t)
	c := config(t, srv)
	ctx, cancel := context.WithCancel(t.Context())
	open := make(chan bool, 8)
	first := newAgent(t, c, records(succeed), func(d *agent.Deps) { d.Health.Ready = func(ready bool) { open <- ready } })
	done := make(chan error, 1)
	go func() { done <- first.Run(ctx) }()
	<-open
	srv.ExpireSessions()
	id := srv.Queue(emulatortest.Script("true"))
	wantResult(t, srv, id, job.Succeeded)
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestOnceTakesOneJobAndUnregisters(t *testing.T) {
	srv := emulatortest.New(t)
	first, second := srv.Queue(emulatortest.Script("true")), srv.Queue(emulatortest.Script("true"))
	c := config(t, srv)
	c.Once = true
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := newAgent(t, c, records(succeed)).Run(ctx); err != nil || ctx.Err() != nil {
		t.Errorf("Run = %v (context: %v), want nil by itself", err, ctx.Err())
	}
	wantResult(t, srv, first, job.Succeeded)
	if status, err := srv.Job(second); err != nil || status.State == emulator.Completed {
		t.Errorf("the second job is %+v, %v, want it left alone", status, err)
	}
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents after the end = %v, want none", agents)
	}
}

func TestAnOlderPlanEndsWithItsRequest(t *testing.T) {
	srv := emulatortest.New(t)
	m := emulatortest.Script("true")
	m.Plan.Version = 7
	id := srv.Queue(m)
	started(t, newAgent(t, config(t, srv), records(succeed)))
	wantResult(t, srv, id, job.Succeeded)
}

func TestAJobFunctionThatPanicsFailsTheJob(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("true"))
	told := make(chan job.Result, 1)
	started(t, newAgent(t, config(t, srv), func(context.Context, *job.Message, agent.Conn) (job.Result, error) { panic("a secret") }, func(d *agent.Deps) {
		d.JobEnded = func(_ job.ID, r job.Result) { told <- r }
	}))
	if status := srv.AwaitState(id, emulator.Completed); status.Result != job.Failed {
		t.Errorf("job ended as %s, want failed", status.Result)
	}
	if result := <-told; result != job.Failed {
		t.Errorf("job is told to have ended as %s, want failed", result)
	}
}

func TestAJobThatHangsAfterItsEndStopsTheAgent(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("true"))
	c := config(t, srv)
	c.DrainTimeout = new(10 * time.Millisecond)
	free := make(chan struct{})
	stop := started(t, newAgent(t, c, func(context.Context, *job.Message, agent.Conn) (job.Result, error) {
		<-free
		return job.Succeeded, nil
	}))
	t.Cleanup(func() { close(free) })
	srv.AwaitState(id, emulator.Running)
	if err := stop(); err == nil || !strings.Contains(err.Error(), "still ran") {
		t.Errorf("Run = %v, want an error about the job that hangs", err)
	}
	if status := srv.AwaitState(id, emulator.Completed); status.Result != job.Canceled {
		t.Errorf("job ended as %s, want canceled", status.Result)
	}
}

func TestWrongSettingsAreReportedWithAHint(t *testing.T) {
	srv := emulatortest.New(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*agent.Config)
		want   error
		hint   string
	}{
		"wrong token":    {func(c *agent.Config) { c.Token = mask.NewSecret("wrong-token-value") }, ado.ErrUnauthorized, "AZP_TOKEN"},
		"unknown pool":   {func(c *agent.Config) { c.Pool = "nowhere" }, ado.ErrPoolNotFound, "AZP_POOL"},
		"nobody listens": {func(c *agent.Config) { c.URL = "http://" + nobody.Addr().String() }, nil, "AZP_URL"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t, srv)
			c.change(&cfg)
			err := newAgent(t, cfg, records(succeed)).Run(t.Context())
			if err == nil || (c.want != nil && !errors.Is(err, c.want)) || !hasHint(err, c.hint) {
				t.Errorf("Run = %v, hints %q, want %v and a hint at %s", err, hint.All(err), c.want, c.hint)
			}
			if err != nil && strings.Contains(err.Error(), cfg.Token.Reveal()) {
				t.Errorf("the error shows the token: %v", err)
			}
			if agents := srv.Agents(); len(agents) != 0 {
				t.Errorf("agents = %v, want nothing left behind", agents)
			}
		})
	}
}

func hasHint(err error, setting string) bool {
	return slices.ContainsFunc(hint.All(err), func(h string) bool { return strings.Contains(h, setting) })
}

func TestValidateReportsEveryProblem(t *testing.T) {
	err := agent.Config{URL: "ftp://x", Auth: "pat", DrainTimeout: new(-time.Second)}.Validate()
	for _, setting := range []string{"AZP_URL", "AZP_TOKEN", "AZP_POOL", "DOCKLESS_STATE_DIR", "DOCKLESS_DRAIN_TIMEOUT"} {
		if !hasHint(err, setting) {
			t.Errorf("Validate() = %v, hints %q, want one at %s", err, hint.All(err), setting)
		}
	}
	if err := (agent.Config{URL: "https://x", Auth: "kerberos", Pool: "p", StateDir: "s"}).Validate(); !hasHint(err, "AZP_AUTH") {
		t.Errorf("Validate() = %v, want a hint at AZP_AUTH", err)
	}
}
