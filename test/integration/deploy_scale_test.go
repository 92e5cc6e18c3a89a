package integration_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dockless-ci/dockless/test/rig"
)

// manifest is one object of what kustomize renders.
type manifest map[string]any

func (m manifest) at(path ...string) any {
	var value any = map[string]any(m)
	for _, name := range path {
		members, _ := value.(map[string]any)
		value = members[name]
	}
	return value
}

// objects are the objects of a rendered folder.
func objects(t *testing.T, rendered []byte) []manifest {
	t.Helper()
	var all []manifest
	for decoder := yaml.NewDecoder(bytes.NewReader(rendered)); ; {
		var m manifest
		err := decoder.Decode(&m)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

func named(t *testing.T, all []manifest, kind, name string) manifest {
	t.Helper()
	for _, m := range all {
		if m["kind"] == kind && m.at("metadata", "name") == name {
			return m
		}
	}
	t.Fatalf("there is no %s %s", kind, name)
	return nil
}

// KEDA's own kinds have no schema here: the Job inside is checked as a Job, and
// its names against what they have to match.
func TestScalingFromZeroRendersAndIsValid(t *testing.T) {
	t.Parallel()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	all := objects(t, render(t, root, "scale-from-zero"))
	scaled := named(t, all, "ScaledJob", "agent")
	template := named(t, all, "StatefulSet", "agent")
	placeholder := named(t, all, "Job", "placeholder")
	reap := named(t, all, "CronJob", "reap")

	wantAnnotationsOfFieldRefs(t, template.at("spec", "template"))
	wantAnnotationsOfFieldRefs(t, scaled.at("spec", "jobTargetRef", "template"))

	var known bytes.Buffer
	for _, m := range all {
		switch m["kind"] {
		case "TriggerAuthentication":
			continue
		case "ScaledJob":
			m = manifest{"apiVersion": "batch/v1", "kind": "Job", "metadata": m["metadata"], "spec": m.at("spec", "jobTargetRef")}
		}
		text, err := yaml.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		known.WriteString("---\n")
		known.Write(text)
	}
	if out, err := conformer(t, root)(known.Bytes()); err != nil || !strings.Contains(out, "Invalid: 0, Errors: 0, Skipped: 0") {
		t.Errorf("kubeconform: %v:\n%s", err, out)
	}

	if replicas := template.at("spec", "replicas"); !reflect.DeepEqual(replicas, uint64(0)) {
		t.Errorf("replicas of the StatefulSet = %v (%T), want 0", replicas, replicas)
	}
	pod := scaled.at("spec", "jobTargetRef", "template", "spec")
	for _, part := range []string{"containers", "initContainers", "volumes", "securityContext", "terminationGracePeriodSeconds"} {
		got, want := manifest(pod.(map[string]any))[part], template.at("spec", "template", "spec", part)
		if want == nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s of the ScaledJob = %v, want those of the StatefulSet, digests of ConfigMaps included:\n%v", part, got, want)
		}
	}
	trigger := scaled.at("spec", "triggers").([]any)[0].(map[string]any)
	environment := placeholder.at("spec", "template", "spec", "containers").([]any)[0].(map[string]any)["env"].([]any)
	if parent := manifest(trigger).at("metadata", "parent"); !reflect.DeepEqual(environment[0], map[string]any{"name": "AZP_AGENT_NAME", "value": parent}) {
		t.Errorf("the placeholder is called %v, want KEDA's parent %v", environment[0], parent)
	}
	for name, m := range map[string]any{"placeholder": placeholder.at("spec", "template", "spec"), "reap": reap.at("spec", "jobTemplate", "spec", "template", "spec")} {
		spec := manifest(m.(map[string]any))
		container := manifest(spec["containers"].([]any)[0].(map[string]any))
		if spec["automountServiceAccountToken"] != false || spec.at("securityContext", "runAsNonRoot") != true ||
			container.at("securityContext", "readOnlyRootFilesystem") != true || container.at("securityContext", "allowPrivilegeEscalation") != false {
			t.Errorf("%s has more than it needs:\n%v", name, spec)
		}
	}
}

// wantAnnotationsOfFieldRefs checks that every annotation of which a pod template
// makes a variable is there: a missing one is an empty variable.
func wantAnnotationsOfFieldRefs(t *testing.T, template any) {
	t.Helper()
	text, err := yaml.Marshal(template)
	if err != nil {
		t.Fatal(err)
	}
	pod, _ := template.(map[string]any)
	annotations, _ := manifest(pod).at("metadata", "annotations").(map[string]any)
	found := regexp.MustCompile(`metadata\.annotations\['([^']+)'\]`).FindAllStringSubmatch(string(text), -1)
	if len(found) == 0 {
		t.Error("the template makes no variable of an annotation, want the grace period's")
	}
	for _, m := range found {
		if _, ok := annotations[m[1]]; !ok {
			t.Errorf("a variable is made of the annotation %s, which the template lacks: %v", m[1], annotations)
		}
	}
}
