package integration_test

import (
	"encoding/base64"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// dockerTask is Docker@2 as the server names it in a job message.
var dockerTask = job.TaskReference{ID: "e28912f1-0114-4464-802a-a3a35437fd16", Name: "Docker", Version: "2.279.0"}

// dockerStep is a step of Docker@2.
func dockerStep(name string, inputs map[string]string) job.Step {
	return job.Step{Type: "task", ID: job.NewRecordID(), Name: strings.ReplaceAll(name, " ", ""), DisplayName: name, Reference: dockerTask, Inputs: inputs}
}

// bashStep is a step of Bash@3.
func bashStep(name, script string) job.Step {
	step := scriptMessage(script, nil, nil).Steps[0]
	step.Name, step.DisplayName = strings.ReplaceAll(name, " ", ""), name
	return step
}

// connection is a service connection of type Docker Registry, as job messages
// have it.
func connection(id, address, user, password string) job.Endpoint {
	return job.Endpoint{
		ID: id, Name: "the registry", Type: "dockerregistry", URL: address,
		Authorization: job.Authorization{Scheme: "UsernamePassword", Parameters: map[string]string{
			"registry": address, "username": user, "password": password, "email": "",
		}},
	}
}

func TestTheDockerTaskUsesARegistryThroughAServiceConnection(t *testing.T) {
	const user, password = "bobby", "pa55-word-of-the-registry"
	s := openStage(t, stage.Options{})
	locked := rig.NeedRegistry(t, rig.RegistryOptions{User: user, Password: password})
	startAgent(t, s, stage.AgentOptions{Name: "docker"})
	sources := writeTree(t, map[string]string{"Dockerfile": `FROM busybox AS base
ARG COLOR=red
RUN echo $COLOR > /color; echo '##vso[task.complete result=Failed]not of the task'
FROM base
RUN --mount=type=secret,id=token,required=true wc -c < /run/secrets/token > /size
CMD ["cat", "/color", "/size"]
`})
	with := func(command string, more map[string]string) map[string]string {
		inputs := map[string]string{"command": command, "containerRegistry": "R", "repository": "Team/Web", "tags": "v1\nv2"}
		maps.Copy(inputs, more)
		return inputs
	}
	image := locked.Addr() + "/team/web" // names of images are in lower case
	build := dockerStep("Build", with("build", map[string]string{
		"Dockerfile": "Dockerfile", "arguments": "--build-arg COLOR=blue --label com.example.team=web --secret id=token,env=TOKEN --metadata-file web.json",
	}))
	build.Environment = map[string]string{"TOKEN": "$(token)"}

	m := scriptMessage("", map[string]job.Variable{
		"token":                              {Value: tokenValue, IsSecret: true},
		"system.teamFoundationCollectionUri": {Value: "https://dev.azure.com/contoso/"},
		"build.sourceBranch":                 {Value: "refs/heads/main"},
		"build.buildNumber":                  {Value: "20260101.7"},
	}, nil)
	m.Resources.Endpoints = append(m.Resources.Endpoints, connection("R", "http://"+locked.Addr(), user, password))
	bare := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo bare > /color\n"})
	m.Steps = []job.Step{
		bashStep("Copy", "cp -r "+sources+"/. ."),
		build,
		bashStep("Run", "docker run --rm "+image+":v1; cat web.json"),
		dockerStep("Push", with("push", nil)),
		bashStep("Copy the other", "cp -r "+bare+"/. ."),
		dockerStep("Both", with("buildAndPush", map[string]string{"repository": "Team/Both", "tags": "$(build.buildNumber)", "Dockerfile": "Dockerfile"})),
		bashStep("Output", `xargs cat <<<"$(Both.DockerOutput)" # one file for each command`),
		dockerStep("Log in", map[string]string{"command": "login", "containerRegistry": "R"}),
		bashStep("Push by script", "docker buildx build --push --progress plain -t "+locked.Addr()+"/team/script:1 ."),
		dockerStep("Log out", map[string]string{"command": "logout"}),
		bashStep("Refused", "if docker buildx build --push --progress plain -t "+locked.Addr()+"/team/refused:1 . ; then exit 1; fi"),
	}
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Fatalf("the job ended as %s, want succeeded", r.Result)
	}

	if log := strings.Join(record(t, r, "Run").Log, "\n"); !strings.Contains(log, "blue\n28") {
		t.Errorf("the image that the task built does not run in a script:\n%s", log)
	}
	login := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	digest, labels := pushed(t, image+":v1", login)
	if second, _ := pushed(t, image+":v2", login); second != digest {
		t.Errorf("the second tag has %s, want %s", second, digest)
	}
	if log := strings.Join(record(t, r, "Push").Log, "\n"); !strings.Contains(log, image+":v2: digest: "+digest) {
		t.Errorf("the log of the push does not tell the digest %s:\n%s", digest, log)
	}
	if labels["com.example.team"] != "web" || labels["image.base.ref.name"] != "busybox" {
		t.Errorf("labels = %q, want the argument's and the base image's", labels)
	}
	// Language §5.4: the task's own labels begin with the collection's reversed host.
	own := slices.ContainsFunc(slices.Collect(maps.Keys(labels)), func(name string) bool {
		return strings.HasSuffix(name, ".image.system.teamfoundationcollectionuri")
	})
	if !own {
		t.Errorf("labels = %q, want the task's own too", labels)
	}
	if log := strings.Join(record(t, r, "Run").Log, "\n"); !strings.Contains(log, digest) {
		t.Errorf("the metadata file does not tell the digest %s:\n%s", digest, log)
	}
	both, _ := pushed(t, locked.Addr()+"/team/both:20260101.7", login)
	if log := strings.Join(record(t, r, "Output").Log, "\n"); !strings.Contains(log, both) {
		t.Errorf("the output variable of the task does not lead to the digest %s:\n%s", both, log)
	}
	pushed(t, locked.Addr()+"/team/script:1", login)
	if len(r.Builds) != 2 || r.Builds[0].Digest != digest || r.Builds[1].Digest != both {
		t.Errorf("builds = %+v, want %s and %s", r.Builds, digest, both)
	}
	for _, b := range r.Builds {
		if len(b.Reasons) != b.Steps-b.Cached || b.Steps == 0 {
			t.Errorf("build %+v, want a reason for each step that ran", b)
		}
	}
	if log := strings.Join(record(t, r, "Build").Log, "\n"); !strings.Contains(log, "no record of an earlier build") {
		t.Errorf("the log of the build does not say why its steps ran:\n%s", log)
	}
	if exported := s.registryHas(t, "cache/team/web"); !exported {
		t.Error("the build wrote no cache to DOCKLESS_CACHE_REPO")
	}
	everything := strings.Builder{}
	for _, rec := range r.Records {
		everything.WriteString(strings.Join(rec.Log, "\n"))
	}
	for _, secret := range []string{password, tokenValue, base64.StdEncoding.EncodeToString([]byte(user + ":" + password))} {
		if strings.Contains(everything.String(), secret) {
			t.Errorf("the logs hold %s", secret)
		}
	}
}

// registryHas reports whether a repository of the stage's registry has tags.
func (s testStage) registryHas(t *testing.T, repository string) bool {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Registry.URL()+"/v2/"+repository+"/tags/list", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // its status is all
	return resp.StatusCode == http.StatusOK
}

func TestTheDockerTaskNamesAConnectionThatTheJobMayNotUse(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{NoPodman: true})
	startAgent(t, s, stage.AgentOptions{})
	m := scriptMessage("", nil, nil)
	m.Steps = []job.Step{dockerStep("Push", map[string]string{"command": "push", "containerRegistry": "elsewhere", "repository": "web"})}
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	log := strings.Join(record(t, r, "Push").Log, "\n")
	if r.Result != job.Failed || !strings.Contains(log, `"elsewhere"`) || !strings.Contains(log, "containerRegistry") {
		t.Errorf("the job ended as %s, want failed with the connection and the input named:\n%s", r.Result, log)
	}
}

// serviceMessage is a job with one service and one script.
func serviceMessage(c job.ContainerProperties, script string) *job.Message {
	m := scriptMessage(script, nil, nil)
	m.JobSidecarContainers = map[string]string{"web": "image"}
	m.Resources.Containers = []job.Container{{Alias: "image", Properties: c}}
	return m
}

func TestAServiceThatEndsWhileTheStepsRunIsToldAsAWarning(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	startAgent(t, s, stage.AgentOptions{Name: "brief"})
	m := serviceMessage(job.ContainerProperties{
		Image: "busybox", Command: `sh -c "until test -e /gate/open; do sleep 0.2; done; echo oh; exit 3"`, Volumes: []string{s.Dir + ":/gate"},
	}, "touch "+filepath.Join(s.Dir, "open")+"; sleep 5")
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	told := false
	for _, rec := range r.Records {
		for _, issue := range rec.Issues {
			told = told || issue.Type == job.Warning && strings.Contains(issue.Message, "Service web ended with exit code 3")
		}
	}
	if !told || !r.Result.OK() {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, and a warning about the service: %t; want a job that succeeded with one", r.Result, told)
	}
	if left := owned(t, s, "brief"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestServicesWithoutPodmanFailTheJobAndNameTheSetting(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	startAgent(t, s, stage.AgentOptions{Env: alone})
	j, err := s.QueueMessage(t.Context(), serviceMessage(job.ContainerProperties{Image: "busybox"}, "echo never"))
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	log := strings.Join(record(t, r, "Initialize containers").Log, "\n")
	if r.Result != job.Failed || !strings.Contains(log, "CONTAINER_HOST") {
		t.Errorf("the job ended as %s, want failed with CONTAINER_HOST named:\n%s", r.Result, log)
	}
}
