package runner_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// printer shows the lines and issues of a job on the standard output.
type printer struct{}

func (printer) UpdateRecord(r job.Record) {
	if r.State == job.Completed {
		fmt.Printf("%s: %s\n", r.Name, r.Result)
	}
}

func (printer) WriteLine(_ job.RecordID, line []byte) {
	if text := string(line); strings.HasPrefix(text, "The password") {
		fmt.Println(text)
	}
}

func (printer) Attach(context.Context, job.RecordID, job.Attachment) {}

func (printer) Waits() bool { return false } // for no server

func ExampleRunner_Run() {
	work, err := os.MkdirTemp("", "work")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary directory

	r, err := runner.New(runner.Config{
		Work: filepath.Join(work, "_work"), NativeTasks: "on", AgentName: "laptop", Environment: os.Environ(),
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Println(err)
		return
	}
	m := &job.Message{
		JobID: "9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e10", JobName: "build", JobDisplayName: "Build",
		Variables: map[string]job.Variable{"password": {Value: "hunter2", IsSecret: true}},
		Steps: []job.Step{{
			ID: job.NewRecordID(), Name: "hello", DisplayName: "Say hello",
			Reference: job.TaskReference{ID: "d9bafed4-0b18-4f58-968d-86655b4d2ce9", Name: "CmdLine", Version: "2.0.0"},
			Inputs:    map[string]string{"script": `echo "The password is $(password)"; echo "##vso[task.setvariable variable=greeting;isOutput=true]hi"`},
		}},
	}
	out, err := r.Run(context.Background(), m, printer{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(out.Result, out.Outputs)
	// Output:
	// Initialize job: succeeded
	// The password is ***
	// Say hello: succeeded
	// Finalize Job: succeeded
	// Build: succeeded
	// succeeded map[hello.greeting:hi]
}
