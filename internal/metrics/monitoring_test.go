package metrics_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/metrics"
)

const deployed = "../../deploy/monitoring"

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
	for file, least := range map[string]int{"prometheusrule.yaml": 8, "standing/prometheusrule.yaml": 1, "dashboard.json": 8} {
		text, err := os.ReadFile(filepath.Join(deployed, file))
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bdockless_[a-z_]+`).FindAllString(string(text), -1)
		if len(names) < least {
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

func TestWhatIsUsualRaisesNoAlert(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deployed, "prometheusrule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// BuildKit makes a cache smaller once it is above its ceiling, and only just.
	above := regexp.MustCompile(`disk_used_bytes / dockless_builder_disk_ceiling_bytes\) > ([0-9.]+)`).FindStringSubmatch(string(text))
	if above == nil || above[1] != "1.05" { // cacheRoom in cmd/dockless/internal/doctorcmd
		t.Errorf("the alert for a cache's size is %q, want it to begin where doctor warns, at 1.05", above)
	}
	// Agents that exist only while there are jobs show nothing when there are none.
	if strings.Contains(string(text), "absent") {
		t.Error("having no agents raises an alert also where agents come and go; that belongs into standing/")
	}
}
