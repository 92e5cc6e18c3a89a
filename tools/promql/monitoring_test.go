// Package promql holds what Prometheus itself says of deploy/monitoring: its own
// parser reads every expression of the alerts and of the dashboard. The test is built
// as a program, and runs in the root of the repository.
package promql

import (
	"encoding/json"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

const folder = "deploy/monitoring/"

// metric is a row of docs/metrics.md, which is made from the code.
type metric struct {
	kind, label string
	values      []string // all that the label can have; nil: any
}

func metrics(t *testing.T) map[string]metric {
	t.Helper()
	page := read(t, "docs/metrics.md")
	all := make(map[string]metric)
	for _, row := range regexp.MustCompile("(?m)^\\| `(dockless_[a-z_]+)` \\| ([a-z]+) \\| (?:`([a-z]+)`)?(?:: ([A-Za-z, ]+))? \\|").FindAllStringSubmatch(string(page), -1) {
		m := metric{kind: row[2], label: row[3]}
		if row[4] != "" {
			m.values = strings.Split(row[4], ", ")
		}
		all[row[1]] = m
	}
	if len(all) < 10 {
		t.Fatalf("docs/metrics.md has %d metrics", len(all))
	}
	return all
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// series are the names under which Prometheus stores a metric.
func (m metric) series(name string) []string {
	if m.kind == "histogram" {
		return []string{name + "_bucket", name + "_sum", name + "_count"}
	}
	return []string{name}
}

// check parses an expression and says what is wrong with its selectors.
func check(t *testing.T, where, text string, known map[string]metric) {
	t.Helper()
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		t.Errorf("%s: %v in %s", where, err, text)
		return
	}
	selectors := 0
	parser.Inspect(expression, func(n parser.Node, path []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		selectors++
		if strings.HasPrefix(s.Name, "process_") || strings.HasPrefix(s.Name, "go_") {
			return nil // of the client library
		}
		m, found := metric{}, false
		for name, candidate := range known {
			if slices.Contains(candidate.series(name), s.Name) {
				m, found = candidate, true
			}
		}
		if !found {
			t.Errorf("%s: there is no %s", where, s.Name)
			return nil
		}
		for _, matcher := range s.LabelMatchers {
			switch {
			case matcher.Name == model.MetricNameLabel || matcher.Name == "job":
			case matcher.Name != m.label:
				t.Errorf("%s: %s has no label %s", where, s.Name, matcher.Name)
			case m.values != nil && matcher.Type == labels.MatchEqual && !slices.Contains(m.values, matcher.Value):
				t.Errorf("%s: %s has no %s %q", where, s.Name, matcher.Name, matcher.Value)
			}
		}
		// A counter says something by its rate only.
		_, ranged := path[len(path)-1].(*parser.MatrixSelector)
		if counts := m.kind != "gauge"; counts != ranged {
			t.Errorf("%s: %s is a %s, which is asked for over a range: %t", where, s.Name, m.kind, ranged)
		}
		return nil
	})
	if selectors == 0 {
		t.Errorf("%s: %s asks for nothing", where, text)
	}
}

func TestTheAlertsAreRulesOfPrometheus(t *testing.T) {
	known, rules := metrics(t), 0
	for _, file := range []string{"prometheusrule.yaml", "standing/prometheusrule.yaml"} {
		for _, g := range groups(t, folder+file) {
			for _, r := range g.Rules {
				rules++
				check(t, r.Alert, r.Expr, known)
				if !strings.HasPrefix(r.Alert, "Dockless") || r.For == 0 || !slices.Contains([]string{"info", "warning", "critical"}, r.Labels["severity"]) {
					t.Errorf("%s: for %s, labels %v", r.Alert, r.For, r.Labels)
				}
				for _, annotation := range []string{"summary", "description"} {
					if !strings.HasSuffix(r.Annotations[annotation], ".") {
						t.Errorf("%s: its %s is no sentence: %q", r.Alert, annotation, r.Annotations[annotation])
					}
				}
			}
		}
	}
	if rules < 5 {
		t.Errorf("there are %d alerts", rules)
	}
}

// groups are those of a PrometheusRule.
func groups(t *testing.T, path string) []rulefmt.RuleGroup {
	t.Helper()
	var manifest struct {
		Spec yaml.Node `yaml:"spec"`
	}
	if err := yaml.Unmarshal(read(t, path), &manifest); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(&manifest.Spec)
	if err != nil {
		t.Fatal(err)
	}
	// This checks names, durations, expressions, and the templates of annotations.
	parsed, problems := rulefmt.Parse(text, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, p := range problems {
		t.Error(p)
	}
	if parsed == nil {
		t.FailNow()
	}
	return parsed.Groups
}

func TestTheDashboardAsksForMetricsThatThereAre(t *testing.T) {
	var dashboard struct {
		Panels []struct {
			Title   string
			Type    string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr string }
		}
		Templating struct{ List []struct{ Name string } }
	}
	if err := json.Unmarshal(read(t, folder+"dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	known := metrics(t)
	var asked strings.Builder
	taken := make(map[[2]int]string)
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other := taken[at]; other != "" || at[0] >= 24 {
					t.Fatalf("panels %q and %q lie over each other at %v", p.Title, other, at)
				}
				taken[at] = p.Title
			}
		}
		for _, target := range p.Targets {
			text := strings.NewReplacer("$__rate_interval", "5m", "$job", ".*").Replace(target.Expr)
			if strings.Contains(text, "$") {
				t.Errorf("panel %q has a variable that Grafana does not know: %s", p.Title, target.Expr)
			}
			asked.WriteString(text)
			check(t, p.Title, text, known)
		}
	}
	for name := range known {
		if !strings.Contains(asked.String(), name) {
			t.Errorf("no panel shows %s", name)
		}
	}
}
