package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"os"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// An agent takes one job from a server, runs it with a function, and leaves.
func Example() {
	if err := example(); err != nil {
		fmt.Println("error:", err)
	}
	// Output:
	// running "Job" as build-01
	// the server knows the job as succeeded
}

func example() (err error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), 30*time.Second, errors.New("the example hangs"))
	defer cancel()
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	settings := emulator.Defaults()
	settings.PAT = mask.NewSecret("pat")
	server, err := emulator.New(settings, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	web := httptest.NewServer(server)
	defer web.Close()
	queued, err := server.Queue(emulatortest.Script(), emulator.Requirements{})
	if err != nil {
		return err
	}

	a, err := agent.New(agent.Config{
		URL: web.URL, Token: settings.PAT, Pool: "Default", Name: "build-01", Auth: "pat", StateDir: dir, Once: true,
	}, func(_ context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
		fmt.Printf("running %q as %s\n", m.JobDisplayName, c.AgentName)
		c.Reporter.WriteLine(m.JobID.Record(), []byte("hello"))
		c.Reporter.UpdateRecord(job.Record{ID: m.JobID.Record(), State: job.Completed, Result: job.Succeeded})
		return job.Succeeded, nil
	}, agent.Deps{Log: slog.New(slog.DiscardHandler), Product: "dockless/example"})
	if err != nil {
		return err
	}
	if err := a.Run(ctx); err != nil {
		return err
	}
	status, err := server.Job(queued.Jobs[0].ID)
	fmt.Println("the server knows the job as", status.Result)
	return err
}
