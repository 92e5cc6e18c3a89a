package runner_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
)

func testStep(name, id, version string, inputs map[string]string) job.Step {
	return job.Step{
		ID: job.NewRecordID(), Name: name, DisplayName: name, Type: "task", Condition: "always()", Inputs: inputs,
		Reference: job.TaskReference{ID: id, Name: name, Version: version},
	}
}

// A replay has no server.
func TestWithoutAServerResultsAreCountedAndNotKept(t *testing.T) {
	const publish, cover = "0b0f01ed-7dde-43ff-9cbb-e48954daf9b1", "2a7ebc54-c13e-490e-81a5-d7561ab7cd97"
	rec, outcome := run(t, config(t), message(
		script("write", `echo '<testsuite><testcase name="good"/><testcase name="bad"><failure message="no"/></testcase></testsuite>' > TEST-a.xml
echo '<coverage lines-covered="3" lines-valid="4"/>' > c.xml`),
		testStep("lenient", publish, "2.277.0", nil),
		testStep("cover", cover, "2.276.0", map[string]string{"summaryFileLocation": "**/c.xml"}),
		testStep("strict", publish, "2.277.0", map[string]string{"failTaskOnFailedTests": "true"}),
	))
	if outcome.Result != job.Failed {
		t.Errorf("the job is %s, want it failed by a test", outcome.Result)
	}
	for name, want := range map[string]struct {
		result job.Result
		line   string
	}{
		"lenient": {job.Succeeded, "1 result files of format JUnit: 2 tests, 1 passed, 1 failed\nFailed: bad (no)\nThere is no server: the results were counted and are not kept."},
		"cover":   {job.Succeeded, "Lines: 3 of 4 covered (75.0 %)\nThere is no server: the code coverage is not kept."},
		"strict":  {job.Failed, "##[error]There are one or more test failures: 1 of 2 tests failed."},
	} {
		log := strings.Join(rec.log(t, name), "\n")
		if r := rec.record(t, name); r.Result != want.result || !strings.Contains(log, want.line) {
			t.Errorf("%s is %s with the log:\n%s\nwant %s and %q", name, r.Result, log, want.result, want.line)
		}
	}
}

// A pipe that nobody writes to would hold the step up without end.
func TestAResultsFileThatIsNoFileIsLeftOut(t *testing.T) {
	rec, outcome := run(t, config(t), message(
		script("publish", "mkfifo pipe.xml; mkdir dir.xml; ln -s dir.xml link.xml\n"+
			"echo '##vso[results.publish type=JUnit;failTaskOnFailureToPublishResults=true]link.xml,pipe.xml,dir.xml,gone.xml'"),
	))
	if r := rec.record(t, "publish"); outcome.Result != job.Failed || len(r.Issues) != 4 {
		t.Errorf("the step is %s with %v, want four files left out", r.Result, r.Issues)
	}
}

// An attachment of the same name would take the place of the one before.
func TestEachPublicationOfAStepHasASummaryOfItsOwn(t *testing.T) {
	rec, _ := run(t, config(t), message(
		script("publish", `for n in 1 2; do
  echo "<testsuite><testcase name='bad$n'><failure message='no'/></testcase></testsuite>" > $n.xml
  echo "##vso[results.publish type=JUnit]$n.xml"
done`),
	))
	var names []string
	for i, a := range rec.attachments {
		names = append(names, a.Name)
		if want := fmt.Sprint("bad", i+1); !strings.Contains(string(a.Content), want) {
			t.Errorf("%s is %q, want %s in it", a.Name, a.Content, want)
		}
	}
	if got := strings.Join(names, " "); got != "TestResults.md TestResults_2.md" {
		t.Errorf("summaries = %q", got)
	}
}
