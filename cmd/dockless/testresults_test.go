package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// publishStep is a step of PublishTestResults@2.
func publishStep(name string, inputs map[string]string) job.Step {
	return job.Step{
		Name: name, DisplayName: name, Inputs: inputs, Condition: "always()",
		Reference: job.TaskReference{ID: "0b0f01ed-7dde-43ff-9cbb-e48954daf9b1", Name: "PublishTestResults", Version: "2.277.0"},
	}
}

// script is a step of CmdLine@2.
func script(text string) job.Step { return emulatortest.Script(text).Steps[0] }

// tests returns what a job published.
func (s *taskStage) tests(id job.ID) emulator.TestEvidence {
	s.t.Helper()
	evidence, err := s.Tests(id)
	if err != nil {
		s.t.Fatal(err)
	}
	if v := s.Violations(); len(v) > 0 {
		s.t.Errorf("violations: %+v", v)
	}
	return evidence
}

// manyTests is a script that writes a JUnit file with n tests, of which each
// hundredth fails.
func manyTests(file string, n int) string {
	return fmt.Sprintf(`{ echo '<testsuite name="many" hostname="h" timestamp="2026-08-22T09:00:00" time="25">'
for i in $(seq 1 %d); do
  if [ $((i %% 100)) = 0 ]; then
    echo "<testcase name='t$i' classname='C' time='0.01'><failure message='wrong t0p-s3cret-value'>at line $i</failure><system-out>t0p-s3cret-value said $i</system-out></testcase>"
  else echo "<testcase name='t$i' classname='C' time='0.01'/>"; fi
done; echo '</testsuite>'; } > %s`, n, file)
}

// Protocol §9.5: at most a thousand results in one call, attachments, the end.
func TestResultsReachTheServerInBatches(t *testing.T) {
	s := startTaskStage(t)
	m := emulatortest.Steps(
		script(manyTests("TEST-many.xml", 2500)),
		publishStep("publish", map[string]string{"testRunTitle": "unit", "buildPlatform": "linux", "buildConfiguration": "release", "mergeTestResults": "true"}),
	)
	m.Mask = append(m.Mask, job.MaskHint{Type: "regex", Value: "t0p-s3cret-value"})
	id, report := s.run(m)
	s.wantResult(report, job.Succeeded)
	evidence := s.tests(id)
	if len(evidence.Runs) != 1 {
		t.Fatalf("%d runs, want 1", len(evidence.Runs))
	}
	run := evidence.Runs[0]
	if diff := cmp.Diff([]int{1000, 1000, 500}, run.Batches); diff != "" {
		t.Errorf("batches (-want +got):\n%s", diff)
	}
	got := []string{run.Name, run.State, run.Platform, run.Flavor, run.Fields["TestRunSystem"], run.StartDate.Format("15:04:05"), run.CompletedDate.Format("15:04:05")}
	if diff := cmp.Diff([]string{"unit", "Completed", "linux", "release", "VSTS - PTR", "09:00:00", "09:00:25"}, got); diff != "" {
		t.Errorf("run (-want +got):\n%s", diff)
	}
	failed := run.Results[99]
	if failed.TestCaseTitle != "t100" || failed.Outcome != "Failed" || failed.ErrorMessage != "wrong ***" || failed.StackTrace != "at line 100" || failed.ComputerName != "h" {
		t.Errorf("result = %+v", failed)
	}
	if len(failed.Attachments) != 1 || string(failed.Attachments[0].Content) != "*** said 100" || failed.Attachments[0].Type != "ConsoleLog" {
		t.Errorf("attachments = %+v, want the masked output", failed.Attachments)
	}
	if len(run.Attachments) != 1 || run.Attachments[0].Name != "TEST-many.xml" || strings.Contains(string(run.Attachments[0].Content), "s3cret") {
		t.Errorf("attachments of the run = %+v, want the masked results file", run.Attachments)
	}
	log := strings.Join(recordNamed(t, report, "publish").Log, "\n")
	for _, want := range []string{"Async Command Start: results.publish", "2500 tests, 2475 passed, 25 failed", "Failed: C: t100 (wrong ***)", "… and 15 more.", `"unit": 2500 results`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	attachments, err := s.Attachments(id)
	if err != nil || len(attachments) != 1 || attachments[0].Type != job.AttachmentSummary || !strings.Contains(string(attachments[0].Content), "| C: t100 | wrong \\*\\*\\* |") {
		t.Errorf("attachments of the step = %s (%v), want a summary", attachments, err)
	}
}

func TestTestsThatFailFailTheStepWhenAsked(t *testing.T) {
	s := startTaskStage(t)
	id, report := s.run(emulatortest.Steps(
		script(manyTests("TEST-a.xml", 200)),
		publishStep("lenient", nil),
		publishStep("strict", map[string]string{"failTaskOnFailedTests": "true"}),
	))
	s.wantResult(report, job.Failed)
	if r := recordNamed(t, report, "lenient"); r.Result != job.Succeeded || len(r.Issues) != 0 {
		t.Errorf("lenient is %s with %v", r.Result, r.Issues)
	}
	r := recordNamed(t, report, "strict")
	if r.Result != job.Failed || len(r.Issues) != 1 || r.Issues[0].Message != "There are one or more test failures: 2 of 200 tests failed." {
		t.Errorf("strict is %s with %v", r.Result, r.Issues)
	}
	if n := len(s.tests(id).Runs); n != 2 {
		t.Errorf("%d runs, want one for each step: also a step that fails publishes", n)
	}
}

func TestFilesBecomeOneRunOrSeveral(t *testing.T) {
	s := startTaskStage(t)
	id, report := s.run(emulatortest.Steps(
		script(manyTests("TEST-a.xml", 3)), script("mkdir sub\n"+manyTests("sub/TEST-b.xml", 4)), script("echo '<testsuite>' > TEST-broken.xml; echo '<testsuite/>' > TEST-empty.xml"),
		publishStep("each", map[string]string{"testRunTitle": "t", "publishRunAttachments": "false"}),
		publishStep("untitled", map[string]string{"testResultsFiles": "TEST-a.xml"}),
		publishStep("merged", map[string]string{"mergeTestResults": "true", "testResultsFiles": "**/TEST-*.xml\n!**/TEST-broken.xml"}),
		publishStep("none", map[string]string{"testResultsFiles": "no/*.xml\nneither.xml"}),
		publishStep("must", map[string]string{"testResultsFiles": "no/*.xml", "failTaskOnMissingResultsFile": "true"}),
		publishStep("unread", map[string]string{"testResultsFiles": "TEST-broken.xml", "failTaskOnFailureToPublishResults": "true"}),
		publishStep("format", map[string]string{"testResultsFormat": "TAP"}),
	))
	var got []string
	for _, r := range s.tests(id).Runs {
		got = append(got, fmt.Sprintf("%s %d %d", r.Name, len(r.Results), len(r.Attachments)))
	}
	build := "501"
	if diff := cmp.Diff([]string{"t_1 3 0", "t_2 4 0", "many 3 1", "JUnit_TestResults_" + build + " 7 2"}, got); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	for name, want := range map[string]struct {
		result job.Result
		issue  string
	}{
		"each":   {job.Succeeded, "TEST-broken.xml:2: "},
		"merged": {job.Succeeded, ""},
		"none":   {job.Succeeded, "No test result files matching 'no/*.xml,neither.xml' were found."},
		"must":   {job.Failed, "No test result files matching 'no/*.xml' were found."},
		"unread": {job.Failed, "TEST-broken.xml:2: "},
		"format": {job.Failed, `testResultsFormat: the test result format "TAP" is not one of`},
	} {
		r := recordNamed(t, report, name)
		issues := fmt.Sprint(r.Issues)
		if r.Result != want.result || !strings.Contains(issues, want.issue) || want.issue == "" && len(r.Issues) > 0 {
			t.Errorf("%s is %s with %s, want %s with %q", name, r.Result, issues, want.result, want.issue)
		}
	}
}

func TestScriptsPublishResultsAndCoverage(t *testing.T) {
	s := startTaskStage(t)
	steps := []job.Step{
		script(manyTests("a,b.xml", 100) + "\n" + manyTests("c.xml", 5) + `
echo '##vso[results.publish type=junit;resultFiles=a,b.xml|c.xml;runTitle=from a script;failTaskOnFailedTests=true]'`),
		script("echo '##vso[results.publish type=JUnit]c.xml'; echo '##vso[results.publishtoevidencestore]x'"),
		script("echo '##vso[results.publish type=JUnit]'; echo '##vso[results.publish]c.xml'"),
		script(`echo '<coverage lines-covered="3" lines-valid="4"/>' > c.xml
echo '##vso[codecoverage.publish codecoveragetool=Cobertura;summaryfile=c.xml]'`),
		script("echo '##vso[codecoverage.publish codecoveragetool=Cobertura]'; echo '##vso[codecoverage.publish summaryfile=c.xml]'"),
	}
	for i := range steps {
		steps[i].DisplayName, steps[i].Condition = fmt.Sprint("step ", i), "always()"
	}
	id, report := s.run(emulatortest.Steps(steps...))
	evidence := s.tests(id)
	var runs []string
	for _, r := range evidence.Runs {
		runs = append(runs, fmt.Sprintf("%s %d", r.Name, len(r.Results)))
	}
	if diff := cmp.Diff([]string{"from a script 105", "JUnit_TestResults_501 5"}, runs); diff != "" {
		t.Errorf("runs (-want +got):\n%s", diff)
	}
	if len(evidence.Coverage) != 1 || evidence.Coverage[0].Counters[0].Covered != 3 {
		t.Errorf("coverage = %+v, want 3 lines", evidence.Coverage)
	}
	for i, want := range [][]string{
		{"There are one or more test failures: 1 of 105 tests failed."},
		nil,
		{"the property resultFiles is missing", "the property type is missing"},
		nil,
		{"the property summaryfile is missing", "the property codecoveragetool is missing"},
	} {
		r := recordNamed(t, report, fmt.Sprint("step ", i))
		if len(r.Issues) != len(want) || (r.Result == job.Failed) != (want != nil) {
			t.Errorf("%s is %s with %v, want %q", r.Name, r.Result, r.Issues, want)
			continue
		}
		for n, text := range want {
			if !strings.Contains(r.Issues[n].Message, text) {
				t.Errorf("%s: issue %q, want %q", r.Name, r.Issues[n].Message, text)
			}
		}
	}
	if log := strings.Join(recordNamed(t, report, "step 1").Log, "\n"); !strings.Contains(log, "evidence store is not supported") {
		t.Errorf("nothing is said about the evidence store:\n%s", log)
	}
}

func TestCoverageReachesTheServer(t *testing.T) {
	s := startTaskStage(t)
	cover := func(name, version string, inputs map[string]string) job.Step {
		return job.Step{
			Name: name, DisplayName: name, Condition: "always()", Inputs: inputs,
			Reference: job.TaskReference{ID: "2a7ebc54-c13e-490e-81a5-d7561ab7cd97", Name: "PublishCodeCoverageResults", Version: version},
		}
	}
	id, report := s.run(emulatortest.Steps(
		script(`echo '<coverage lines-covered="3" lines-valid="4" branches-covered="1" branches-valid="2"/>' > a.xml
echo '<report><counter type="LINE" missed="1" covered="5"/></report>' > j.xml; echo '<coverage/>' > empty.xml`),
		cover("one", "1.277.0", map[string]string{"codeCoverageTool": "Cobertura", "summaryFileLocation": "**/a.xml", "pathToSources": "src"}),
		cover("two", "2.276.0", map[string]string{"summaryFileLocation": "a.xml\nj.xml", "failIfCoverageEmpty": "true"}),
		cover("none", "2.276.0", map[string]string{"summaryFileLocation": "*.none"}),
		cover("must", "2.276.0", map[string]string{"summaryFileLocation": "empty.xml", "failIfCoverageEmpty": "true"}),
		cover("other", "1.277.0", map[string]string{"summaryFileLocation": "a.xml"}),
	))
	lines := func(covered, total int) job.CoverageCounter {
		return job.CoverageCounter{Label: "Lines", Covered: covered, Total: total, Position: 4}
	}
	branches := job.CoverageCounter{Label: "Branches", Covered: 1, Total: 2, Position: 6}
	want := []job.Coverage{{Counters: []job.CoverageCounter{lines(3, 4), branches}}, {Counters: []job.CoverageCounter{lines(8, 10), branches}}}
	if diff := cmp.Diff(want, s.tests(id).Coverage); diff != "" {
		t.Errorf("coverage (-want +got):\n%s", diff)
	}
	for name, want := range map[string]string{
		"one": "Lines: 3 of 4 covered (75.0 %)", "two": "Lines: 8 of 10 covered (80.0 %)", "none": "##[warning]No code coverage results were found to publish.",
		"must": "##[error]No code coverage results were found to publish.", "other": "a file of format JaCoCo begins with <report>, this one with <coverage>",
	} {
		r := recordNamed(t, report, name)
		if log := strings.Join(r.Log, "\n"); !strings.Contains(log, want) || (r.Result == job.Failed) != (name == "must") {
			t.Errorf("%s is %s with the log:\n%s\nwant %q", name, r.Result, log, want)
		}
	}
}

// The service is away, or says no: tests ran all the same.
func TestAServerThatTakesNoResultsIsAWarningOrAFailure(t *testing.T) {
	s := startTaskStage(t)
	s.Fail(emulator.Fault{Match: `POST /Results$`, Kind: emulator.FaultStatus, Answer: emulator.FaultAnswer{Code: http.StatusForbidden}})
	id, report := s.run(emulatortest.Steps(
		script(manyTests("TEST-a.xml", 3)),
		publishStep("lenient", nil),
		publishStep("strict", map[string]string{"failTaskOnFailureToPublishResults": "true"}),
	))
	for name, want := range map[string]job.Result{"lenient": job.Succeeded, "strict": job.Failed} {
		if r := recordNamed(t, report, name); r.Result != want || len(r.Issues) != 1 || !strings.Contains(r.Issues[0].Message, `results of run "many" could not be published`) {
			t.Errorf("%s is %s with %v, want %s and one issue", name, r.Result, r.Issues, want)
		}
	}
	for _, r := range s.tests(id).Runs {
		if r.State != "Aborted" {
			t.Errorf("run %d is %s, want it aborted", r.ID, r.State)
		}
	}
}
