package runner_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// notPackaged are the tasks that no package can stand in for: the server has none
// of a checkout or a download step, and those of the others are run by plugins of Microsoft's agent
// (protocol §8.4).
var notPackaged = map[string]string{
	"6d15af64-176c-496d-b583-fd2ae21d4df4": "checkout",
	"ecdc45f6-832d-4ad9-b52b-ee49e94659be": "PublishPipelineArtifact",
	"61f2a582-95ae-4948-b34d-a1b3c4f6a737": "DownloadPipelineArtifact",
	"d53ccab4-555e-4494-9d06-11db043fb4a9": "Cache",
	"30f35852-3f7e-4c0c-9a88-e127b4f97211": "download", // a server resolves it into another one
}

// library hands out a package of every task, which says that it is one.
type library struct{ fetched []string } // one job uses it at a time

func (l *library) FetchTask(_ context.Context, r job.TaskReference, to io.Writer) error {
	l.fetched = append(l.fetched, r.ID+"@"+r.Major())
	return pack(to, map[string]string{
		"task.json": fmt.Sprintf(`{"id": %q, "name": %q, "version": {"Major": %s, "Minor": 0, "Patch": 0}, "execution": {"Node16": {"target": "main.js"}}}`, r.ID, r.Name, r.Major()),
		"main.js":   "console.log('the package of " + r.ID + "@" + r.Major() + "');",
	})
}

func TestWithBuiltInsTurnedOffPackagesRunInstead(t *testing.T) {
	var packaged, here []string
	var steps []job.Step
	for ref, onlyHere := range runner.Builtins() {
		key := ref.ID + "@" + ref.Major()
		if _, want := notPackaged[ref.ID]; want != onlyHere {
			t.Errorf("%s (%s) is built in always: %t, want %t", ref.Name, key, onlyHere, want)
		}
		step := job.Step{ID: job.NewRecordID(), Name: key, DisplayName: key, Reference: ref, Condition: "eq(variables.run, 'packages')"}
		if onlyHere {
			step.Condition = "false" // what it would do is of no matter: it is not fetched
			here = append(here, key)
		} else {
			packaged = append(packaged, key)
		}
		steps = append(steps, step)
	}
	if len(packaged) == 0 || len(here) == 0 {
		t.Fatalf("built in are %q, and always %q; want some of each", packaged, here)
	}
	for mode, want := range map[string][]string{"on": nil, "off": packaged} {
		t.Run(mode, func(t *testing.T) {
			cfg, lib := config(t), &library{}
			cfg.Tasks, cfg.Node, cfg.NativeTasks = lib, "node", mode
			m := message(steps...)
			if mode == "off" {
				m.Variables["run"] = job.Variable{Value: "packages"}
			}
			rec, out := run(t, cfg, m)
			if out.Result != job.Succeeded {
				t.Errorf("the job is %s:\n%s", out.Result, rec.everything())
			}
			slices.Sort(lib.fetched)
			slices.Sort(want)
			if diff := cmp.Diff(want, lib.fetched); diff != "" {
				t.Errorf("packages that were fetched (-want +got):\n%s", diff)
			}
			for _, key := range want {
				if log := rec.log(t, key); !slices.Contains(log, "the package of "+key) {
					t.Errorf("the log of %s is %q, want that of its package", key, log)
				}
			}
		})
	}
}
