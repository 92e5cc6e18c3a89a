// Package emulatortest knows how to start an [emulator.Server] for one test: on
// a loopback port, with short waits, removed at the test's end. Only _test.go
// files import it.
//
// A test makes a [Server] with [New], gives its URL, PAT and Pool to the agent
// under test, queues a job with [Server.Queue], and asks the server what
// happened.
package emulatortest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Server is a running emulator and how to reach it.
type Server struct {
	*emulator.Server

	URL  string // without a slash at its end
	PAT  mask.Secret
	Pool string

	t testing.TB
}

// New starts an emulator that lives as long as the test. Its waits are those of
// the service except that an unpolled session expires after five seconds and a
// job is abandoned five seconds after its last renewal, which a busy machine can
// keep; change may alter that.
func New(t testing.TB, change ...func(*emulator.Config)) *Server {
	t.Helper()
	cfg := emulator.Defaults()
	cfg.PAT = mask.NewSecret("pat-" + uuid.NewString())
	cfg.StateDir = t.TempDir()
	cfg.SessionExpiry, cfg.LockDuration, cfg.LockGrace = 5*time.Second, 5*time.Second, 0
	for _, c := range change {
		c(&cfg)
	}
	srv, err := emulator.New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatalf("starting the emulator: %v", err)
	}
	ln, err := listen(t.Context())
	if err != nil {
		t.Fatalf("starting the emulator: %v", err)
	}
	ctx, stop := context.WithCancelCause(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop(errors.New("the test is over"))
		if err := <-done; err != nil {
			t.Errorf("stopping the emulator: %v", err)
		}
	})
	return &Server{Server: srv, URL: "http://" + ln.Addr().String(), PAT: cfg.PAT, Pool: cfg.Pools[0], t: t}
}

var emulators atomic.Uint32 // of this process, so far

// listen takes a loopback address that no other server of this process has had.
// Microsoft's client keeps what a server offers by its URL for as long as the process
// lives, and ports come back.
func listen(ctx context.Context) (net.Listener, error) {
	n := emulators.Add(1)
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.1.%d.%d:0", n>>8&0xff, n&0xff))
	if err != nil { // not everywhere are all of them there
		return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	}
	return ln, nil
}

// Queue queues a job for the first pool and returns its id.
func (s *Server) Queue(m *job.Message, demands ...string) job.ID {
	s.t.Helper()
	run, err := s.Server.Queue(m, emulator.Requirements{Demands: demands})
	if err != nil {
		s.t.Fatalf("queuing a job: %v", err)
	}
	return run.Jobs[0].ID
}

// AwaitState waits at most a minute for the job to be in the state or past
// it, and fails the test when it is not.
func (s *Server) AwaitState(id job.ID, state emulator.State) emulator.Status {
	s.t.Helper()
	ctx, cancel := context.WithTimeoutCause(s.t.Context(), time.Minute, errors.New("not within a minute"))
	defer cancel()
	status, err := s.Await(ctx, id, state)
	if err != nil {
		s.t.Fatal(err)
	}
	return status
}

// Ids of the in-box tasks that [Script] and [Bash] use (protocol §8.4).
const (
	cmdLineID = "d9bafed4-0b18-4f58-968d-86655b4d2ce9"
	bashID    = "6c731c3c-3c68-459a-a5c9-bde6e6595b5b"
)

// Script returns a job message with one CmdLine@2 step for each script.
func Script(scripts ...string) *job.Message {
	var steps []job.Step
	for _, text := range scripts {
		steps = append(steps, job.Step{
			Name: "CmdLine", DisplayName: "Run a script", Inputs: map[string]string{"script": text},
			Reference: job.TaskReference{ID: cmdLineID, Name: "CmdLine", Version: "2.279.1"},
		})
	}
	return Steps(steps...)
}

// Bash is [Script] with Bash@3.
func Bash(scripts ...string) *job.Message {
	var steps []job.Step
	for _, text := range scripts {
		steps = append(steps, job.Step{
			Name: "Bash", DisplayName: "Run bash", Inputs: map[string]string{"targetType": "inline", "script": text},
			Reference: job.TaskReference{ID: bashID, Name: "Bash", Version: "3.278.0"},
		})
	}
	return Steps(steps...)
}

// Steps returns a job message with the given steps. Steps without an id get one,
// and a condition, as the service sends it.
func Steps(steps ...job.Step) *job.Message {
	plan := uuid.NewString()
	for i := range steps {
		if steps[i].ID == "" {
			steps[i].ID = job.NewRecordID()
		}
		if steps[i].Condition == "" {
			steps[i].Condition = "succeeded()"
		}
		if steps[i].Type == "" {
			steps[i].Type = "task"
		}
	}
	return &job.Message{
		Plan:     job.Plan{ScopeIdentifier: uuid.NewString(), PlanType: "Build", Version: 9, PlanID: job.PlanID(plan)},
		Timeline: job.TimelineReference{ID: job.TimelineID(plan), ChangeID: 1},
		JobID:    job.ID(uuid.NewString()), JobName: "__default", JobDisplayName: "Job",
		Variables: map[string]job.Variable{}, Steps: steps,
	}
}
