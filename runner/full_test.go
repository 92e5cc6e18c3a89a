package runner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestSecretsThatTakeTooMuchMemoryAreToldOnce(t *testing.T) {
	a, kept := staged(t.Context())
	// They begin alike, so that hiding them takes the memory of one.
	same := strings.Repeat("0123456789abcdef", 16<<10)
	for i := range 10 {
		a.addSecret(same + fmt.Sprint(i))
	}
	a.addSecret("hunter22-of-this-test")
	a.node.mu.Lock()
	a.node.console.print("<hunter22-of-this-test> <" + same + "9>")
	a.node.mu.Unlock()
	a.node.complete(job.Succeeded, "")
	issues := a.node.record.Issues
	if len(issues) != 1 || issues[0].Type != job.Warning || !strings.Contains(issues[0].Message, "is hidden as it is and line by line only") {
		t.Errorf("issues %+v, want one warning", issues)
	}
	if got := kept.lines[len(kept.lines)-1]; got != "<***> <***>" {
		t.Errorf("secrets beyond the bound are shown: %.80q", got)
	}
}
