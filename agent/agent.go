package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

// Version is the agent version that is announced to the service. Tasks demand a
// least version of Microsoft's agent, and features of the service look at it, so
// it is the release whose behavior this agent follows (protocol §0.4); our own
// version travels in User-Agent and in the description of the system.
const Version = "4.259.0"

// How far apart the beats of [Health] are at most. They come from the loops, which
// beat when a request of theirs has ended, so each of these is longer than the
// longest that the loop may wait for one thing.
const (
	// MaxPollSilence: a poll hangs for about 50 s by design and is given up after
	// 100 s, as an attempt to open a session is and each of the requests that register;
	// a pause takes 90 s at most, and ends in a beat. The rest is for a machine that is
	// busy.
	MaxPollSilence = 2 * time.Minute
	// MaxLockSilence: a renewal is due every minute, and one attempt is given up
	// after another.
	MaxLockSilence = 90 * time.Second
	// MaxReportSilence is that of the loops that send a job's report.
	MaxReportSilence = ado.MaxReportSilence
)

// JobFunc runs one job and returns how it ended. Everything it shows passes
// c.Reporter, masked; the agent completes and closes the reporter afterwards.
// ctx is canceled with a *[job.Stop] when the job has to end early; the function
// returns within the stop's grace, or soon when there is none. An error means
// that the result could not be found out, which the server is told as failed.
type JobFunc func(ctx context.Context, m *job.Message, c Conn) (job.Result, error)

// Conn is what a job knows of the agent that runs it.
type Conn struct {
	Reporter  *ado.Reporter
	Tasks     *ado.TaskClient  // fetches the packages of downloaded tasks
	Builds    *ado.BuildClient // keeps the run and its artifacts
	Tests     *ado.TestClient  // publishes test results and coverage
	AgentID   ado.AgentID
	AgentName string
	PoolID    ado.PoolID
	PoolName  string
	Once      bool // the agent leaves after this job
	Wait      job.Wait
}

// Deps are what an [Agent] is given besides its settings.
type Deps struct {
	Log *slog.Logger // required
	// Product names us and our version, as in "dockless/1.0"; required.
	Product string
	// Capabilities are offered besides those that are found; they win.
	Capabilities map[string]string
	// Environment has the variables, as NAME=value, of which capabilities are
	// made when [Config.Environment] says so.
	Environment []string
	// Mask hides secrets in the values of capabilities; nil hides nothing.
	Mask func(string) string
	// Network reaches the server; the zero value goes straight to it.
	Network ado.Network
	// Tokens are those of the Azure identity to register with; required when the
	// settings say so, else nil.
	Tokens ado.BearerTokens
	// Health is told of progress.
	Health Health
	// JobEnded is told of each job's result: abandoned when the job was not ours
	// in the end. Nil: nobody. It is called by the job's goroutine.
	JobEnded func(job.ID, job.Result)
}

func (d Deps) jobEnded(id job.ID, result job.Result) {
	if d.JobEnded != nil {
		d.JobEnded(id, result)
	}
}

// Health is told of progress; each function may be nil. They are called by the
// working loops themselves, concurrently, and must not block.
type Health struct {
	// Poll is called in every round of the message loop, and of what stands in for
	// it while there is none: registering, opening a session, and the wait for the
	// job of a session that is lost. At least every [MaxPollSilence] while
	// [Agent.Run] runs.
	Poll func()
	// Lock is called in every round of the renewal loop, at least every
	// [MaxLockSilence] while held is true, from before the first renewal. With held
	// false it is called once when the loop ends; nothing is to be expected until
	// the next job.
	Lock func(held bool)
	// Report is called when everything that sends the report of a job has come
	// round, at least every [MaxReportSilence] while open is true. With open false
	// it is called once, as Lock is.
	Report func(open bool)
	// Ready tells whether the session is open.
	Ready func(open bool)
	// Answers tells whether the server answers polls, when that changes. With a new
	// session it does until a poll fails.
	Answers func(yes bool)
	// Draining is called once, when the agent was told to stop: it takes nothing
	// new from then on.
	Draining func()
}

// Agent is one agent. Its methods are not safe for concurrent use, but for
// [Agent.Drain].
type Agent struct {
	config  Config
	runs    JobFunc
	deps    Deps
	log     *slog.Logger
	host    string
	state   state
	end     *ending
	timings timings
}

// New returns an agent that runs jobs with run. It reports every problem of the
// settings, and neither connects nor writes anything.
func New(c Config, run JobFunc, d Deps) (*Agent, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.UsesAzure() && d.Tokens == nil {
		return nil, errors.New("there is no Azure identity to register with")
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "AGENT" // what the service calls a machine without a name (protocol §4.1)
	}
	if c.Name == "" {
		c.Name = host
	}
	return &Agent{
		config: c, runs: run, deps: d, log: d.Log, host: host,
		state: state{dir: c.StateDir}, end: newEnding(c.drainBudget, endingOf(d)), timings: protocolTimings(),
	}, nil
}

// endingOf tells of the phases of an end.
func endingOf(d Deps) func(phase) {
	return func(p phase) {
		d.Log.Info("the agent leaves", "phase", p.String())
		if p == draining {
			d.Health.draining()
		}
	}
}

// Run registers the agent, or takes the place of one with its name, opens its
// session and works until ctx ends or [Agent.Drain] is called, or until one job
// is done when the settings say so. It then deletes the session and, when the
// agent is ephemeral, unregisters it, so that a pod that went away leaves no
// offline agent behind, and returns nil, also when unregistering fails: what was
// asked is done, and the next start under this name takes the agent over.
//
// An agent that somebody deleted on the server registers again when the settings
// allow it. A revoked registration ends Run with nil otherwise. Every other end
// is an error, after which the agent stays registered for the next start.
//
// Run is called once.
func (a *Agent) Run(ctx context.Context) error {
	connections, pollConnections := a.deps.Network.NewHTTP(), a.deps.Network.NewHTTP()
	defer connections.CloseIdleConnections()
	defer pollConnections.CloseIdleConnections()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(errOver)
	a.end.bind(stop)
	for life := 1; ; life++ {
		r, err := a.registerPatiently(ctx, connections, pollConnections, life)
		if err != nil {
			if ctx.Err() != nil {
				a.leaveHalfRegistered(ctx, connections)
				return nil
			}
			return err
		}
		if err := a.state.forget(); err != nil {
			return err
		}
		began := time.Now()
		err = a.serve(ctx, r)
		if err == nil || a.end.told() {
			if a.config.Ephemeral {
				a.unregister(ctx, r)
			}
			return err // of a job that hung, when the agent was told to stop
		}
		if time.Since(began) > a.timings.settled {
			life = 1
		}
		switch again, aerr := a.again(ctx, r, err, life); {
		case again:
		case errors.Is(aerr, ado.ErrRevoked):
			a.log.WarnContext(ctx, "the registration was revoked", "agent_id", r.agent.ID)
			return nil
		default:
			return aerr
		}
	}
}

// unregister removes the agent from its pool.
func (a *Agent) unregister(ctx context.Context, r *registered) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), a.timings.unregister,
		fmt.Errorf("unregistering took longer than %s", a.timings.unregister))
	defer cancel()
	if err := r.admin.DeleteAgent(ctx, r.pool.ID, r.agent.ID); err != nil {
		a.log.ErrorContext(ctx, "agent was not unregistered and stays behind offline", "agent", r.agent.Name, "agent_id", r.agent.ID, "error", err)
		return
	}
	a.log.InfoContext(ctx, "agent unregistered", "agent_id", r.agent.ID)
}

func (h Health) poll() {
	if h.Poll != nil {
		h.Poll()
	}
}

func (h Health) lock(held bool) {
	if h.Lock != nil {
		h.Lock(held)
	}
}

func (h Health) report(open bool) {
	if h.Report != nil {
		h.Report(open)
	}
}

func (h Health) answers(yes bool) {
	if h.Answers != nil {
		h.Answers(yes)
	}
}

func (h Health) ready(open bool) {
	if h.Ready != nil {
		h.Ready(open)
	}
}

func (h Health) draining() {
	if h.Draining != nil {
		h.Draining()
	}
}
