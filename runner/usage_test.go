package runner_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// footer matches what a log says of the processes of its step: the figure, its unit,
// and what it is of.
var footer = regexp.MustCompile(`^Peak memory (?:at most )?(\d+) (KiB|MiB) \((all processes and cached files|largest process)\), CPU \d+\.\d+ s$`)

func TestTheLogOfAStepEndsWithWhatItUsed(t *testing.T) {
	again := script("again", "dd if=/dev/zero of=/dev/null bs=10M count=1 2>/dev/null; exit 1", func(s *job.Step) { s.RetryCountOnTaskFailure = 1 })
	rec, _ := run(t, config(t), message(script("large", "dd if=/dev/zero of=/dev/null bs=100M count=1 2>/dev/null"), again))
	for name, least := range map[string]int{"large": 95, "again": 9} {
		lines := rec.log(t, name)
		found := footer.FindStringSubmatch(lines[len(lines)-2])
		if found == nil || found[2] != "MiB" {
			t.Fatalf("the last lines of %q are %q", name, lines[len(lines)-2:])
		}
		if peak, _ := strconv.Atoi(found[1]); peak < least || found[3] == "all processes and cached files" && peak > least+30 {
			t.Errorf("%q: %s, want about %d MiB", name, lines[len(lines)-2], least)
		}
		if n := len(slices.DeleteFunc(lines, func(l string) bool { return !isFooter(l) })); n != 1 {
			t.Errorf("%q has %d footers, want one for all tries", name, n)
		}
		t.Logf("measured here: %s", found[0])
	}
	for _, name := range []string{"Initialize job", "Finalize Job"} {
		if lines := rec.log(t, name); slices.ContainsFunc(lines, isFooter) {
			t.Errorf("%q ran no process and has a footer: %q", name, lines)
		}
	}
}

func TestTheGroupsOfAJobAreGoneAfterIt(t *testing.T) {
	// The step leaves a process behind, which the job's end finds.
	m := message(script("one", "sleep 60 >/dev/null 2>&1 & cat /proc/self/cgroup"), script("two", "cat /proc/self/cgroup"))
	rec, _ := run(t, config(t), m)
	text := strings.Join(append(rec.output(t, "one"), rec.output(t, "two")...), "\n")
	if strings.Contains(text, "dockless.") {
		for _, step := range []string{"/step-2", "/step-3"} {
			if !strings.Contains(text, string(m.JobID)+step) {
				t.Errorf("no step was in a group %q:\n%s", step, text)
			}
		}
	} else {
		t.Log("no groups can be made here: nothing must be left all the same")
	}
	left, err := filepath.Glob("/sys/fs/cgroup/*/*" + string(m.JobID) + "*")
	deeper, _ := filepath.Glob("/sys/fs/cgroup/*/*/*/*" + string(m.JobID) + "*")
	if len(left)+len(deeper) > 0 || err != nil {
		t.Errorf("groups that are left: %q, %q, %v", left, deeper, err)
	}
	for _, issue := range rec.record(t, "Finalize Job").Issues {
		t.Errorf("the job's end says: %s", issue.Message)
	}
}

// A process that was killed by anybody but the kernel did not lack memory.
func TestAKillIsNotTakenForLackOfMemory(t *testing.T) {
	for name, text := range map[string]string{"the shell": "kill -9 $$", "a command": "bash -c 'kill -9 $$'", "a code": "exit 137"} {
		rec, _ := run(t, config(t), message(script("s", text)))
		issues := rec.record(t, "s").Issues
		want := regexp.MustCompile(`^Bash exited with code '137': it, or a process that it started, was ended by SIGKILL(, and not for lack of memory as far as the kernel tells\.|\. The kernel does not tell this agent whether )`)
		if len(issues) != 1 || !want.MatchString(issues[0].Message) {
			t.Errorf("%s: issues = %+v", name, issues)
		}
	}
}

// limited gives this process, and so the jobs in it, at most so much more memory.
// It returns false where that cannot be done: the tests then play lack of memory with
// a SIGKILL of nobody in particular, and are of what is said without a group.
func limited(t *testing.T, bytes int) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^\d+:memory:(.*)$`).FindSubmatch(text)
	if found == nil {
		t.Log("no memory groups of version 1 here")
		return false
	}
	own := filepath.Join("/sys/fs/cgroup/memory", string(found[1]))
	group := filepath.Join(own, fmt.Sprintf("lab-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no groups can be made here: %v", err)
		return false
	}
	put := func(dir, file, word string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(word), 0o600); err != nil {
			t.Error(err)
		}
	}
	put(group, "memory.limit_in_bytes", strconv.Itoa(bytes))
	put(group, "cgroup.procs", strconv.Itoa(os.Getpid()))
	t.Cleanup(func() {
		put(own, "cgroup.procs", strconv.Itoa(os.Getpid()))
		for range 100 {
			if err = os.Remove(group); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Error(err)
	})
	return true
}

// roomy is a limit that the tests themselves stay far below, with the race detector
// too; fill is a small program that does not.
const (
	roomy = 256 << 20
	fill  = "dd if=/dev/zero of=/dev/null bs=500M count=1"
	// glutton makes the kernel choose what follows instead of the tests.
	glutton = "echo 1000 >/proc/self/oom_score_adj; "
)

func TestLackOfMemoryIsReportedAsThat(t *testing.T) {
	if !limited(t, roomy) {
		killsWithoutAGroup(t)
		return
	}
	// Only who may read the kernel's log is told the name, and not when it wrote too
	// much at once.
	const victim, itself = `(a process of "bash"|process "dd")`, `(process "bash"|process "dd")`
	limit := `limit 256 MiB set by the memory limit of control group "[^"]*/lab-\d+"`
	for name, c := range map[string]struct {
		text, want string
		result     job.Result
	}{
		"the last command":   {glutton + fill, `^The step ran out of memory: the kernel ended ` + victim + ` \(peak 25\d MiB, ` + limit + `\)\.$`, job.Failed},
		"the program itself": {glutton + "exec " + fill, `^The step ran out of memory: the kernel ended ` + itself + ` \(peak 25\d MiB, ` + limit + `\)\.$`, job.Failed},
		"another code":       {glutton + fill + " || exit 3", `the kernel ended ` + victim + ` \(peak 25\d MiB, ` + limit + `\); Bash exited with code '3'\.$`, job.Failed},
		"no failure":         {glutton + fill + " || true; echo on", `^The kernel ended (a process|process "dd") of the step because the memory ran out \(peak 25\d MiB, ` + limit + `\)\.$`, job.Succeeded},
		"two of them":        {glutton + fill + "; " + fill, `^The step ran out of memory: the kernel ended 2 processes(, "dd" the last of them| of "bash") \(`, job.Failed},
	} {
		rec, out := run(t, config(t), message(script("s", c.text)))
		issues := rec.record(t, "s").Issues
		if len(issues) != 1 || !regexp.MustCompile(c.want).MatchString(issues[0].Message) || out.Result != c.result {
			t.Errorf("%s: job %s, issues = %+v", name, out.Result, issues)
		}
		if all := rec.log(t, "s"); c.result == job.Failed && !slices.ContainsFunc(all, func(l string) bool { return strings.HasPrefix(l, "hint: raise the memory limit") }) {
			t.Errorf("%s: no advice in\n%s", name, strings.Join(all, "\n"))
		}
	}
	// The steps after it are not blamed for it.
	rec, _ := run(t, config(t), message(script("one", glutton+fill+" || true"), script("two", "bash -c 'kill -9 $$'")))
	if issues := rec.record(t, "two").Issues; len(issues) != 1 || !strings.Contains(issues[0].Message, "not for lack of memory") {
		t.Errorf("the step after one that lacked memory: %+v", issues)
	}
}

// killsWithoutAGroup is what a step says of a SIGKILL when nobody knows why it came.
func killsWithoutAGroup(t *testing.T) {
	t.Helper()
	const unknown = `it, or a process that it started, was ended by SIGKILL(, and not for lack of memory as far as the kernel tells\.|\. The kernel does not tell this agent whether the memory ran out, which is the usual reason\.)$`
	const kill = "bash -c 'kill -9 $$'"
	for name, c := range map[string]struct {
		text, want string // "": no issue
		result     job.Result
	}{
		"the last command":   {kill, `^Bash exited with code '137': ` + unknown, job.Failed},
		"the program itself": {"kill -9 $$", `^Bash exited with code '137': ` + unknown, job.Failed},
		"another code":       {kill + " || exit 3", `^Bash exited with code '3'\.$`, job.Failed},
		"no failure":         {kill + " || true; echo on", "", job.Succeeded},
	} {
		rec, out := run(t, config(t), message(script("s", c.text)))
		issues := rec.record(t, "s").Issues
		told := len(issues) == 1 && regexp.MustCompile(c.want).MatchString(issues[0].Message)
		if out.Result != c.result || c.want == "" && len(issues) > 0 || c.want != "" && !told {
			t.Errorf("%s: job %s, issues = %+v", name, out.Result, issues)
		}
		if all := rec.log(t, "s"); !slices.ContainsFunc(all, isFooter) || slices.ContainsFunc(all, func(l string) bool { return strings.Contains(l, "raise the memory limit") }) {
			t.Errorf("%s: want what the step used and no advice about memory in\n%s", name, strings.Join(all, "\n"))
		}
	}
}

// What the end of a step left running can lack memory later.
func TestAKillAfterTheEndOfItsStepIsToldWithTheJobs(t *testing.T) {
	end, want := fill, `a process that step "one" had left running`
	if !limited(t, roomy) {
		end, want = "bash -c 'kill -9 $$'", "" // without a group nobody counts it
	}
	dir := t.TempDir()
	server := fmt.Sprintf("mkfifo %s/go %[1]s/done; ("+glutton+"read x <%[1]s/go; %[2]s; echo >%[1]s/done) >/dev/null 2>&1 &", dir, end)
	rec, out := run(t, config(t), message(script("one", server), script("two", fmt.Sprintf("echo >%s/go; read x <%[1]s/done; echo fine", dir))))
	issues := rec.record(t, "Finalize Job").Issues
	told := len(issues) == 1 && strings.Contains(issues[0].Message, want)
	if out.Result != job.Succeeded || want == "" && len(issues) > 0 || want != "" && !told || strings.Join(rec.output(t, "two"), "") != "fine" {
		t.Errorf("job %s, issues of its end = %+v, step two %q", out.Result, issues, rec.output(t, "two"))
	}
}
