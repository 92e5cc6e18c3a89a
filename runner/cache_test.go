package runner_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

var cacheTask = job.TaskReference{ID: "D53CCAB4-555E-4494-9D06-11DB043FB4A9", Name: "Cache", Version: "2.274.0"}

func cacheStep(inputs ...string) job.Step {
	s := job.Step{ID: job.NewRecordID(), Name: "Cache", DisplayName: "Cache", Reference: cacheTask, Inputs: map[string]string{"key": "a | b", "path": "kept", "cacheHitVar": "hit"}}
	for i := 0; i < len(inputs); i += 2 {
		s.Inputs[inputs[i]] = inputs[i+1]
	}
	return s
}

// of makes a job of a branch, with what the server says besides.
func of(branch string, variables map[string]string, steps ...job.Step) *job.Message {
	m := message(steps...)
	m.Variables["build.sourceBranch"] = job.Variable{Value: branch, IsReadOnly: true}
	m.Variables["system.definitionId"] = job.Variable{Value: "12"}
	for name, value := range variables {
		m.Variables[name] = job.Variable{Value: value, IsReadOnly: true}
	}
	return m
}

const (
	showKept = `echo "hit is $(hit), kept: $(cat kept/file 2>/dev/null)"`
	makeKept = `mkdir -p kept && [ -e kept/file ] || echo $(build.sourceBranch) > kept/file`
)

// cached runs a job that restores, shows, and fills the folder, in a fresh work
// folder with the caches of dir.
func cached(t *testing.T, dir string, m *job.Message) (shown string, rec *recorder, out runner.Outcome) {
	t.Helper()
	cfg := config(t)
	cfg.CacheDir, cfg.CacheSize = dir, "1GiB"
	rec, out = run(t, cfg, m)
	if slices.ContainsFunc(m.Steps, func(s job.Step) bool { return s.Name == "show" }) {
		shown = strings.Join(rec.output(t, "show"), "\n")
	}
	return shown, rec, out
}

func TestWhatOneJobCachedTheNextFinds(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "caches")
	steps := func(inputs ...string) []job.Step {
		return []job.Step{cacheStep(inputs...), script("show", showKept), script("make", makeKept)}
	}
	fork := map[string]string{
		"system.pullRequest.targetBranch": "refs/heads/main", "system.pullRequest.isFork": "True",
		"system.pullRequest.sourceRepositoryUri": "https://example.com/fork",
	}
	for _, c := range []struct {
		name, branch string
		variables    map[string]string
		inputs       []string
		want         string
	}{
		{"nothing yet", "refs/heads/main", nil, nil, "hit is false, kept: "},
		{"the same branch", "refs/heads/main", nil, nil, "hit is true, kept: refs/heads/main"},
		{"another branch", "refs/heads/x", nil, nil, "hit is false, kept: "},
		{"a pull request reads its target's", "refs/pull/1/merge", map[string]string{"system.pullRequest.targetBranch": "refs/heads/main"}, nil, "hit is true, kept: refs/heads/main"},
		{"a fork reads it, too", "refs/pull/2/merge", fork, nil, "hit is true, kept: refs/heads/main"},
		{"a fork saves a key", "refs/pull/2/merge", fork, []string{"key", "evil"}, "hit is false, kept: "},
		{"for itself", "refs/pull/2/merge", fork, []string{"key", "evil"}, "hit is true, kept: refs/pull/2/merge"},
		{"and not for its target", "refs/heads/main", nil, []string{"key", "evil", "restoreKeys", "evil"}, "hit is false, kept: "},
		{"the beginning of a key", "refs/heads/main", nil, []string{"key", "a | c", "restoreKeys", "x\na"}, "hit is inexact, kept: refs/heads/main"},
		{"a salt", "refs/heads/main", map[string]string{"AZP_CACHING_SALT": "2"}, nil, "hit is false, kept: "},
		{"another pipeline", "refs/heads/main", map[string]string{"system.definitionId": "13"}, nil, "hit is false, kept: "},
	} {
		shown, rec, out := cached(t, dir, of(c.branch, c.variables, steps(c.inputs...)...))
		if out.Result != job.Succeeded || shown != c.want {
			t.Errorf("%s: job %s showed %q, want %q\n%s", c.name, out.Result, shown, c.want, strings.Join(rec.log(t, "Cache"), "\n"))
		}
	}
}

// A step can change what it calls its branch, and that changes nothing.
func TestAStepOfAForkCannotChooseTheScope(t *testing.T) {
	dir := t.TempDir()
	fork := map[string]string{"build.isFork": "True", "agent.readOnlyVariables": "false"}
	m := of("refs/pull/2/merge", fork, script("lie",
		"echo '##vso[task.setvariable variable=build.sourceBranch]refs/heads/main'\necho '##vso[task.setvariable variable=build.isFork]False'\necho '##vso[task.setvariable variable=system.pullRequest.isFork]False'"),
		cacheStep(), script("make", "mkdir kept && echo evil > kept/file"))
	if _, _, out := cached(t, dir, m); out.Result != job.Succeeded {
		t.Fatalf("the job is %s", out.Result)
	}
	if shown, _, _ := cached(t, dir, of("refs/heads/main", nil, cacheStep(), script("show", showKept))); shown != "hit is false, kept: " {
		t.Errorf("main got %q of the fork", shown)
	}
}

func TestOnlyWhatSucceededIsSaved(t *testing.T) {
	issues := script("issues", "exit 1", func(s *job.Step) { s.ContinueOnError = true })
	for name, c := range map[string]struct {
		steps []job.Step
		saved bool
	}{
		"succeeded":               {[]job.Step{cacheStep(), script("make", makeKept)}, true},
		"failed":                  {[]job.Step{cacheStep(), script("make", makeKept), script("fail", "exit 1")}, false},
		"with issues":             {[]job.Step{cacheStep(), script("make", makeKept), issues}, false},
		"with issues, as asked":   {[]job.Step{cacheStep("saveOnPartialSuccess", "true"), script("make", makeKept), issues}, true},
		"the restore was skipped": {[]job.Step{func() job.Step { s := cacheStep(); s.Condition = "false"; return s }(), script("make", makeKept)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cached(t, dir, of("refs/heads/main", nil, c.steps...))
			found, err := filepath.Glob(filepath.Join(dir, "*", "*.entry"))
			if err != nil || (len(found) == 1) != c.saved {
				t.Errorf("saved %q, %v; want one: %t", found, err, c.saved)
			}
		})
	}
}

func TestTheKeyIsHashedAgainWhenItIsSaved(t *testing.T) {
	dir := t.TempDir()
	m := of("refs/heads/main", nil, script("lock", "echo 1 > lock.json"), cacheStep("key", "npm | lock.json"), script("make", makeKept+"; echo 2 > lock.json"))
	_, rec, out := cached(t, dir, m)
	after := rec.record(t, "Post-job: Cache")
	if out.Result != job.Succeeded || len(after.Issues) != 1 || !strings.Contains(after.Issues[0].Message, "saved under the new key") {
		t.Errorf("job %s, issues %+v; want one warning", out.Result, after.Issues)
	}
	shown, _, _ := cached(t, dir, of("refs/heads/main", nil, script("lock", "echo 2 > lock.json"), cacheStep("key", "npm | lock.json"), script("show", showKept)))
	if shown != "hit is true, kept: refs/heads/main" {
		t.Errorf("the new key gave %q", shown)
	}
}

func TestBadCacheInputsFailTheStep(t *testing.T) {
	for want, inputs := range map[string][]string{
		"the input key is empty":  {"key", " "},
		"the input path is empty": {"path", ""},
		"reserved":                {"key", "a | **"},
		"File not found: a.lock":  {"key", "a.lock"},
		"the input restoreKeys":   {"restoreKeys", "'x'"},
	} {
		_, rec, out := cached(t, t.TempDir(), of("refs/heads/main", nil, cacheStep(inputs...)))
		issues := rec.record(t, "Cache").Issues
		if out.Result != job.Failed || len(issues) != 1 || !strings.Contains(issues[0].Message, want) {
			t.Errorf("%q: job %s, issues %+v; want %q", inputs, out.Result, issues, want)
		}
	}
}

func TestACacheOfTheWorkFolderIsTheDefault(t *testing.T) {
	cfg := config(t)
	cfg.CacheSize = "1MiB"
	_, out := run(t, cfg, of("refs/heads/main", nil, cacheStep(), script("make", makeKept)))
	found, err := filepath.Glob(filepath.Join(cfg.Work, "_caches", "*", "*.entry"))
	if out.Result != job.Succeeded || err != nil || len(found) != 1 {
		t.Errorf("job %s, entries %q, %v", out.Result, found, err)
	}
	cfg.CacheSize = "a lot"
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "DOCKLESS_CACHE_DIR_SIZE") {
		t.Errorf("Validate = %v", err)
	}
}

func TestADeadCacheRegistryIsAWarning(t *testing.T) {
	cfg := config(t)
	cfg.CacheSize, cfg.CacheRepo = "1MiB", "127.0.0.1:1/cache"
	rec, out := run(t, cfg, of("refs/heads/main", nil, cacheStep(), script("show", showKept), script("make", makeKept)))
	if issues := rec.record(t, "Cache").Issues; out.Result != job.Succeeded || len(issues) != 1 || issues[0].Type != job.Warning {
		t.Errorf("job %s, issues %+v; want one warning", out.Result, issues)
	}
	if !slices.Contains(rec.output(t, "show"), "hit is false, kept: ") {
		t.Errorf("the next step saw %q", rec.output(t, "show"))
	}
}
