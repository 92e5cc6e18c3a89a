package integration_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/test/rig"
)

func TestTheManifestsRenderAndAreValid(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	rendered := render(t, root, "base")
	for _, want := range []string{"kind: StatefulSet", "kind: NetworkPolicy", "dockless-probe", "buildkit-client-certs"} {
		if !bytes.Contains(rendered, []byte(want)) {
			t.Errorf("the rendered manifests lack %q", want)
		}
	}
	// One port, in the setting, for both kinds of scrapers, and through the policy.
	for _, want := range []string{"value: :9464", "containerPort: 9464\n          name: metrics", "prometheus.io/port: \"9464\"", "- port: 9464"} {
		if !bytes.Contains(rendered, []byte(want)) {
			t.Errorf("the rendered manifests lack %q", want)
		}
	}
	conform := conformer(t, root)
	if out, err := conform(rendered); err != nil || !strings.Contains(out, "Invalid: 0, Errors: 0, Skipped: 0") {
		t.Errorf("kubeconform: %v:\n%s", err, out)
	}
	// The check itself is checked: it must see a misspelt field.
	wrong := bytes.Replace(rendered, []byte("readOnlyRootFilesystem"), []byte("readonlyRootFilesystem"), 1)
	if out, err := conform(wrong); err == nil {
		t.Errorf("kubeconform accepts a misspelt field:\n%s", out)
	}
}

// render builds a folder of deploy/.
func render(t *testing.T, root, folder string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), rig.NeedBin(t, "kustomize"), "build", filepath.Join(root, "deploy", folder))
	var problems bytes.Buffer
	cmd.Stderr = &problems
	rendered, err := cmd.Output()
	if err != nil {
		t.Fatalf("kustomize build %s: %v\n%s", folder, err, &problems)
	}
	return rendered
}

// conformer returns a check of manifests against the API of Kubernetes.
func conformer(t *testing.T, root string) func(manifests []byte) (string, error) {
	t.Helper()
	schemas := kubernetesSchemas(t, root)
	return func(manifests []byte) (string, error) {
		cmd := exec.CommandContext(t.Context(), rig.NeedBin(t, "kubeconform"), "-strict", "-summary", "-schema-location", schemas)
		cmd.Stdin = bytes.NewReader(manifests)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
}

// kubernetesSchemas turns the API description of the Kubernetes release that
// tools/kubernetes pins into one JSON schema for each kind, and returns their
// location as kubeconform takes it.
func kubernetesSchemas(t *testing.T, root string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "k8s.io/kubernetes")
	cmd.Dir = filepath.Join(root, "tools", "kubernetes")
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("finding the Kubernetes API description: %v; hack/setup.sh deploy fetches it", err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(module.Dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		t.Fatal(err)
	}
	var api struct{ Definitions map[string]map[string]any }
	if err := json.Unmarshal(content, &api); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range api.Definitions {
		strict(d)
	}
	for name, d := range api.Definitions {
		kinds, ok := d["x-kubernetes-group-version-kind"].([]any)
		if !ok || len(kinds) != 1 {
			continue // a part, or something that every group has
		}
		k := kinds[0].(map[string]any)
		file := strings.ToLower(k["kind"].(string))
		if group, _, _ := strings.Cut(k["group"].(string), "."); group != "" {
			file += "-" + group
		}
		file += "-" + k["version"].(string) + ".json"
		schema, err := json.Marshal(map[string]any{"$ref": "#/definitions/" + name, "definitions": api.Definitions})
		if err != nil {
			t.Fatal(err)
		}
		switch k["kind"] {
		case "StatefulSet", "Service", "ConfigMap", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Secret", "ServiceAccount", "Deployment", "Job", "CronJob":
			if err := os.WriteFile(filepath.Join(dir, file), schema, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	return filepath.Join(dir, "{{ .ResourceKind }}{{ .KindSuffix }}.json")
}

// strict forbids members that a definition does not name, and writes the API's
// "int-or-string" and quantities as JSON schema does.
func strict(d map[string]any) {
	if d["properties"] != nil && d["additionalProperties"] == nil {
		d["additionalProperties"] = false
	}
	if d["format"] == "int-or-string" || strings.Contains(asText(d["description"]), "Quantity is a fixed-point representation") {
		delete(d, "format")
		d["type"] = []string{"string", "integer", "number"}
	}
}

func asText(v any) string {
	s, _ := v.(string)
	return s
}
