package runner

import (
	"slices"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/mounts"
)

func TestAStepRunsInItsTargetOrWhereItsJobDoes(t *testing.T) {
	disabled := false
	m := &job.Message{Resources: job.Resources{Containers: []job.Container{{Alias: "Tools"}, {Alias: "box"}}}}
	for target, want := range map[string][2]string{ // with the job on the host, and in box
		"":        {"", "box"},
		"host":    {"", ""},
		"HOST":    {"", ""},
		"tools":   {"Tools", "Tools"},
		"unknown": {"", "box"},
	} {
		for i, where := range []string{"", "BOX"} {
			m.JobContainer = where
			x := &execution{m: m}
			if got := x.targetOf(job.Step{Target: &job.StepTarget{Target: target}}); got != want[i] {
				t.Errorf("target %q of a job in %q = %q, want %q", target, where, got, want[i])
			}
		}
	}
	m.Steps = []job.Step{
		{Target: &job.StepTarget{Target: "tools"}},
		{Target: &job.StepTarget{Target: "host"}},
		{},
		{Target: &job.StepTarget{Target: "tools"}},
		{Target: &job.StepTarget{Target: "off"}, Enabled: &disabled},
	}
	x := &execution{m: m}
	if got, want := x.targets(), []string{"box", "Tools"}; !slices.Equal(got, want) {
		t.Errorf("targets = %q, want %q", got, want)
	}
	if m.JobContainer = ""; !m.NeedsContainers() {
		t.Error("a job with a step in a container needs none")
	}
	if m.Steps = m.Steps[1:3]; m.NeedsContainers() {
		t.Error("a job on the host needs containers")
	}
}

func TestPathsInCommandsAreThoseOfTheHost(t *testing.T) {
	a := &attempt{where: &container{alias: "box", sees: mounts.Table{{Host: "/azp/1", Inside: "/__w/1"}}}}
	for _, c := range []struct {
		name           command.Command
		data, property string // afterwards
	}{
		{command.Command{Area: "task", Event: "uploadsummary", Data: "/__w/1/s/a.md"}, "/azp/1/s/a.md", ""},
		{command.Command{Area: "task", Event: "uploadfile", Data: "s/a.md"}, "s/a.md", ""},
		{command.Command{Area: "artifact", Event: "upload", Data: "/azp/1/a"}, "/azp/1/a", ""},
		{command.Command{Area: "task", Event: "setvariable", Data: "/__w/1/s"}, "/__w/1/s", ""},
		{command.Command{Area: "task", Event: "logissue", Data: "x", Properties: map[string]string{"sourcepath": "/__w/1/s/a.go"}}, "x", "/azp/1/s/a.go"},
		{command.Command{Area: "task", Event: "logissue", Data: "x", Properties: map[string]string{"sourcepath": "/usr/a.h"}}, "x", "/usr/a.h"},
		{command.Command{Area: "results", Event: "publish", Properties: map[string]string{"resultfiles": "/__w/1/a.xml, b.xml"}}, "", "/azp/1/a.xml,b.xml"},
	} {
		got, err := a.outside(c.name)
		if err != nil || got.Data != c.data || got.Properties["sourcepath"]+got.Properties["resultfiles"] != c.property {
			t.Errorf("%s became %q, %q, %v, want %q, %q", c.name.Name(), got.Data, got.Properties, err, c.data, c.property)
		}
	}
	for _, path := range []string{"/etc/passwd", "/__w/1/../../etc/passwd", "/__w", "/azp/1/../2"} {
		_, err := a.outside(command.Command{Area: "artifact", Event: "upload", Data: path})
		if err == nil || !strings.Contains(err.Error(), path) || len(hint.All(err)) == 0 {
			t.Errorf("uploading %s = %v, want an error that names it, with a hint", path, err)
		}
	}
}
