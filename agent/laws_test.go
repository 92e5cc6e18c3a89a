package agent_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// buffer is a log that may be written while it is read.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// One law (A35): tokens, assertions, keys and the text of messages never reach
// the log, whatever its level, and a job's life makes about ten lines of it.
func TestA35NoSecretReachesTheLog(t *testing.T) {
	srv := emulatortest.New(t)
	m := emulatortest.Script("true")
	m.Variables["password"] = job.Variable{Value: "hunter2-in-a-variable", IsSecret: true}
	id := srv.Queue(m)
	debug, info := &buffer{}, &buffer{}
	var token string
	logger := slog.New(slog.NewMultiHandler(
		slog.NewTextHandler(debug, &slog.HandlerOptions{Level: slog.LevelDebug}),
		slog.NewTextHandler(info, &slog.HandlerOptions{Level: slog.LevelInfo})))
	a := newAgent(t, config(t, srv), func(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
		_, token = m.JobToken()
		return records(succeed)(ctx, m, c)
	}, func(d *agent.Deps) { d.Log = logger })
	stop := started(t, a)
	wantResult(t, srv, id, job.Succeeded)
	if err := stop(); err != nil {
		t.Error(err)
	}
	for name, secret := range map[string]string{
		"the registration token": srv.PAT.Reveal(), "the job token": token, "a secret variable": "hunter2", "a JWT": "eyJ", "a header": "Bearer ",
	} {
		if secret == "" || strings.Contains(debug.String(), secret) {
			t.Errorf("the log shows %s:\n%s", name, debug)
		}
	}
	if lines := strings.Count(info.String(), "\n"); lines > 12 {
		t.Errorf("the life of an agent and one job made %d lines, want about ten:\n%s", lines, info)
	}
}

func TestTheLoopsBeatAndReadinessFollowsTheSession(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 50 * time.Millisecond })
	id := srv.Queue(emulatortest.Script("true"))
	var polls, held, released atomic.Int32
	var ready []bool
	a := newAgent(t, config(t, srv), records(lasting(400*time.Millisecond)), func(d *agent.Deps) {
		d.Health = agent.Health{
			Poll: func() { polls.Add(1) },
			Lock: func(h bool) {
				if h {
					held.Add(1)
				} else {
					released.Add(1)
				}
			},
			Ready: func(open bool) { ready = append(ready, open) },
		}
	})
	stop := started(t, a)
	wantResult(t, srv, id, job.Succeeded)
	time.Sleep(100 * time.Millisecond)
	if err := stop(); err != nil {
		t.Error(err)
	}
	if polls.Load() < 5 || held.Load() < 4 || released.Load() != 1 {
		t.Errorf("beats: %d of polls, %d of renewals, %d ends of renewing, want several, several and one", polls.Load(), held.Load(), released.Load())
	}
	if len(ready) != 2 || !ready[0] || ready[1] {
		t.Errorf("ready = %v, want true, then false", ready)
	}
}

// Protocol §2.6 and §2.7: the agent's own capabilities are merged into those
// that are there, through the masker; what people set stays.
func TestAReplacedAgentKeepsWhatPeopleSet(t *testing.T) {
	srv := emulatortest.New(t)
	admin, err := ado.NewRegistration(srv.URL, srv.PAT, ado.Options{HTTP: http.DefaultTransport, Log: slog.New(slog.DiscardHandler), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	pool, err := admin.FindPool(t.Context(), srv.Pool)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ado.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	disabled := false
	before, err := admin.AddAgent(t.Context(), pool.ID, ado.TaskAgent{
		Name: "build-01", Version: "1.0.0", Enabled: &disabled, MaxParallelism: 1,
		Authorization:      &ado.AgentAuthorization{PublicKey: ado.PublicKeyOf(key)},
		SystemCapabilities: map[string]string{"old": "kept"},
	})
	if err != nil {
		t.Fatal(err)
	}
	after := make(chan ado.TaskAgent, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	a := newAgent(t, config(t, srv), records(succeed), func(d *agent.Deps) {
		d.Capabilities = map[string]string{"docker": "/built-in", "token": "xyzzy"}
		d.Mask = func(s string) string { return strings.ReplaceAll(s, "xyzzy", "***") }
		d.Health.Ready = func(open bool) {
			if open {
				found, err := admin.FindAgent(t.Context(), pool.ID, "build-01")
				if err != nil {
					t.Error(err)
				}
				after <- found
				cancel(errors.New("enough"))
			}
		}
	})
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
	got := <-after
	if got.ID != before.ID || got.Version != agent.Version || got.Enabled == nil || *got.Enabled {
		t.Errorf("agent = %+v, want id %d, version %s, still disabled", got, before.ID, agent.Version)
	}
	for name, want := range map[string]string{"docker": "/built-in", "token": "***", "Agent.OS": "Linux", "Agent.Version": agent.Version, "Agent.Name": "build-01"} {
		if got.SystemCapabilities[name] != want {
			t.Errorf("capability %s = %q, want %q", name, got.SystemCapabilities[name], want)
		}
	}
}

// The time from nothing to an open session, with a key from an earlier start,
// as the bench of the idle agent sees it without the start of the process.
func TestStartingTakesFewRequests(t *testing.T) {
	srv := emulatortest.New(t)
	c := config(t, srv)
	var took time.Duration
	for range 2 {
		started := time.Now()
		ctx, cancel := context.WithCancelCause(t.Context())
		a := newAgent(t, c, records(succeed), func(d *agent.Deps) {
			d.Health.Ready = func(open bool) {
				if open {
					took = time.Since(started)
					cancel(errors.New("enough"))
				}
			}
		})
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("from New to an open session: %s", took)
}
