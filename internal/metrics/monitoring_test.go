package metrics_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/metrics"
)

// TestTheAlertsAndTheDashboardNameMetricsThatThereAre is quick, and reads names only:
// an alert that names a metric which is not there never fires. tools/promql has
// Prometheus' own parser read the expressions.
func TestTheAlertsAndTheDashboardNameMetricsThatThereAre(t *testing.T) {
	there := make(map[string]bool)
	for _, d := range metrics.Described() {
		name := "dockless_" + d.Name
		there[name] = true
		if d.Kind == metrics.Histogram {
			there[name+"_bucket"], there[name+"_sum"], there[name+"_count"] = true, true, true
		}
	}
	folder := filepath.Join("..", "..", "deploy", "monitoring")
	for _, file := range []string{"prometheusrule.yaml", "dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bdockless_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) < 8 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			if !there[name] {
				t.Errorf("%s names %s, which there is not", file, name)
			}
		}
		for _, open := range []string{"()", "[]", "{}"} {
			if a, b := strings.Count(string(text), open[:1]), strings.Count(string(text), open[1:]); a != b {
				t.Errorf("%s has %d of %s and %d of %s", file, a, open[:1], b, open[1:])
			}
		}
	}
}
