package runner_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// Protocol §8.16 and language §1.15.
func TestTheWorkspaceIsCleanedAsTheJobAsks(t *testing.T) {
	fill := `for d in "$BUILD_SOURCESDIRECTORY" "$BUILD_ARTIFACTSTAGINGDIRECTORY" "$BUILD_BINARIESDIRECTORY" "$COMMON_TESTRESULTSDIRECTORY" "$AGENT_TEMPDIRECTORY" "$PIPELINE_WORKSPACE"; do touch "$d/left"; done; mkdir -p "$BUILD_BINARIESDIRECTORY/closed/in" && touch "$BUILD_BINARIESDIRECTORY/closed/in/file" && chmod 0555 "$BUILD_BINARIESDIRECTORY/closed/in"`
	look := `cd "$PIPELINE_WORKSPACE"; find . .. -maxdepth 2 -name left -not -path '*/_tool/*' | sort -u | sed 's|\.\./1/|./|' | sort -u`
	for clean, want := range map[string][]string{
		"":                    {"./b/left", "./left", "./s/left"},
		"outputs":             {"./left", "./s/left"},
		"resources":           {"./b/left", "./left"},
		"all":                 nil,
		"build.clean outputs": {"./left", "./s/left"},
		"build.clean src":     {"./b/left", "./left"},
		"build.clean All":     nil,
		"build.clean true":    {"./b/left", "./left", "./s/left"}, // of the checkout only
	} {
		t.Run("clean "+clean, func(t *testing.T) {
			cfg := config(t)
			if _, out := run(t, cfg, message(script("fill", fill))); out.Result != job.Succeeded {
				t.Fatalf("filling: %s", out.Result)
			}
			m := message(script("look", look))
			if word, old := strings.CutPrefix(clean, "build.clean "); old {
				m.Variables["build.clean"] = job.Variable{Value: word}
			} else {
				m.Workspace = &job.Workspace{Clean: clean}
			}
			rec, _ := run(t, cfg, m)
			if diff := cmp.Diff(want, append([]string(nil), rec.output(t, "look")...)); diff != "" {
				t.Errorf("what is left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestToolsAreKeptWhereTheEnvironmentSays(t *testing.T) {
	t.Chdir(t.TempDir()) // of the agent, not of its steps
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere, cfg := t.TempDir(), config(t)
	for value, want := range map[string]string{
		"": filepath.Join(cfg.Work, "_tool"), elsewhere + "/a/../b": filepath.Join(elsewhere, "b"), "tools": filepath.Join(here, "tools"),
	} {
		c := cfg
		c.Environment = append(slices.Clone(cfg.Environment), "AGENT_TOOLSDIRECTORY="+value)
		rec, _ := run(t, c, message(script("look", `echo "$(Agent.ToolsDirectory)"; cd "$AGENT_TOOLSDIRECTORY" && pwd`)))
		if got := rec.output(t, "look"); !slices.Equal(got, []string{want, want}) {
			t.Errorf("AGENT_TOOLSDIRECTORY=%s puts tools into %q, want %s for tasks and for scripts", value, got, want)
		}
	}
}

// What a job puts in the place of the temp directory is removed, not followed.
func TestTheTempDirectoryIsNeverALink(t *testing.T) {
	cfg, outside := config(t), t.TempDir()
	write(t, filepath.Join(outside, "file"), "precious")
	temp := filepath.Join(cfg.Work, "_temp")
	for range 2 {
		_, out := run(t, cfg, message(script("s", `rm -rf "$AGENT_TEMPDIRECTORY"; ln -s "`+outside+`" "$AGENT_TEMPDIRECTORY"`)))
		if info, err := os.Lstat(temp); err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 || out.Result != job.Succeeded {
			t.Errorf("job %s; the temp directory afterwards: %v, %v", out.Result, info, err)
		}
		if err := os.Remove(temp); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, temp); err != nil { // as if the agent had died before it cleaned up
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
		t.Error(err)
	}
}

func TestEachPipelineHasItsOwnDirectory(t *testing.T) {
	cfg := config(t)
	number := func(definition string) string {
		m := message(script("s", `basename "$PIPELINE_WORKSPACE"`))
		m.Variables["system.definitionId"] = job.Variable{Value: definition}
		rec, _ := run(t, cfg, m)
		return strings.Join(rec.output(t, "s"), "")
	}
	if got := number("7") + number("8") + number("7") + number("9"); got != "1213" {
		t.Errorf("directories of pipelines 7, 8, 7, 9 = %s, want 1213", got)
	}
}

func TestADamagedMapOfTheWorkFolderIsReported(t *testing.T) {
	cfg := config(t)
	write(t, filepath.Join(cfg.Work, "SourceRootMapping", "mapping.json"), "{")
	rec, out := run(t, cfg, message(script("s", "true")))
	if i := rec.record(t, "Initialize job").Issues; out.Result != job.Failed || len(i) != 1 || !strings.Contains(i[0].Message, "mapping.json") {
		t.Errorf("job %s, issues %+v", out.Result, i)
	}
}

func TestStepsKnowWhereTheyAre(t *testing.T) {
	cfg := config(t)
	cfg.Environment = append(cfg.Environment, "INHERITED=yes")
	cfg.Path = []string{"/ours"}
	rec, _ := run(t, cfg, message(script("some.step", strings.Join([]string{
		`echo "$(pwd | sed "s|$AGENT_WORKFOLDER/||") $AGENT_OS $AGENT_ISSELFHOSTED $AGENT_NAME"`,
		`echo "$TF_BUILD $GIT_TERMINAL_PROMPT $SYSTEM_TASKINSTANCENAME $INHERITED ${PATH%%:*}"`,
		`env | grep -E '^agent.jobstatus='; echo "$AGENT_JOBSTATUS $(INHERITED) $(agent.jobName)"`,
		`echo "$DOCKLESS_AGENT ${#DOCKLESS_JOB} ${VSTS_PROCESS_LOOKUP_ID%%_*}"`,
		`echo "${DOCKLESS_WARM_SCOPES%-*}"`,
		`env | grep -cE '^(SECRET_|INPUT_|ENDPOINT_)'; true`,
	}, "\n"))))
	want := []string{
		"1/s Linux 1 " + cfg.AgentName, "True 0 some.step yes /ours", "agent.jobstatus=Succeeded", "Succeeded yes The job",
		cfg.AgentName + " 36 vsts", "none", "0",
	}
	if diff := cmp.Diff(want, rec.output(t, "some.step")); diff != "" {
		t.Errorf("output (-want +got):\n%s", diff)
	}
}

func TestAStackReadsWhatTheTargetKeptAndWritesForItself(t *testing.T) {
	var scopes [3]string
	for i, m := range []*job.Message{
		of("refs/heads/main", nil),
		of("refs/pull/1/merge", map[string]string{"system.pullRequest.targetBranch": "refs/heads/main"}),
		of("refs/pull/1/merge", map[string]string{"system.pullRequest.targetBranch": "refs/heads/main", "build.isFork": "True"}),
	} {
		m.Steps = append(m.Steps, script("show", `echo "$DOCKLESS_WARM_SCOPES"`))
		rec, _ := run(t, config(t), m)
		scopes[i] = strings.Join(rec.output(t, "show"), "\n")
	}
	pull, target, _ := strings.Cut(scopes[1], ",")
	fork, again, _ := strings.Cut(scopes[2], ",")
	if scopes[0] == "" || target != scopes[0] || again != scopes[0] || pull == fork || pull == target || fork == target {
		t.Errorf("scopes are %q, want one; one's own and that; another one and that", scopes)
	}
}

func TestAJobWithServicesNeedsPodman(t *testing.T) {
	m := message(getSources("self", nil), script("s", "true"))
	m.JobSidecarContainers = map[string]string{"db": "mysql"}
	rec, out := run(t, config(t), m)
	if got := rec.record(t, "Checkout self").Result; got != job.Skipped {
		t.Errorf("the sources: %s, want skipped", got)
	}
	if out.Result != job.Failed || rec.record(t, "Initialize containers").Result != job.Failed || rec.record(t, "s").Result != job.Skipped {
		t.Errorf("job %s, want failed in Initialize containers", out.Result)
	}
	if log := strings.Join(rec.log(t, "Initialize containers"), "\n"); !strings.Contains(log, "hint: set CONTAINER_HOST") {
		t.Errorf("log without a hint:\n%s", log)
	}
}

func TestSettingsThatCannotBeUsedAreAllReported(t *testing.T) {
	_, err := runner.New(runner.Config{NativeTasks: "perhaps"}, nil)
	for _, want := range []string{"AZP_WORK", "DOCKLESS_NATIVE_TASKS", "name"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want it to name %s", err, want)
		}
	}
}

func TestScriptsThatCannotRun(t *testing.T) {
	bashStep := func(pairs ...string) job.Step {
		s := job.Step{ID: job.NewRecordID(), Name: "s", DisplayName: "s", Reference: bash, Inputs: map[string]string{}}
		for i := 0; i < len(pairs); i += 2 {
			s.Inputs[pairs[i]] = pairs[i+1]
		}
		return s
	}
	file := filepath.Join(t.TempDir(), "it's.sh")
	write(t, file, `echo "$1"; exit ${2:-0}`)
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		step job.Step
		want job.Result
		text string
	}{
		"no directory":       {bashStep("targetType", "inline", "script", "true", "workingDirectory", "nowhere"), job.Failed, "does not exist"},
		"no file":            {bashStep("filePath", "nowhere.sh"), job.Failed, "is no file"},
		"a file":             {bashStep("filePath", file, "arguments", `"two words" 0`), job.Succeeded, "two words"},
		"a failing file":     {bashStep("targetType", "FilePath", "filePath", file, "arguments", "x 4"), job.Failed, "Bash exited with code '4'."},
		"killed":             {bashStep("targetType", "inline", "script", "kill -9 $$"), job.Failed, "memory"},
		"the file as script": {script("s", "exit.sh"), job.Failed, "Bash exited with code '127'."},
	} {
		t.Run(name, func(t *testing.T) {
			rec, out := run(t, config(t), message(c.step))
			if log := strings.Join(rec.log(t, "s"), "\n"); out.Result != c.want || !strings.Contains(log, c.text) {
				t.Errorf("job %s, want %s and %q in\n%s", out.Result, c.want, c.text, log)
			}
		})
	}
}
