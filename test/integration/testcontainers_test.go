package integration_test

import (
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// The tests that run in the job are in tools/testcontainers.
func TestATestWithTestcontainersPassesInAScript(t *testing.T) {
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	startAgent(t, s, stage.AgentOptions{Name: "tc"})
	r := outcomeOf(t, s, bashSteps([2]string{"Test", rig.NeedBin(t, "testcontainers.test") + " -test.v -test.timeout 4m"}))
	log := logOf(t, r, "Test")
	for _, want := range []string{"--- PASS: TestRedisAnswersOnItsMappedPort", "--- PASS: TestAFileIsCopiedIntoAContainerThatAnswersOverHTTP"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if left := owned(t, s, "tc"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
