package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// queuedJob is a job and the word that begins each of its lines.
type queuedJob struct {
	id   job.ID
	word string
}

// steps of a job print their lines; an output variable passes between them.
const pipelineText = `
steps:
- checkout: none
- bash: |
    for i in $(seq 1 %[2]d); do echo "%[1]s one $i of %[2]d"; done
    echo "##vso[task.setvariable variable=word;isOutput=true]%[1]s"
  name: one
- bash: |
    for i in $(seq 1 %[2]d); do echo "$(one.word) two $i of %[2]d"; done
  name: two
`

// serviceText puts a container beside the job.
const serviceText = `
resources:
  containers:
  - container: box
    image: redis
services:
  box: box
`

// queue queues the jobs; they wait for the agents.
func (f *fleet) queue(ctx context.Context) ([]queuedJob, error) {
	var all []queuedJob
	for i := range f.o.Jobs {
		word := fmt.Sprintf("job-%04d", i+1)
		text := fmt.Sprintf(pipelineText, word, f.o.Lines)
		if f.podman != nil && i%serviceEvery == 0 {
			text += serviceText
		}
		run, err := f.srv.QueuePipeline(ctx, []byte(text), emulator.Pipeline{})
		if err != nil {
			return nil, err
		}
		all = append(all, queuedJob{id: run.Jobs[0].ID, word: word})
	}
	return all, nil
}

// newJobs returns the function that runs the jobs of one agent.
func newJobs(f *fleet, name, dir string) (agent.JobFunc, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r, err := runner.New(runner.Config{
		Work: filepath.Join(dir, "work"), NativeTasks: "on", AgentName: name, AgentVersion: agent.Version, MachineName: name,
		Environment: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}, Podman: f.podman,
	}, f.o.Log)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
		f.mu.Lock()
		f.ran[m.JobID]++
		f.mu.Unlock()
		outcome, err := r.Run(ctx, m, c.Reporter)
		return outcome.Result, err
	}, nil
}
