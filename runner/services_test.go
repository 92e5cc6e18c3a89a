package runner

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

func TestTheStackOfAJobIsNamedForAgentAndPlan(t *testing.T) {
	project := func(agent, plan string) string {
		x := &execution{cfg: Config{AgentName: agent}, m: &job.Message{JobID: "12F1170F-54F2-53F3-20DD-22FC7DFF55F9", Plan: job.Plan{PlanID: job.PlanID(plan)}}}
		return x.project()
	}
	one := project("agent one", "P1")
	if again := project("agent one", "p1"); again != one {
		t.Errorf("one job has the projects %s and %s", one, again)
	}
	if !regexp.MustCompile(`^job-12f1170f-54f2-53f3-20dd-22fc7dff55f9-[0-9a-f]{12}$`).MatchString(one) {
		t.Errorf("the project is named %s", one)
	}
	for _, other := range []string{project("agent two", "P1"), project("agent one", "P2")} {
		if other == one {
			t.Errorf("two jobs share the project %s", one)
		}
	}
}

func TestAFolderOfToolsThatPodmanDoesNotSeeIsBlamedOnItsVariable(t *testing.T) {
	for name, c := range map[string]struct {
		tools, message string
		want           bool
	}{
		"elsewhere":             {"/opt/tools", "statfs /opt/tools: no such file or directory", true},
		"another cause":         {"/opt/tools", "no such image", false},
		"in the work folder":    {"/w/_tool", "statfs /w/_tool: no such file or directory", false},
		"beside, named like it": {"/w-tools", "statfs /w-tools: no such file or directory", true},
	} {
		x := &execution{folders: folders{work: "/w", tools: c.tools}}
		err := x.blameTools(errors.New(c.message))
		hints := strings.Join(hint.All(err), "\n")
		if err.Error() != c.message || strings.Contains(hints, "AGENT_TOOLSDIRECTORY names "+c.tools) != c.want {
			t.Errorf("%s: %v with hints %q", name, err, hints)
		}
	}
}
