package testresults_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// formatOf tells the format of a file of testdata. Node's and gotestsum's were
// written by those tools; the others follow the documentation of their formats.
func formatOf(file string) testresults.Format {
	for prefix, f := range map[string]testresults.Format{
		"junit": testresults.JUnit, "nunit": testresults.NUnit, "xunit": testresults.XUnit, "mstest": testresults.VSTest, "ctest": testresults.CTest,
	} {
		if strings.HasPrefix(filepath.Base(file), prefix) {
			return f
		}
	}
	return ""
}

// samples are the results files of testdata.
func samples(t testing.TB) []string {
	t.Helper()
	xml, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(xml) < 8 {
		t.Fatalf("testdata has %q (%v)", xml, err)
	}
	return append(xml, "testdata/mstest.trx")
}

func TestFilesOfEveryToolAreUnderstood(t *testing.T) {
	for _, file := range samples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close() //nolint:errcheck // read only
			var got strings.Builder
			run, err := testresults.Read(f, file, formatOf(file), nil, func(c testresults.Case) error {
				show(&got, "", c)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&got, "run %q from %s to %s, %s: %s\n", run.Name, stamp(run.Started), stamp(run.Completed), run.Duration, run.Totals)
			for _, name := range run.Attachments {
				fmt.Fprintf(&got, "  file %s\n", name)
			}
			golden := file + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return "?"
	}
	return t.Format("2006-01-02T15:04:05.999Z07:00")
}

func show(b *strings.Builder, indent string, c testresults.Case) {
	fmt.Fprintf(b, "%s%s %q = %q in %q, %s, at %s for %s on %q\n", indent, c.Outcome, c.Title, c.Name, c.Storage, c.Type, stamp(c.Started), c.Duration, c.Computer)
	for _, text := range []struct{ what, text string }{{"message", c.Message}, {"stack", c.Stack}, {"out", c.Output}, {"err", c.ErrorOutput}} {
		if text.text != "" {
			fmt.Fprintf(b, "%s  %s %q\n", indent, text.what, text.text)
		}
	}
	for _, name := range c.Attachments {
		fmt.Fprintf(b, "%s  file %s\n", indent, name)
	}
	for _, part := range c.Parts {
		show(b, indent+"  part ", part)
	}
}
