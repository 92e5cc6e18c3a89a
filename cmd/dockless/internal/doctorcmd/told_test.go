package doctorcmd

import (
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console/consoletest"
	"github.com/dockless-ci/dockless/internal/doctor"
)

func TestEveryAnswerIsOneLineThatIsOnlyShown(t *testing.T) {
	for _, status := range []doctor.Status{doctor.OK, doctor.Warn, doctor.Fail, doctor.Skip} {
		r := told([]doctor.Result{{Status: status, Name: consoletest.Hostile, Detail: consoletest.Hostile, Hint: "wait\n" + consoletest.Hostile}})[0]
		if all := r.Name + r.Detail + r.Hint; len(consoletest.Obeyed(all)) > 0 || strings.Count(all, "\n") != 2 {
			t.Errorf("%s: a terminal obeys %q in %q", status, consoletest.Obeyed(all), all)
		}
	}
}
