package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// runPipeline runs all jobs of a pipeline to their end, and returns the run's id and
// the report of each job by its name.
func (s *taskStage) runPipeline(text string) (int, map[string]job.Report) {
	s.t.Helper()
	run, err := s.QueuePipeline(s.t.Context(), []byte(text), emulator.Pipeline{Pool: s.Pool})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(s.t.Context(), time.Minute, errors.New("not within a minute"))
	defer cancel()
	reports := make(map[string]job.Report)
	for _, j := range run.Jobs {
		if _, err := s.Await(ctx, j.ID, emulator.Completed); err != nil {
			s.t.Fatal(err)
		}
		if reports[j.Name], err = s.Report(j.ID); err != nil {
			s.t.Fatal(err)
		}
	}
	return run.Run, reports
}

// wantResults fails the test, with all logs, when a job ended otherwise.
func (s *taskStage) wantResults(reports map[string]job.Report, want map[string]job.Result) {
	s.t.Helper()
	for name, result := range want {
		s.t.Logf("job %s", name)
		s.wantResult(reports[name], result)
	}
}

func logOf(t *testing.T, r job.Report, name string) string {
	t.Helper()
	return strings.Join(recordNamed(t, r, name).Log, "\n")
}

func TestAnArtifactOfOneJobIsDownloadedByTheNext(t *testing.T) {
	s := startTaskStage(t)
	out := t.TempDir()
	_, reports := s.runPipeline(`
jobs:
- job: build_linux
  steps:
  - checkout: none
  - bash: |
      mkdir -p out/bin out/.git out/many && cd out
      head -c 12582912 /dev/urandom > bin/app.bin
      yes compressible | head -c 9000000 > text.txt
      : > empty
      printf small > bin/small.txt
      printf no > skipped.log
      printf git > .git/config
      for i in $(seq 300); do echo $i > many/$i; done
      find . -name .git -prune -o -type f ! -name skipped.log -print0 | sort -z | xargs -0 sha256sum > ` + out + `/want
      printf '*.log\n.git/\n.artifactignore\n' > .artifactignore
      rm .artifactignore && mkdir ../ignoring && cp -r . ../ignoring/ && printf '*.log\n.git/\n.artifactignore\n' > ../ignoring/.artifactignore
    workingDirectory: $(Pipeline.Workspace)
  - publish: $(Pipeline.Workspace)/ignoring
    artifact: named
    displayName: named
  - publish: $(Pipeline.Workspace)/out/bin/small.txt
    displayName: default name
  - publish: $(Pipeline.Workspace)/out/bin
    artifact: NAMED
    displayName: again
    continueOnError: true
  - task: PublishBuildArtifacts@1
    displayName: drop
    inputs: { PathtoPublish: $(Pipeline.Workspace)/out/many, ArtifactName: drop }
  - task: PublishBuildArtifacts@1
    displayName: more of drop
    inputs: { PathtoPublish: $(Pipeline.Workspace)/out/bin/small.txt, ArtifactName: drop }
- job: test
  dependsOn: build_linux
  steps:
  - checkout: none
  - download: current
    artifact: named
  - bash: sha256sum --quiet -c ` + out + `/want && find . -type f | wc -l > ` + out + `/count
    displayName: check
    workingDirectory: $(Pipeline.Workspace)/named
  - download: current
    displayName: all
    patterns: |
      */*.txt
      drop/1?
  - task: DownloadBuildArtifacts@0
    name: fetched
    inputs: { downloadType: single, artifactName: DROP, itemPattern: "drop/2??" }
  - bash: |
      cat $(Pipeline.Workspace)/buildlinux/small.txt
      ls $(Pipeline.Workspace)/drop | sort -n | tr '\n' ' '
      ls $(System.ArtifactsDirectory)/drop | wc -l
      echo run $(fetched.BuildNumber) is $(Build.BuildId)
    displayName: look
`)
	s.wantResults(reports, map[string]job.Result{"build_linux": job.SucceededWithIssues, "test": job.Succeeded})
	if log := logOf(t, reports["build_linux"], "again"); !strings.Contains(log, "has an artifact NAMED already") {
		t.Errorf("a second publish said\n%s", log)
	}
	if log := logOf(t, reports["build_linux"], "named"); !strings.Contains(log, "speaks no public protocol") {
		t.Errorf("the log does not say where the artifact is:\n%s", log)
	}
	if log := logOf(t, reports["build_linux"], "drop"); !strings.Contains(log, "Async Command Start: artifact.upload") || !strings.Contains(log, "Uploading 300 files") {
		t.Errorf("the upload said\n%s", log)
	}
	if count, err := os.ReadFile(filepath.Join(out, "count")); err != nil || strings.TrimSpace(string(count)) != "304" {
		t.Errorf("downloaded %s files, %v; want 304", count, err)
	}
	look := logOf(t, reports["test"], "look")
	for _, want := range []string{"\nsmallsmall.txt 10 11 12 13 14 15 16 17 18 19 100\n", "\nrun 501 is 501\n"} {
		if !strings.Contains(look, want) {
			t.Errorf("the downloads left\n%s\nwant %q", look, want)
		}
	}
}

// hasty makes the pauses between attempts of an upload short.
func hasty(t *testing.T) func(agent.JobFunc) agent.JobFunc {
	connections := ado.NewHTTP()
	t.Cleanup(connections.CloseIdleConnections)
	return func(run agent.JobFunc) agent.JobFunc {
		return func(ctx context.Context, m *job.Message, c agent.Conn) (job.Result, error) {
			var err error
			c.Builds, err = ado.NewBuildClient(m, ado.Options{
				HTTP: connections, Log: slog.New(slog.DiscardHandler), UserAgent: "dockless/test", Timeout: 10 * time.Second,
				Retries: ado.DefaultRetries, RetryPause: 10 * time.Millisecond,
			})
			if err != nil {
				return "", err
			}
			return run(ctx, m, c)
		}
	}
}

func TestArtifactsSurviveFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault emulator.Fault
		want  job.Result
	}{
		"a part fails twice":         {emulatortest.Status("PUT /Containers/", 503, 2), job.Succeeded},
		"an answer is lost":          {emulator.Fault{Match: "PUT /Containers/", Kind: emulator.FaultReset, Every: 2, Count: 3}, job.Succeeded},
		"the connection breaks":      {emulator.Fault{Match: "PUT /Containers/", Kind: emulator.FaultDrop, Count: 2}, job.Succeeded},
		"a download breaks":          {emulator.Fault{Match: "GET /Containers/", Kind: emulator.FaultDrop, Every: 2, Count: 1}, job.Succeeded},
		"associating fails for once": {emulatortest.Status("POST /artifacts$", 503, 1), job.Succeeded},
		"the server is away":         {emulator.Fault{Match: "PUT /Containers/", Kind: emulator.FaultDrop}, job.Failed},
		"no space on the server":     {emulatortest.Status("PUT /Containers/", 507, 0), job.Failed},
	} {
		t.Run(name, func(t *testing.T) {
			s := startTaskStageWith(t, hasty(t))
			s.Fail(c.fault)
			_, reports := s.runPipeline(`
jobs:
- job: both
  steps:
  - checkout: none
  - bash: mkdir a && head -c 9000000 /dev/urandom > a/large && echo small > a/small
  - publish: a
    artifact: a
    displayName: publish
  - download: current
    artifact: a
  - bash: diff -r a $(Pipeline.Workspace)/a
`)
			s.wantResult(reports["both"], c.want)
			if c.want == job.Failed {
				if log := logOf(t, reports["both"], "publish"); !strings.Contains(log, "##[error]uploading ") {
					t.Errorf("the log does not name the file:\n%s", log)
				}
			}
		})
	}
}

// A step that failed after it had sent its files leaves nothing in the artifact of
// the next one, though nobody can remove files from the container.
func TestAPipelineArtifactHasNothingOfAFailedAttempt(t *testing.T) {
	s := startTaskStageWith(t, hasty(t))
	s.Fail(emulatortest.Status("POST /artifacts$", 400, 1))
	_, reports := s.runPipeline(`
jobs:
- job: both
  steps:
  - checkout: none
  - bash: mkdir one two && echo 1 > one/first && echo 2 > two/second
  - publish: one
    artifact: a
    continueOnError: true
  - publish: two
    artifact: a
  - download: current
    artifact: a
  - bash: diff -r two $(Pipeline.Workspace)/a
`)
	s.wantResult(reports["both"], job.SucceededWithIssues)
}

func TestPartsOfLargeFilesAreCompressedOnlyWhenThatHelps(t *testing.T) {
	s := startTaskStage(t)
	m := emulatortest.Script(
		"mkdir a && head -c 12582912 /dev/urandom > a/random && yes | head -c 12582912 > a/text && : > a/empty",
		`echo "##vso[artifact.upload artifactname=a;Browsable=true]$PWD/a"`)
	id, report := s.run(m)
	s.wantResult(report, job.Succeeded)
	parts := make(map[string]int)
	for _, c := range s.Calls(id) {
		if c.Resource == "Containers" {
			parts[c.Note]++
		}
	}
	if parts["a/random"] != 3 || parts["a/text"] != 1 || parts["a/empty"] != 1 {
		t.Errorf("parts %v, want three of random bytes, one of a text and one of nothing", parts)
	}
	artifacts := s.Artifacts(id)
	if len(artifacts) != 1 || artifacts[0].Source != string(id) || artifacts[0].Resource.Properties["browsable"] != "true" ||
		artifacts[0].Resource.Properties["artifactsize"] != "25165824" {
		t.Errorf("artifacts %+v", artifacts)
	}
}
