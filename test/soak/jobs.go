package soak

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
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
	task bool // it has a step with a task that is downloaded
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

// soakTask is downloaded. Each job that has it asks for a version of its own, so
// that each of them meets the faults; none is there already.
var soakTask = job.TaskReference{ID: "50a50a50-50a5-450a-850a-50a50a50a50a", Name: "Soak", Version: "1.0.0"}

// taskText is a step of that task, in a version that follows.
const taskText = `
- task: Soak@%[2]s
  name: task
  inputs:
    word: %[1]s
`

// taskLine is what the task prints after the word of its job.
const taskLine = " task done"

// offerTask makes the server hand out a version of the task.
func (f *fleet) offerTask(patch int) (version string, err error) {
	version = fmt.Sprintf("1.0.%d", patch)
	files := [][2]string{
		{"task.json", fmt.Sprintf(`{"id": %q, "name": %q, "version": {"Major": 1, "Minor": 0, "Patch": %d}, "inputs": [{"name": "word", "type": "string"}],
			"execution": {"Node16": {"target": "main.js"}}}`, soakTask.ID, soakTask.Name, patch)},
		{"main.js", `console.log(process.env.INPUT_WORD + "` + taskLine + `");`},
	}
	var body bytes.Buffer
	z := zip.NewWriter(&body)
	for _, file := range files {
		w, err := z.Create(file[0])
		if err == nil {
			_, err = io.WriteString(w, file[1])
		}
		if err != nil {
			return "", err
		}
	}
	if err := z.Close(); err != nil {
		return "", err
	}
	f.srv.OfferTask(soakTask.ID, version, body.Bytes())
	return version, nil
}

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
		hasTask := i%taskEvery == 1 // none of those with a container, which have enough to do
		if hasTask {
			version, err := f.offerTask(i)
			if err != nil {
				return nil, err
			}
			text += fmt.Sprintf(taskText, word, version)
		}
		if f.podman != nil && i%serviceEvery == 0 {
			text += serviceText
		}
		run, err := f.srv.QueuePipeline(ctx, []byte(text), emulator.Pipeline{Tasks: []job.TaskReference{soakTask}})
		if err != nil {
			return nil, err
		}
		all = append(all, queuedJob{id: run.Jobs[0].ID, word: word, task: hasTask})
	}
	return all, nil
}

// newJobs returns the function that runs the jobs of one agent.
func newJobs(f *fleet, name, dir string) (agent.JobFunc, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	cfg := runner.Config{
		Work: filepath.Join(dir, "work"), NativeTasks: "on", AgentName: name, AgentVersion: agent.Version, MachineName: name,
		Environment: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"}, Podman: f.podman,
		Node: "node", Nodes: &runner.NodeVersions{},
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return func(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
		f.mu.Lock()
		f.ran[m.JobID]++
		f.mu.Unlock()
		cfg := cfg
		if c.Tasks != nil {
			cfg.Tasks = c.Tasks
		}
		r, err := runner.New(cfg, f.o.Log)
		if err != nil {
			return "", err
		}
		outcome, err := r.Run(ctx, m, c.Reporter)
		return outcome.Result, err
	}, nil
}
