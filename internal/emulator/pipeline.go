package emulator

import (
	"context"
	"errors"
)

// Pipeline says how a pipeline is queued.
type Pipeline struct {
	Pool       string            // of jobs that name none; empty: the first pool
	Repo       string            // directory of a git repository that becomes "self"; empty: none
	File       string            // name of the file in messages about it
	Parameters map[string]string // values of the pipeline's parameters
}

// QueuePipeline compiles a pipeline and queues its jobs.
func (s *Server) QueuePipeline(_ context.Context, _ []byte, _ Pipeline) (Run, error) {
	return Run{}, errors.New("pipelines cannot be compiled yet")
}
