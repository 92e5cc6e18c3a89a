package runner_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestA22VariablesOfAStepReachLaterSteps(t *testing.T) {
	first := script("first", strings.Join([]string{
		`echo "##vso[task.setvariable variable=plain]20"`,
		`echo "##vso[task.setvariable variable=my.dotted]d"`,
		`echo "##vso[task.setvariable variable=camelCase;preserveCase=true]c"`,
		`echo "##vso[task.setvariable variable=out;isOutput=true]o"`,
		`echo "##vso[task.setvariable variable=nested]<$(echo '$')(plain)>"`,
		`echo "##vso[task.prependpath]/first/dir"`,
		`echo "##vso[task.prependpath]/second/dir"`,
		`echo "$(plain)"`,
	}, "\n"))
	second := script("second", `echo "$(plain) $PLAIN $MY_DOTTED $camelCase $(first.out) $FIRST_OUT $(nested) $(out 2>/dev/null)"; echo "${PATH%%:/[^fs]*}"`)
	m := message(first, second)
	m.Variables["plain"] = job.Variable{Value: "10"}
	rec, out := run(t, config(t), m)
	if diff := cmp.Diff([]string{"10"}, rec.output(t, "first")); diff != "" {
		t.Errorf("output of the first step (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"20 20 d c o o <20> ", "/second/dir:/first/dir"}, rec.output(t, "second")); diff != "" {
		t.Errorf("output of the second step (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]job.Variable{"out": {Value: "o"}}, rec.record(t, "first").Variables); diff != "" {
		t.Errorf("outputs on the record (-want +got):\n%s", diff)
	}
	if out.Outputs["first.out"] != "o" || out.Variables["plain"] != "20" {
		t.Errorf("outcome = %+v, want the output and the variable", out)
	}
}

func TestVariablesWinOverTheEnvironmentOfAStep(t *testing.T) {
	step := script("s", `echo "$MODE $OTHER ${#PW} $FROM_SECRET_LENGTH ${#FROM}"`, func(s *job.Step) {
		s.Environment = map[string]string{"MODE": "slow", "OTHER": " $(mode)! ", "FROM": "$(pw)"}
	})
	m := message(step)
	m.Variables["MODE"] = job.Variable{Value: "fast"}
	m.Variables["pw"] = job.Variable{Value: "hunter22", IsSecret: true}
	rec, _ := run(t, config(t), m)
	if diff := cmp.Diff([]string{"fast fast! 0  8"}, rec.output(t, "s")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestReadOnlyVariablesStay(t *testing.T) {
	for _, c := range []struct {
		strict, name string
		want         job.Result
		value        string
	}{
		{"true", "fixed", job.Failed, "1"},
		{"false", "fixed", job.Succeeded, "2"},
		{"true", "build.sourceBranch", job.Failed, "1"},
		{"true", "System.Debug", job.Failed, ""},
		{"true", "free", job.Succeeded, "2"},
	} {
		t.Run(c.strict+" "+c.name, func(t *testing.T) {
			m := message(script("s", "echo '##vso[task.setvariable variable="+c.name+"]2'"))
			m.Variables["agent.readOnlyVariables"] = job.Variable{Value: c.strict, IsReadOnly: true}
			m.Variables["fixed"] = job.Variable{Value: "1", IsReadOnly: true}
			m.Variables["build.sourceBranch"] = job.Variable{Value: "1"}
			rec, out := run(t, config(t), m)
			if got := rec.record(t, "s").Result; got != c.want || out.Variables[c.name] != c.value {
				t.Errorf("step %s, value %q, want %s, %q", got, out.Variables[c.name], c.want, c.value)
			}
		})
	}
}

func TestA21IssuesAreCappedButCounted(t *testing.T) {
	rec, _ := run(t, config(t), message(script("s", `for i in $(seq 15); do echo "##vso[task.logissue type=warning]w$i"; done
echo "##vso[task.logissue type=error;sourcepath=a.go;linenumber=3;columnnumber=4;code=E1]bad"`)))
	r := rec.record(t, "s")
	if r.WarningCount != 15 || r.ErrorCount != 1 || len(r.Issues) != 11 || r.Result != job.Succeeded {
		t.Errorf("%d warnings, %d errors, %d issues, %s; want 15, 1, 11, succeeded", r.WarningCount, r.ErrorCount, len(r.Issues), r.Result)
	}
	last := r.Issues[len(r.Issues)-1]
	if last.Message != "a.go(3,4): error E1: bad" || last.Category != "Code" || last.Data["sourcepath"] != "a.go" {
		t.Errorf("issue = %+v", last)
	}
	log := rec.log(t, "s")
	for _, i := range r.Issues {
		n := 0
		for _, c := range i.Data["logFileLineNumber"] {
			n = 10*n + int(c-'0')
		}
		if want := "##[" + string(i.Type) + "]" + i.Message; log[n-1] != want {
			t.Errorf("line %d = %q, want %q", n, log[n-1], want)
		}
	}
}

// Protocol §7.6: the end of a group that is open does not count; all lines of
// a message do.
func TestIssuesPointAtTheLineThatTheServiceShows(t *testing.T) {
	rec, _ := run(t, config(t), message(script("s", strings.Join([]string{
		`echo '##vso[task.logissue type=error]first'`,
		`echo '##[endgroup]'; echo '##[group]a'; echo in; echo '##[group]b'; echo '##[endgroup]'; echo '##[endgroup]'`,
		`echo '##vso[task.logissue type=error]second%0Aof two lines'`,
		`echo '##vso[task.logissue type=warning]third'`,
	}, "\n"))))
	var at []int
	for _, i := range rec.record(t, "s").Issues {
		n, err := strconv.Atoi(i.Data["logFileLineNumber"])
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, n)
	}
	// Between the first two lie six lines of output, one of which ends a group.
	if len(at) != 3 || at[1]-at[0] != 6 || at[2]-at[1] != 2 {
		t.Errorf("issues are at lines %v, want the second 6 behind the first and the third 2 behind that", at)
	}
}

func TestRestrictedStepsMayDoLess(t *testing.T) {
	m := message(script("s", `echo "##vso[task.uploadfile]/etc/passwd"
echo "##vso[task.setvariable variable=allowedOne]1"
echo "##vso[task.setvariable variable=other]1"`, func(s *job.Step) {
		s.Target = &job.StepTarget{Commands: "restricted", SettableVariables: &job.SettableVariables{Allowed: []string{"ALLOWED*"}}}
	}))
	rec, out := run(t, config(t), m)
	if len(rec.attachments) != 0 || out.Variables["allowedOne"] != "1" || out.Variables["other"] != "" {
		t.Errorf("attachments %v, variables %v", rec.attachments, out.Variables)
	}
	if r := rec.record(t, "s"); r.WarningCount != 2 || r.Result != job.Succeeded {
		t.Errorf("%d warnings and %s, want 2 and succeeded", r.WarningCount, r.Result)
	}
}

func TestPathHasABound(t *testing.T) {
	rec, _ := run(t, config(t), message(
		script("s", `for i in $(seq 3); do printf '##vso[task.prependpath]/%s\n' "$(head -c 30000 /dev/zero | tr '\0' "$i")"; done`),
		script("next", `echo ${#PATH} | sed 's/....$//'`, condition("always()"))))
	if r := rec.record(t, "s"); r.Result != job.Failed || r.ErrorCount != 1 || !strings.Contains(r.Issues[0].Message, "64 KiB") {
		t.Errorf("step %s with issues %+v, want the third path refused", r.Result, r.Issues)
	}
	if got := rec.output(t, "next"); len(got) != 1 || got[0] != "6" {
		t.Errorf("length of PATH / 10000 = %q, want two paths, sixty thousand bytes", got)
	}
}

func TestFilesBecomeAttachments(t *testing.T) {
	cfg := config(t)
	file := filepath.Join(t.TempDir(), "notes.md")
	if err := os.WriteFile(file, []byte("# hi"), 0o600); err != nil {
		t.Fatal(err)
	}
	rec, _ := run(t, cfg, message(script("s", "echo '##vso[task.uploadsummary]"+file+"'\necho '##vso[task.addattachment type=my;name=n.txt]"+file+"'"),
		script("missing", "echo '##vso[task.uploadfile]/nonexistent'")))
	want := []job.Attachment{
		{Type: job.AttachmentSummary, Name: "notes.md", Content: []byte("# hi")},
		{Type: "my", Name: "n.txt", Content: []byte("# hi")},
	}
	if diff := cmp.Diff(want, rec.attachments); diff != "" {
		t.Errorf("attachments (-want +got):\n%s", diff)
	}
	if got := rec.record(t, "missing").Result; got != job.Failed {
		t.Errorf("a missing file: %s, want failed", got)
	}
}

// Opening a pipe that nobody writes to must not hold up the step for ever.
func TestOnlyRegularFilesBecomeAttachments(t *testing.T) {
	rec, _ := run(t, config(t), message(
		script("pipe", `mkfifo "$AGENT_TEMPDIRECTORY/p"; echo "##vso[task.uploadfile]$AGENT_TEMPDIRECTORY/p"`),
		script("device", "echo '##vso[task.uploadfile]/dev/zero'", condition("always()")),
		script("directory", "echo '##vso[task.uploadfile]/'", condition("always()"))))
	for _, name := range []string{"pipe", "device", "directory"} {
		if r := rec.record(t, name); r.Result != job.Failed || len(r.Issues) != 1 || !strings.Contains(r.Issues[0].Message, "no regular file") {
			t.Errorf("%s: %s, issues %+v", name, r.Result, r.Issues)
		}
	}
}

func TestLinesThatOnlyLookLikeCommandsAreShown(t *testing.T) {
	rec, _ := run(t, config(t), message(script("s", `echo "##vso[broken"; echo "##[group]title"; echo "##[error]just text"; printf 'a\rb\r\nc'`)))
	got := rec.output(t, "s")
	want := []string{"##[warning]the line contains ##vso but is no command of the form ##vso[area.event key=value;…]data", "##vso[broken", "##[group]title", "##[error]just text", "a", "b", "c"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
	if n := rec.record(t, "s").ErrorCount; n != 0 {
		t.Errorf("%d errors, want 0", n)
	}
}

// DECODE_PERCENTS is a variable of the job or an entry of the agent's
// environment. A secret is masked in both of its forms.
func TestPercentsAreDecodedUnlessSomebodySaysNo(t *testing.T) {
	steps := func() *job.Message {
		return message(script("s", "echo '##vso[task.setvariable variable=v]50%AZP25%0Ax'\necho '##vso[task.setsecret]pa%AZP25wd'\necho 'pa%AZP25wd pa%wd'"))
	}
	const off, on = "50%AZP25\nx", "50%\nx"
	for name, c := range map[string]struct {
		variable, environment, want string
	}{"by default": {"", "", on}, "variable": {"false", "", off}, "environment": {"", "false", off}, "the variable wins": {"true", "false", on}} {
		t.Run(name, func(t *testing.T) {
			m, cfg := steps(), config(t)
			if c.variable != "" {
				m.Variables["decode_percents"] = job.Variable{Value: c.variable}
			}
			if c.environment != "" {
				cfg.Environment = append(cfg.Environment, "DECODE_PERCENTS="+c.environment)
			}
			rec, out := run(t, cfg, m)
			if got := out.Variables["v"]; got != c.want {
				t.Errorf("the variable is %q, want %q", got, c.want)
			}
			if got := rec.output(t, "s"); len(got) != 1 || got[0] != "*** ***" {
				t.Errorf("output = %q, want both forms of the secret masked", got)
			}
		})
	}
}

func TestDebugLinesAppearOnRequestOnly(t *testing.T) {
	for debug, want := range map[string]bool{"true": true, "false": false} {
		m := message(script("s", "echo '##vso[task.debug]detail'"))
		m.Variables["system.debug"] = job.Variable{Value: debug}
		rec, _ := run(t, config(t), m)
		if got := slices.Contains(rec.output(t, "s"), "##[debug]detail"); got != want {
			t.Errorf("system.debug=%s shows the line: %t, want %t", debug, got, want)
		}
	}
}

func TestFailingOnStandardError(t *testing.T) {
	rec, _ := run(t, config(t), message(script("s", "echo out; echo bad >&2", func(s *job.Step) { s.Inputs["failOnStderr"] = "true" })))
	r := rec.record(t, "s")
	if r.Result != job.Failed || len(r.Issues) != 1 || r.Issues[0].Message != "bad" {
		t.Errorf("result %s, issues %+v, want failed because of bad", r.Result, r.Issues)
	}
}

func TestAStepThatSaysItIsDoneIsNotAwaited(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds")
	}
	rec, out := run(t, config(t), message(script("s", "echo '##vso[task.complete result=Succeeded;done=true]'\nsleep 60")))
	r := rec.record(t, "s")
	if took := r.FinishTime.Sub(r.StartTime.Time); out.Result != job.Succeeded || took.Seconds() > 10 {
		t.Errorf("result %s after %s, want succeeded after about five seconds", out.Result, took)
	}
}

func TestAFailingStepIsRetried(t *testing.T) {
	file := filepath.Join(t.TempDir(), "count")
	rec, out := run(t, config(t), message(script("s", `echo x >> `+file+`; echo "##vso[task.complete result=Failed]" ; test $(wc -l < `+file+`) -ge 2 && echo "##vso[task.complete result=Succeeded]"; echo try`,
		func(s *job.Step) {
			s.RetryCountOnTaskFailure = 2
			s.Inputs["script"] = `echo x >> ` + file + `; test $(wc -l < ` + file + `) -ge 2`
		})))
	r := rec.record(t, "s")
	if out.Result != job.Succeeded || r.WarningCount != 1 || r.ErrorCount != 0 {
		t.Errorf("job %s with %d warnings and %d errors, want succeeded with one warning", out.Result, r.WarningCount, r.ErrorCount)
	}
}
