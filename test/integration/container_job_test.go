package integration_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// podmanOnly is a stage for jobs that build nothing.
var podmanOnly = stage.Options{NoBuildkitd: true, NoRegistry: true}

// shows reports the lines that the log of a step should have and has not.
func shows(t *testing.T, r job.Report, step string, lines ...string) {
	t.Helper()
	log := strings.Join(record(t, r, step).Log, "\n") + "\n"
	for _, line := range lines {
		if !strings.Contains(log, line) {
			t.Errorf("the log of %s lacks %q:\n%s", step, line, log)
		}
	}
}

// boxedJob is a job with a container, a service, and steps in and beside them.
const boxedJob = `resources:
  containers:
  - container: tools
    image: busybox
    env: {KIND: second}
    mountReadOnly: {work: true}
container:
  image: debian
  options: --memory 256m --hostname inside
  env: {FLAVOUR: vanilla, TOKEN: $(secret)}
  volumes: [data:/data]
services:
  cache:
    image: redis:7
    ports: ["6379"]
    options: --health-cmd "redis-cli ping" --health-interval 1s
variables:
  tree: $(Build.SourcesDirectory)/tree
steps:
- checkout: none
- bash: echo "##vso[task.setvariable variable=secret;issecret=true]s3cret-of-the-job"
  target: host
- bash: |
    set -e
    echo "on $(hostname), $FLAVOUR, user $(id -u), in $PWD, temp $AGENT_TEMPDIRECTORY, work $(Agent.WorkFolder)"
    echo "tree $(tree), $TREE, -I$(tree)"
    mkdir -p tree/leaf /data/x && echo "written inside" > tree/file
    (setsid sleep 300 &) # lives as long as the container
    until exec 3<>"/dev/tcp/cache/6379"; do sleep 0.2; done; printf 'PING\r\n' >&3; head -c 5 <&3; echo
    exec 3<>"/dev/tcp/$DOCKLESS_CACHE_HOST/$(DOCKLESS_CACHE_PORT_6379)"; printf 'PING\r\n' >&3; head -c 5 <&3; echo
    echo "# summary" > "$AGENT_TEMPDIRECTORY/s.md"
    echo "##vso[task.uploadsummary]$AGENT_TEMPDIRECTORY/s.md"
    echo "##vso[task.setvariable variable=made]$PWD/tree/file"
    echo "##vso[task.setvariable variable=plain]from inside"
    echo "##vso[task.prependpath]$PWD/tree"
    echo "socket: $(test -S /var/run/docker.sock && echo there)"
  displayName: Inside
- bash: |
    echo "$TREE: $PATH in $PWD with ${#MINE} letters"
    grep -c s3cret-of-the-jo[b] /proc/*/cmdline | grep -v ':0' || echo "on no command line"
  displayName: Inside again
  workingDirectory: tree/leaf
  env: {MINE: $(secret)}
- bash: |
    set -e
    echo "plain: $(plain); $FLAVOUR; $(cat tree/file); PATH $PATH"
    podman --remote inspect $(Agent.ContainerId) > all
    grep -q inside all && ! grep s3cret-of-the-job all && echo "not in the configuration"
    rm -r tree
    echo '#!/bin/sh' > tool && echo 'echo "a tool on $(hostname)"' >> tool && chmod +x tool
  displayName: On the host
  target: host
- script: $(Build.SourcesDirectory)/tool
  displayName: A file as script
- bash: echo "##vso[task.uploadfile]/etc/hostname"
  displayName: Foreign file
  continueOnError: true
- bash: exit 7
  displayName: Code
  continueOnError: true
- bash: true
  displayName: No directory
  workingDirectory: /nowhere
  continueOnError: true
- bash: true
  displayName: No bash
  target: tools
  continueOnError: true
- bash: echo "##vso[task.setvariable variable=x]y"
  displayName: Restricted
  target: {container: host, commands: restricted, settableVariables: none}
- bash: |
    x=$(tail -c 400m /dev/zero | wc -c) || true
    dd if=/dev/zero of=/dev/null bs=400M count=1
    exit 137
  displayName: Memory
  continueOnError: true
`

func TestAJobRunsInItsContainer(t *testing.T) {
	t.Parallel()
	s := openStage(t, podmanOnly)
	startAgent(t, s, stage.AgentOptions{Name: "boxed"})
	r := finish(t, s, queue(t, s, boxedJob, "", nil))
	if r.Result != job.SucceededWithIssues {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, want succeededWithIssues", r.Result)
	}
	shows(t, r, "Inside",
		"on inside, vanilla, user 0, in /__w/1/s, temp /__w/_temp, work /__w\n", "tree /__w/1/s/tree, /__w/1/s/tree, -I/__w/1/s/tree\n",
		"+PONG\n+PONG\n", "socket: there\n")
	shows(t, r, "Inside again", "/__w/1/s/tree: /__w/1/s/tree:/usr/", " in /__w/1/s/tree/leaf with 17 letters\n", "on no command line\n")
	shows(t, r, "On the host", "plain: from inside; ; written inside; PATH /", "not in the configuration\n")
	shows(t, r, "A file as script", "a tool on inside\n")
	shows(t, r, "Foreign file", "/etc/hostname lies in a directory that container job does not share with the agent")
	shows(t, r, "Code", "Bash exited with code '7'.")
	shows(t, r, "No directory", "the working directory /nowhere cannot be used in the container: no such file or directory")
	shows(t, r, "No bash", "in container tools: looking for bash: it is not on PATH in the container", "hint: use an image that has bash")
	shows(t, r, "Restricted", "The step may not set variable x")
	shows(t, r, "Memory", "the memory of its container ran out; the limit is 256MiB")
	for _, rec := range r.Records {
		if want := map[string]job.Result{
			"Foreign file": job.SucceededWithIssues, "Code": job.SucceededWithIssues, "No directory": job.SucceededWithIssues,
			"No bash": job.SucceededWithIssues, "Memory": job.SucceededWithIssues, "Job": job.SucceededWithIssues,
		}[rec.Name]; rec.Result != want && want+rec.Result != job.Succeeded {
			t.Errorf("%s ended as %s", rec.Name, rec.Result)
		}
	}
	if left := owned(t, s, "boxed"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	work := filepath.Join(s.Dir, "boxed", "work")
	for _, dir := range []string{"_dockless", "1/s/tree"} {
		if exists(filepath.Join(work, dir)) {
			t.Errorf("%s is still there", dir)
		}
	}
	if left, err := os.ReadDir(filepath.Join(work, "_temp")); err != nil || len(left) != 0 {
		t.Errorf("left in the temp directory: %v, %v", left, err)
	}
}

// The same task as on the host, with the agent's own Node.js: the image has none.
func TestATaskFindsInAContainerWhatItsLibraryLooksFor(t *testing.T) {
	t.Parallel()
	s := openStage(t, podmanOnly)
	ref, err := s.OfferTask(t.Context(), packTask(t, filepath.Join("testdata", "task")))
	if err != nil {
		t.Fatal(err)
	}
	startAgent(t, s, stage.AgentOptions{})
	m := tourMessage(tourSteps(ref, "$(Pipeline.Workspace)/report.json"))
	m.JobContainer = "job"
	m.Resources.Containers = []job.Container{{Alias: "job", Properties: job.ContainerProperties{Image: "debian"}}}
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.SucceededWithIssues {
		dumpLog(t, r)
		t.Fatalf("the job ended as %s, want succeededWithIssues", r.Result)
	}
	checkTourReport(t, filepath.Join(s.Dir, "stage", "work", "1", "report.json"), "/__w/1/s")
	checkTourLogs(t, r)
}

// An image with another C library, or none, as Alpine's: nothing of Debian's is there.
func TestATaskRunsWhereTheImageHasNoLibraries(t *testing.T) {
	t.Parallel()
	s := openStage(t, podmanOnly)
	ref, err := s.OfferTask(t.Context(), packTask(t, filepath.Join("testdata", "task")))
	if err != nil {
		t.Fatal(err)
	}
	startAgent(t, s, stage.AgentOptions{})
	m := tourMessage(tourSteps(ref, "$(Pipeline.Workspace)/report.json")[:1])
	m.Steps[0].Target = &job.StepTarget{Target: "small"}
	m.Resources.Containers = []job.Container{{Alias: "small", Properties: job.ContainerProperties{Image: "busybox"}}}
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.SucceededWithIssues {
		dumpLog(t, r)
		t.Fatalf("the job ended as %s, want succeededWithIssues", r.Result)
	}
	shows(t, r, "Tour", "Hello World\n", "said by a tool\n", "hidden: *** and ***\n")
	shows(t, r, "Post-job: Tour", "note: kept for later, started: before World\n")
}

// boxedSleeper is a job whose step says in the workspace how it ends.
const boxedSleeper = `container: debian
steps:
- checkout: none
- bash: |
    trap 'echo interrupted > ended; exit 1' INT
    echo started > started
    sleep 600 & wait # which a trap interrupts at once
  displayName: Sleep
- bash: echo "still on $(cat ended)"
  displayName: Clean up
  condition: always()
`

func TestACanceledStepInAContainerIsInterrupted(t *testing.T) {
	t.Parallel()
	s := openStage(t, podmanOnly)
	startAgent(t, s, stage.AgentOptions{Name: "canceled"})
	j := queue(t, s, boxedSleeper, "", nil)
	sources := filepath.Join(s.Dir, "canceled", "work", "1", "s")
	eventually(t, "the step runs", time.Minute, func() bool { return exists(filepath.Join(sources, "started")) })
	if err := s.Cancel(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if got := record(t, r, "Sleep").Result; r.Result != job.Canceled || got != job.Canceled {
		dumpLog(t, r)
		t.Errorf("the job ended as %s and its step as %s, want canceled", r.Result, got)
	}
	shows(t, r, "Clean up", "still on interrupted\n")
	if left := owned(t, s, "canceled"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestTheContainersOfAKilledAgentEndWithItsNextStart(t *testing.T) {
	t.Parallel()
	s := openStage(t, podmanOnly)
	a := startAgent(t, s, stage.AgentOptions{Name: "killed"})
	queue(t, s, boxedSleeper, "", nil)
	sources := filepath.Join(s.Dir, "killed", "work", "1", "s")
	eventually(t, "the step runs", time.Minute, func() bool { return exists(filepath.Join(sources, "started")) })
	left := owned(t, s, "killed")
	box := slices.IndexFunc(left, func(what string) bool { return strings.HasPrefix(what, "container ") })
	if box < 0 {
		t.Fatalf("there is %q, want a container", left)
	}
	id := strings.TrimPrefix(left[box], "container ")
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the step is killed with its agent", time.Minute, func() bool {
		out, err := s.Podman.Command(t.Context(), "top", id, "args").Output()
		return err != nil || !strings.Contains(string(out), "sleep")
	})
	startAgent(t, s, stage.AgentOptions{Name: "killed"})
	eventually(t, "the containers are removed", time.Minute, func() bool { return len(owned(t, s, "killed")) == 0 })
}

func TestAReplayedJobRunsInItsContainer(t *testing.T) {
	t.Parallel()
	s := openStage(t, podmanOnly)
	dir := t.TempDir()
	writeFile(t, dir, "azure-pipelines.yml", "container: {image: debian, mountReadOnly: {work: true}}\nsteps:\n- checkout: none\n- script: |\n    touch x || echo \"read only\"\n    echo \"in $(Pipeline.Workspace) of $(id -u)\"\n")
	code, out := s.dockless(t, "replayed", []string{"CONTAINER_HOST=" + s.Podman.Addr(), "AZP_WORK=" + filepath.Join(dir, "work")}, "replay", filepath.Join(dir, "azure-pipelines.yml"))
	if code != 0 || !strings.Contains(out, "read only") || !strings.Contains(out, "in /__w/1 of 0") {
		t.Errorf("the replay ended with %d:\n%s", code, out)
	}
}

func TestAnImageIsPulledWithTheConnectionOfItsContainer(t *testing.T) {
	t.Parallel()
	images, err := rig.ImagesDir()
	if err != nil {
		t.Fatal(err)
	}
	const password = "p4ssword-of-the-registry"
	registry := rig.NeedRegistry(t, rig.RegistryOptions{Dir: filepath.Join(images, "store"), ReadOnly: true, User: "reader", Password: password})
	engine := rig.NeedPodman(t, rig.PodmanOptions{Insecure: []string{registry.Addr()}})
	s := openStage(t, bare)
	startAgent(t, s, stage.AgentOptions{Env: []string{"CONTAINER_HOST=" + engine.Addr(), "BUILDKIT_HOST"}})
	m := tourMessage([]job.Step{{
		ID: job.NewRecordID(), Name: "Bash", DisplayName: "Who", Condition: "succeeded()",
		Reference: job.TaskReference{ID: "6c731c3c-3c68-459a-a5c9-bde6e6595b5b", Name: "Bash", Version: "3.278.0"},
		Inputs:    map[string]string{"targetType": "inline", "script": "echo in $PWD"},
	}})
	m.JobContainer = "job"
	m.Resources.Containers = []job.Container{{
		Alias: "job", Endpoint: &job.EndpointReference{Name: "private"},
		Properties: job.ContainerProperties{Image: registry.Addr() + "/library/debian"},
	}}
	m.Resources.Endpoints = append(m.Resources.Endpoints, job.Endpoint{
		ID: "0b1c2d3e-0000-4000-8000-00000000bbbb", Name: "private", Type: "dockerregistry", URL: registry.URL(),
		Authorization: job.Authorization{Scheme: "UsernamePassword", Parameters: map[string]string{"username": "reader", "password": password, "registry": registry.URL()}},
	})
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Fatalf("the job ended as %s, want succeeded", r.Result)
	}
	shows(t, r, "Who", "in /__w/1/s\n")
}
