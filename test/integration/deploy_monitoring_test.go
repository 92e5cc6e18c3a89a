package integration_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dockless-ci/dockless/test/rig"
)

// The operator's own kinds have no schema here: their names are checked against what
// they have to match, and the rules by Prometheus' own code below.
func TestMonitoringJoinsAnOverlay(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	deploy, err := filepath.Rel(realPath(t, t.TempDir()), filepath.Join(realPath(t, root), "deploy"))
	if err != nil {
		t.Fatal(err)
	}
	overlay := writeTree(t, map[string]string{"kustomization.yaml": "resources: [" + deploy + "/base]\ncomponents: [" + deploy + "/monitoring, " + deploy + "/monitoring/standing]\nnamespace: ci\n"})
	out, err := exec.CommandContext(t.Context(), rig.NeedBin(t, "kustomize"), "build", overlay).Output()
	if err != nil {
		t.Fatalf("kustomize build: %v\n%s", err, out)
	}
	all := objects(t, out)
	dashboard := named(t, all, "ConfigMap", "dockless-dashboard")
	want, err := os.ReadFile(filepath.Join(root, "deploy", "monitoring", "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if dashboard.at("data", "dockless.json") != string(want) || dashboard.at("metadata", "labels", "grafana_dashboard") != "1" {
		t.Errorf("the ConfigMap is not the dashboard that Grafana looks for: %v", dashboard["metadata"])
	}
	text, err := yaml.Marshal(dashboard)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := conformer(t, root)(text); err != nil {
		t.Errorf("kubeconform: %v:\n%s", err, out)
	}
	named(t, all, "PrometheusRule", "dockless-standing")
	monitor, rule, agents := named(t, all, "PodMonitor", "dockless-agents"), named(t, all, "PrometheusRule", "dockless"), named(t, all, "StatefulSet", "agent")
	if monitor.at("metadata", "namespace") != "ci" || rule.at("metadata", "namespace") != "ci" {
		t.Error("the operator's objects are not in the overlay's namespace")
	}
	labels, _ := agents.at("spec", "template", "metadata", "labels").(map[string]any)
	selected, _ := monitor.at("spec", "selector", "matchLabels").(map[string]any)
	for name, value := range selected {
		if !reflect.DeepEqual(labels[name], value) {
			t.Errorf("the PodMonitor asks for %s=%v, the agents have %v", name, value, labels[name])
		}
	}
	if !bytes.Contains(out, []byte("name: metrics")) || len(selected) == 0 {
		t.Error("the PodMonitor finds no port")
	}
}

// realPath follows links, which kustomize does to tell folders apart.
func realPath(t *testing.T, path string) string {
	t.Helper()
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

func TestPrometheusTakesTheAlertsAndTheDashboard(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	check := func(folder string) (string, error) {
		cmd := exec.CommandContext(t.Context(), rig.NeedBin(t, "promql.test"), "-test.v")
		cmd.Dir = folder
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := check(root); err != nil {
		t.Errorf("in the repository: %v:\n%s", err, out)
	}
	// The check itself is checked: it must see each of these.
	files := make(map[string]string)
	for _, name := range []string{"docs/metrics.md", "deploy/monitoring/prometheusrule.yaml", "deploy/monitoring/standing/prometheusrule.yaml", "deploy/monitoring/dashboard.json"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(text)
	}
	for what, change := range map[string][3]string{
		"there is no dockless_agent_mood":          {"deploy/monitoring/prometheusrule.yaml", "dockless_agent_state", "dockless_agent_mood"},
		`dockless_agent_state has no state "away"`: {"deploy/monitoring/prometheusrule.yaml", `state="offline"`, `state="away"`},
		"unexpected end of input":                  {"deploy/monitoring/prometheusrule.yaml", "== 1", "=="},
		"unexpected \"}\" in operand":              {"deploy/monitoring/prometheusrule.yaml", "$labels.instance }}", "$labels.instance }"},
		"which is asked for over a range: false":   {"deploy/monitoring/dashboard.json", `rate(dockless_jobs_total{job=~\"$job\"}[$__rate_interval])`, `(dockless_jobs_total{job=~\"$job\"})`},
		"no panel shows dockless_job_wait_seconds": {"deploy/monitoring/dashboard.json", "dockless_job_wait_seconds", "dockless_job_duration_seconds"},
	} {
		name, old, damage := change[0], change[1], change[2]
		if !strings.Contains(files[name], old) {
			t.Errorf("%s lacks %s", name, old)
			continue
		}
		damaged := maps.Clone(files)
		damaged[name] = strings.ReplaceAll(files[name], old, damage)
		if out, err := check(writeTree(t, damaged)); err == nil || !strings.Contains(out, what) {
			t.Errorf("%s in the place of %s: %v, want %q:\n%s", damage, old, err, what, out)
		}
	}
}
