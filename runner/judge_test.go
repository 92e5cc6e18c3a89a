package runner

import (
	"errors"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

// The kernel's count goes with the group, which the job may remove.
func TestACountOfKillsThatFellIsNoLackOfMemory(t *testing.T) {
	a, _ := staged(t.Context())
	err := a.judge(program{path: "/bin/dd"}, &process.ExitError{Code: killed, Signaled: true}, 3)
	memory, ok := errors.AsType[*memoryError](err)
	if !ok || memory.kills != 0 || len(memory.victims) != 0 {
		t.Errorf("judge = %+v, want no kill", err)
	}
	a.node.complete(job.Failed, "")
}
