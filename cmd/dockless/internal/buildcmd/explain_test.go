package buildcmd

import (
	"bytes"
	"testing"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/internal/explain"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

func TestReasonsArePrintedInTheFormThatIsAskedFor(t *testing.T) {
	r := &imagebuild.Result{Reasons: []explain.Reason{{Step: "[2/2] COPY . .", Kind: explain.FilesChanged, Text: "files changed: ~ a", Files: []string{"~ a"}}}}
	for form, want := range map[string]struct{ out, err string }{
		"":     {},
		"text": {err: "why 1 step ran:\n  [2/2] COPY . .: files changed: ~ a\n"},
		"json": {out: `[{"step":"[2/2] COPY . .","kind":"files-changed","text":"files changed: ~ a","files":["~ a"]}]` + "\n"},
	} {
		var out, errOut bytes.Buffer
		cmd := &cobra.Command{}
		cmd.SetOut(&out)
		cmd.SetErr(&errOut)
		if err := printReasons(cmd, form, r); err != nil || out.String() != want.out || errOut.String() != want.err {
			t.Errorf("--explain=%s wrote %q and %q, %v, want %q and %q", form, out.String(), errOut.String(), err, want.out, want.err)
		}
	}
	if err := printReasons(&cobra.Command{}, "xml", r); err == nil {
		t.Error("--explain=xml is taken")
	}
}
