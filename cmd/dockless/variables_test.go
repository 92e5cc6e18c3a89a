package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/job"
)

// predefined are the names of language §3.1 that every job on a branch has. Left
// out are those of pull requests, of other triggers and of containers, and
// agent.disableLogPlugin.*, which name no value.
const predefined = `Agent.BuildDirectory Pipeline.Workspace Agent.HomeDirectory Agent.RootDirectory Agent.Id Agent.JobName
	Agent.JobStatus Agent.MachineName Agent.Name Agent.OS Agent.OSArchitecture Agent.TempDirectory Agent.ToolsDirectory
	Agent.WorkFolder Agent.Version agent.retainDefaultEncoding
	Build.ArtifactStagingDirectory Build.StagingDirectory System.ArtifactsDirectory Build.BinariesDirectory
	Build.SourcesDirectory Build.BuildId Build.BuildNumber Build.BuildUri Build.ContainerId Build.DefinitionName
	System.DefinitionName Build.DefinitionVersion Build.QueuedBy Build.QueuedById Build.RequestedFor Build.RequestedForId
	Build.Reason Build.Repository.Clean Build.Repository.ID Build.Repository.Name Build.Repository.Uri
	Build.Repository.Provider Build.Repository.LocalPath Build.Repository.Git.SubmoduleCheckout Build.SourceBranch
	Build.SourceBranchName Build.SourceVersion Build.SourceVersionMessage Common.TestResultsDirectory
	System System.HostType System.ServerType System.Culture System.CollectionId System.CollectionUri
	System.TeamFoundationCollectionUri System.TaskDefinitionsUri System.TeamFoundationServerUri System.TeamProject
	System.TeamProjectId System.DefinitionId System.StageName System.StageDisplayName System.StageId System.StageAttempt
	System.PhaseName System.PhaseDisplayName System.PhaseId System.PhaseAttempt System.JobName System.JobDisplayName
	System.JobId System.JobIdentifier System.JobAttempt System.JobPositionInPhase System.TotalJobsInPhase
	System.JobParallelismTag System.JobTimeout System.PlanId System.TimelineId System.DefaultWorkingDirectory
	System.PipelineStartTime System.EnableAccessToken System.PullRequest.IsFork System.IsScheduled System.WorkFolder`

// exported are what the agent adds to the environment besides variables.
const exported = `TF_BUILD GIT_TERMINAL_PROMPT VSTS_PROCESS_LOOKUP_ID SYSTEM_TASKINSTANCENAME SYSTEM_TASKINSTANCEID
	SYSTEM_TASKDISPLAYNAME TASK_DISPLAYNAME AZURE_HTTP_USER_AGENT MSDEPLOY_HTTP_USER_AGENT AGENT_JOBSTATUS agent.jobstatus`

// Language §3.1, §3.4 and §3.6: a script finds every predefined variable in its
// environment, and no secret, input or service connection.
func TestAScriptFindsEveryPredefinedVariableAndNoSecret(t *testing.T) {
	s := startTaskStage(t)
	repo := committed(t)
	seen := filepath.Join(t.TempDir(), "env")
	text := fmt.Sprintf(`
variables:
- name: plain.One
  value: first
- name: wraps
  value: <$(hidden)>
steps:
- bash: env -0 > %s
  name: show
  env: {GIVEN: $(hidden), EMPTY: ""}
`, seen)
	r, err := s.QueuePipeline(t.Context(), []byte(text), emulator.Pipeline{
		Repo: repo, Variables: map[string]job.Variable{"hidden": {Value: "hidden-value-7", IsSecret: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.wantResult(s.await(r.Jobs[0].ID), job.Succeeded)
	env := environmentIn(t, seen)
	for name := range strings.FieldsSeq(predefined) {
		if env[strings.ToUpper(strings.ReplaceAll(name, ".", "_"))] == "" {
			t.Errorf("variable %s is missing", name)
		}
	}
	for name := range strings.FieldsSeq(exported) {
		if env[name] == "" {
			t.Errorf("entry %s is missing", name)
		}
	}
	for name, want := range map[string]string{
		"PLAIN_ONE": "first", "GIVEN": "hidden-value-7", "AGENT_JOBSTATUS": "Succeeded", "SYSTEM_TASKINSTANCENAME": "show",
		"BUILD_SOURCEBRANCH": "refs/heads/main", "BUILD_SOURCEBRANCHNAME": "main", "BUILD_REASON": "Manual", "SYSTEM_HOSTTYPE": "build",
		"BUILD_SOURCEVERSIONMESSAGE": "begin", "SYSTEM_JOBIDENTIFIER": "Job.__default", "TF_BUILD": "True",
		"BUILD_STAGINGDIRECTORY": filepath.Join(s.work, "1", "a"), "SYSTEM_DEFAULTWORKINGDIRECTORY": filepath.Join(s.work, "1", "s"),
		"AZURE_HTTP_USER_AGENT": "VSTS_" + env["SYSTEM_COLLECTIONID"] + "_build_" + env["SYSTEM_DEFINITIONID"] + "_0",
	} {
		if env[name] != want {
			t.Errorf("%s is %q, want %q", name, env[name], want)
		}
	}
	for name, value := range env {
		for _, prefix := range []string{"SECRET_", "INPUT_", "ENDPOINT_", "SECUREFILE_", "VSTS_SECRET", "VSTS_TASKVARIABLE_"} {
			if strings.HasPrefix(name, prefix) {
				t.Errorf("a script is given %s, which only tasks may have", name)
			}
		}
		if strings.Contains(value, "hidden-value-7") && name != "GIVEN" {
			t.Errorf("a secret is in the environment as %s", name)
		}
	}
}

// await waits for the end of a job and returns its report.
func (s *taskStage) await(id job.ID) job.Report {
	s.t.Helper()
	s.AwaitState(id, emulator.Completed)
	report, err := s.Report(id)
	if err != nil {
		s.t.Fatal(err)
	}
	return report
}

// committed makes a repository with one commit on main.
func committed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"config", "user.name", "a tester"},
		{"config", "user.email", "tester@example.com"},
		{"commit", "-q", "--allow-empty", "-m", "begin"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v\n%s", args, err, out)
		}
	}
	return dir
}

// environmentIn reads what `env -0` wrote.
func environmentIn(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	env := make(map[string]string)
	for entry := range bytes.SplitSeq(data, []byte{0}) {
		if name, value, ok := strings.Cut(string(entry), "="); ok {
			env[name] = value
		}
	}
	return env
}
