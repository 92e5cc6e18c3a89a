package emulator

import (
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// SetTimeout changes how long a job may run; a pipeline says it in minutes.
func (s *Server) SetTimeout(id job.ID, timeout time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.jobs[id].timeout = timeout
}
