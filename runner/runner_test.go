package runner_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestAJobReportsItsRecordsInOrder(t *testing.T) {
	rec, out := run(t, config(t), message(script("one", "echo 1"), script("two", "exit 3"), script("three", "echo 3")))
	if out.Result != job.Failed {
		t.Errorf("result = %s, want failed", out.Result)
	}
	type row struct {
		Name, RefName string
		Order         int
		Result        job.Result
	}
	var got []row
	for _, id := range rec.order {
		r := rec.records[id]
		got = append(got, row{r.Name, r.RefName, r.Order, r.Result})
		if r.State != job.Completed || r.StartTime == nil || r.FinishTime == nil || r.PercentComplete != 100 {
			t.Errorf("record %s did not complete: %+v", r.Name, r)
		}
	}
	want := []row{
		{"The job", "__default", 0, job.Failed},
		{"Initialize job", "JobExtension_Init", 1, job.Succeeded},
		{"one", "one", 2, job.Succeeded},
		{"two", "two", 3, job.Failed},
		{"three", "three", 4, job.Skipped},
		{"Finalize Job", "JobExtension_Final", 5, job.Succeeded},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	issues := rec.record(t, "two").Issues
	if len(issues) != 1 || issues[0].Message != "Bash exited with code '3'." {
		t.Errorf("issues of the failed step = %+v", issues)
	}
	line := rec.log(t, "two")
	if n := issues[0].Data["logFileLineNumber"]; n != "14" || line[13] != "##[error]Bash exited with code '3'." {
		t.Errorf("the issue points at line %s of\n%s", n, strings.Join(line, "\n"))
	}
}

func TestTheLogOfAStepLooksAsUsersKnowIt(t *testing.T) {
	rec, _ := run(t, config(t), message(script("one", "echo 1; echo 2 >&2")))
	ruler := strings.Repeat("=", 78)
	got := rec.log(t, "one")
	for i, l := range got {
		if strings.HasPrefix(l, "##[command]") {
			got[i] = "##[command]"
		}
		if isFooter(l) {
			got[i] = "Peak memory" // how much depends on the machine: usage_test.go
		}
	}
	want := []string{
		"##[section]Starting: one", ruler,
		"Task         : Command line", "Description  : Run a command line script using Bash.", "Version      : 2.279.1",
		"Author       : dockless", "Help         : https://learn.microsoft.com/azure/devops/pipelines/tasks/", ruler,
		"Generating script.", "Script contents:", "echo 1; echo 2 >&2",
		"========================== Starting Command Output ===========================", "##[command]", "1", "2", "Peak memory", "##[section]Finishing: one",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestA18AllStepsArePendingBeforeTheFirstRuns(t *testing.T) {
	rec, _ := run(t, config(t), message(script("one", "true"), script("two", "true")))
	var states []string
	for _, u := range rec.updates {
		states = append(states, u.Name+" "+string(u.State))
	}
	one := slices.Index(states, "one inProgress")
	two := slices.Index(states, "two pending")
	if two < 0 || one < two {
		t.Errorf("states came as %q, want every step pending first", states)
	}
}

func TestAnUnknownTaskFailsTheJobBeforeAnyStep(t *testing.T) {
	unknown := job.Step{ID: job.NewRecordID(), Name: "s", DisplayName: "Shell", Reference: job.TaskReference{
		ID: bash.ID, Name: "ShellScript", Version: "2.1.0", // shares its id with Bash
	}}
	rec, out := run(t, config(t), message(script("one", "true"), unknown))
	if out.Result != job.Failed {
		t.Errorf("result = %s, want failed", out.Result)
	}
	init := rec.record(t, "Initialize job")
	if len(init.Issues) != 1 || !strings.Contains(init.Issues[0].Message, "ShellScript@2") {
		t.Errorf("issues = %+v, want one that names the task", init.Issues)
	}
	if !slices.ContainsFunc(rec.log(t, "Initialize job"), func(l string) bool { return strings.HasPrefix(l, "hint: ") }) {
		t.Error("the log has no hint")
	}
	if len(rec.order) != 3 {
		t.Errorf("%d records, want the job, Initialize job and Finalize Job", len(rec.order))
	}
}

func TestABadConditionFailsTheJobBeforeAnyStep(t *testing.T) {
	rec, out := run(t, config(t), message(script("one", "true"), script("two", "true", condition("nonsense("))))
	if out.Result != job.Failed || rec.record(t, "Initialize job").Result != job.Failed {
		t.Errorf("result = %s, want failed in Initialize job", out.Result)
	}
}

// Language §6.1 and §7: what steps do to the steps after them.
func TestA29ConditionsAndResults(t *testing.T) {
	failing := func(s *job.Step) { s.ContinueOnError = true }
	disabled := func(s *job.Step) { no := false; s.Enabled = &no }
	for name, c := range map[string]struct {
		steps []job.Step
		want  map[string]job.Result
		job   job.Result
	}{
		"failure skips the rest but not always": {
			[]job.Step{script("a", "false"), script("b", "true"), script("c", "true", condition("always()")), script("d", "true", condition("failed()"))},
			map[string]job.Result{"a": job.Failed, "b": job.Skipped, "c": job.Succeeded, "d": job.Succeeded},
			job.Failed,
		},
		"continueOnError": {
			[]job.Step{script("a", "false", failing), script("b", "true")},
			map[string]job.Result{"a": job.SucceededWithIssues, "b": job.Succeeded},
			job.SucceededWithIssues,
		},
		"only the last command counts": {
			[]job.Step{script("a", "false\ntrue")}, map[string]job.Result{"a": job.Succeeded}, job.Succeeded,
		},
		"without a status function": {
			[]job.Step{script("a", "false"), script("b", "true", condition("eq(1, 1)"))},
			map[string]job.Result{"a": job.Failed, "b": job.Succeeded},
			job.Failed,
		},
		"disabled": {
			[]job.Step{script("a", "false", disabled), script("b", "true")}, map[string]job.Result{"b": job.Succeeded}, job.Succeeded,
		},
		"a variable of an earlier step": {
			[]job.Step{script("a", "echo '##vso[task.setvariable variable=x]1'"), script("b", "true", condition("eq(variables.x, '1')")), script("c", "true", condition("eq(variables.x, '2')"))},
			map[string]job.Result{"a": job.Succeeded, "b": job.Succeeded, "c": job.Skipped},
			job.Succeeded,
		},
		"claimed results": {
			[]job.Step{script("a", "echo '##vso[task.complete result=SucceededWithIssues;]fine'"), script("b", "echo '##vso[task.complete result=Failed;]no'"), script("c", "true", condition("succeededOrFailed()"))},
			map[string]job.Result{"a": job.SucceededWithIssues, "b": job.Failed, "c": job.Succeeded},
			job.Failed,
		},
		"a failing command": {
			[]job.Step{script("a", "echo '##vso[task.setprogress value=x]'")}, map[string]job.Result{"a": job.Failed}, job.Failed,
		},
		"an unsupported command": {
			[]job.Step{script("a", "echo '##vso[artifact.upload artifactname=x]/x'")}, map[string]job.Result{"a": job.Failed}, job.Failed,
		},
		"an unknown area": {
			[]job.Step{script("a", "echo '##vso[nobody.knows]'")}, map[string]job.Result{"a": job.Succeeded}, job.Succeeded,
		},
		"evaluation error": {
			[]job.Step{script("a", "true", condition("gt(1, 'x')"))}, map[string]job.Result{"a": job.Failed}, job.Failed,
		},
	} {
		t.Run(name, func(t *testing.T) {
			rec, out := run(t, config(t), message(c.steps...))
			got := make(map[string]job.Result)
			for step := range c.want {
				got[step] = rec.record(t, step).Result
			}
			if diff := cmp.Diff(c.want, got); diff != "" || out.Result != c.job {
				t.Errorf("job %s, want %s; steps (-want +got):\n%s", out.Result, c.job, diff)
			}
		})
	}
}

func TestA17RecordsHaveTheIDsOfTheMessage(t *testing.T) {
	m := message(script("one", "true"), script("two", "true"))
	rec, _ := run(t, config(t), m)
	if got := rec.record(t, "The job"); got.ID != m.JobID.Record() || got.Type != job.TypeJob || got.ParentID != "" {
		t.Errorf("record of the job = %+v, want the job's id and no parent", got)
	}
	for _, s := range m.Steps {
		if got := rec.record(t, s.DisplayName); got.ID != s.ID || got.Type != job.TypeTask || got.ParentID != m.JobID.Record() {
			t.Errorf("record of step %s = %+v, want the step's id below the job", s.Name, got)
		}
	}
	if init := rec.record(t, "Initialize job"); init.ID == "" || init.ParentID != m.JobID.Record() {
		t.Errorf("record of Initialize job = %+v", init)
	}
}

func TestA32ASkippedStepSaysWhy(t *testing.T) {
	rec, out := run(t, config(t), message(script("s", "true", condition("and(succeeded(), eq(variables['x'], '1'))"))))
	r, log := rec.record(t, "s"), strings.Join(rec.log(t, "s"), "\n")
	const reason = "Skipping step due to condition evaluation."
	if r.Result != job.Skipped || !strings.HasPrefix(r.ResultCode, reason) || !strings.HasPrefix(log, reason) || !strings.Contains(log, "eq(") {
		t.Errorf("step %s with code %q and log\n%s", r.Result, r.ResultCode, log)
	}
	if out.Result != job.Succeeded {
		t.Errorf("job %s, want succeeded", out.Result)
	}
}

// Protocol §7.9 and §8.13: the worse result stays, and whatever lies above
// failed stays once it is set. Such a step does not change the job.
func TestA28ClaimedResultsAreMerged(t *testing.T) {
	for claims, want := range map[string][2]job.Result{
		"Succeeded":                       {job.Succeeded, job.Succeeded},
		"Failed Succeeded":                {job.Failed, job.Failed},
		"SucceededWithIssues Succeeded":   {job.SucceededWithIssues, job.SucceededWithIssues},
		"SucceededWithIssues Failed":      {job.Failed, job.Failed},
		"Canceled Failed":                 {job.Canceled, job.Succeeded},
		"Skipped":                         {job.Skipped, job.Succeeded},
		"2":                               {job.Failed, job.Failed},
		"failed":                          {job.Failed, job.Failed}, // no such result: the command fails
		"SucceededWithIssues exit":        {job.Failed, job.Failed},
		"Succeeded exit":                  {job.Failed, job.Failed},
		"Failed error SucceededWithIssue": {job.Failed, job.Failed},
	} {
		t.Run(claims, func(t *testing.T) {
			t.Parallel()
			var text strings.Builder
			for claim := range strings.FieldsSeq(claims) {
				if claim == "exit" {
					text.WriteString("exit 1\n")
				} else {
					text.WriteString("echo '##vso[task.complete result=" + claim + "]'\n")
				}
			}
			rec, out := run(t, config(t), message(script("s", text.String())))
			if got := rec.record(t, "s").Result; got != want[0] || out.Result != want[1] {
				t.Errorf("step %s, job %s; want %s, %s", got, out.Result, want[0], want[1])
			}
		})
	}
}
