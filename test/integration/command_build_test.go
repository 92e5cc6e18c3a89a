package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// pushed reads the digest and the labels of an image from its registry.
func pushed(t *testing.T, image string, o ...remote.Option) (digest string, labels map[string]string) {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, append(o, remote.WithContext(t.Context()))...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	config, cerr := img.ConfigFile()
	if err := errors.Join(err, cerr); err != nil {
		t.Fatal(err)
	}
	return d.String(), config.Config.Labels
}

func TestTheBuildCommandBuildsPushesCachesAndLoads(t *testing.T) {
	s := openStage(t, stage.Options{})
	dir := shop(t)
	image := s.Registry.Addr() + "/team/shop"
	metadata := filepath.Join(t.TempDir(), "metadata.json")
	id := filepath.Join(t.TempDir(), "id")
	args := []string{
		"build", dir, "-t", image + ":1", "-t", image + ":latest", "--push", "--progress", "plain",
		"--secret", "id=token,env=BUILD_TOKEN", "--build-arg", "COLOR=blue", "--label", "com.example.build=42",
		"--metadata-file", metadata, "--iidfile", id,
	}
	env := []string{"BUILD_TOKEN=" + tokenValue, "BUILD_SOURCEBRANCH=refs/heads/main"}

	cold := s.typed(t, "typed", "", env, args...).want(t, 0)
	for _, want := range []string{"[assets 2/2] RUN echo blue", "[build 2/2] RUN cat deps.txt main.txt", "\n0 of 8 steps cached\n"} {
		if !strings.Contains(strings.ReplaceAll(cold.stderr, "$COLOR", "blue"), want) {
			t.Errorf("the progress lacks %q:\n%s", want, cold.stderr)
		}
	}
	if strings.Contains(cold.stdout+cold.stderr, tokenValue) {
		t.Error("the secret is in the output")
	}
	digest, labels := pushed(t, image+":1")
	if diff := cmp.Diff(map[string]string{"origin": "dockerfile", "com.example.build": "42"}, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if latest, _ := pushed(t, image+":latest"); latest != digest {
		t.Errorf("the second tag has %s, want %s", latest, digest)
	}
	var written struct {
		Digest string `json:"containerimage.digest"`
		Name   string `json:"image.name"`
	}
	if err := json.Unmarshal([]byte(read(t, metadata)), &written); err != nil {
		t.Fatal(err)
	}
	if written.Digest != digest || !strings.Contains(written.Name, image+":latest") || read(t, id) != digest {
		t.Errorf("metadata = %+v, id = %s, want the digest %s", written, read(t, id), digest)
	}

	if err := s.Buildkitd.Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	if warm := s.typed(t, "typed", "", env, args...).want(t, 0); !strings.Contains(warm.stderr, "\n8 of 8 steps cached\n") {
		t.Errorf("an emptied builder took too little from the registry:\n%s", warm.stderr)
	}
	dead := s.typed(t, "typed", "", append(env, "DOCKLESS_CACHE_REPO=127.0.0.1:1/cache"), args...).want(t, 0)
	if !strings.Contains(dead.stderr, "warning: no cache for the next build: ") {
		t.Errorf("nothing is said about the dead cache registry:\n%s", dead.stderr)
	}

	// Caches named by hand, as a script written for buildx does.
	ref := s.Registry.Addr() + "/by-hand/cache"
	byHand := append(args, "--cache-to", "type=registry,mode=max,ref="+ref, "--cache-from", "type=registry,ref="+ref)
	for _, want := range []string{"\n0 of 8 steps cached\n", "\n8 of 8 steps cached\n"} {
		if err := s.Buildkitd.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f := s.typed(t, "typed", "", append(env, "DOCKLESS_CACHE_REPO"), byHand...).want(t, 0); !strings.Contains(f.stderr, want) {
			t.Errorf("with caches named by hand, the output lacks %q:\n%s", want, f.stderr)
		}
	}

	quiet := s.typed(t, "typed", "", env, "build", dir, "--quiet", "--load", "-t", "local/shop:1", "--secret", "id=token,env=BUILD_TOKEN").want(t, 0)
	if !strings.HasPrefix(quiet.stdout, "sha256:") || strings.Count(quiet.stdout, "\n") != 1 || quiet.stderr != "" {
		t.Errorf("stdout and stderr of a quiet build = %q, %q, want only the digest", quiet.stdout, quiet.stderr)
	}
	if out, err := s.Podman.Command(t.Context(), "run", "--rm", "local/shop:1").CombinedOutput(); err != nil || string(out) != "deps\nmain\n" {
		t.Errorf("running the loaded image = %v, %q", err, out)
	}
}

func TestABuildThatFailsShowsThePlace(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true, NoRegistry: true})
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\n\nRUN echo last words; exit 7\n"})
	f := s.typed(t, "typed", "", nil, "build", dir, "--progress", "plain").want(t, 1)
	f.wantError(t, "", "Dockerfile:3", "exit code: 7")
	if !strings.Contains(f.stderr, "last words") {
		t.Errorf("the output of the step is not shown:\n%s", f.stderr)
	}
}

// sleeper is a step that runs for longer than any test, and under arguments that
// no other process has.
func sleeper() (step string, args []string) {
	seconds := fmt.Sprint(100_000 + os.Getpid())
	return "RUN echo asleep; exec sleep " + seconds + "\n", []string{"sleep", seconds}
}

func TestSIGINTEndsABuildAndItsSteps(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true, NoRegistry: true})
	step, process := sleeper()
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\n" + step})
	metadata := filepath.Join(t.TempDir(), "metadata.json")
	f := s.interrupted(t, syscall.SIGINT, "the step runs", func() bool { return runs(process...) },
		"typed", "", nil, "build", dir, "--progress", "plain", "--metadata-file", metadata).want(t, 130)
	f.wantError(t, "", "signal")
	eventually(t, "the step has gone", 30*time.Second, func() bool { return !runs(process...) })
	if exists(metadata) {
		t.Error("an interrupted build wrote its metadata")
	}
}

func TestAnAgentKilledInABuildLeavesBuildkitdFree(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{
		NoPodman:      true,
		EmulatorFlags: []string{"--lock", "10s", "--lock-grace", "1s", "--session-expiry", "3s", "--poll", "2s"},
	})
	step, process := sleeper()
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\n" + step})
	pipeline := func(dir string) string {
		return "steps:\n- checkout: none\n- bash: cp -r " + dir + "/. .\n- task: Docker@2\n  displayName: Build\n  inputs:\n    command: build\n    repository: doomed\n    Dockerfile: Dockerfile\n"
	}
	a := startAgent(t, s, stage.AgentOptions{Name: "doomed"})
	j := queue(t, s, pipeline(dir), "", nil)
	eventually(t, "the build's step runs", time.Minute, func() bool { return runs(process...) })
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "buildkitd ended the step", 30*time.Second, func() bool { return !runs(process...) })

	startAgent(t, s, stage.AgentOptions{Name: "doomed"})
	if st := await(t, s, j, "abandoned", stage.Status.Completed); st.Result != "abandoned" {
		t.Errorf("the job of the killed agent ended as %s, want abandoned", st.Result)
	}
	next := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo alive\n"})
	if r := finish(t, s, queue(t, s, pipeline(next), "", nil)); r.Result != "succeeded" {
		dumpLog(t, r)
		t.Errorf("the build after the restart ended as %s, want succeeded", r.Result)
	}
}

func TestABuilderIsRepairedWhenItsEndpointChanged(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true, NoRegistry: true})
	other := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: s.Mirror, TCP: true})
	config := dockerConfig(t)
	inspect := func() string { return docker(t, config, nil, "buildx", "inspect") }
	for _, addr := range []string{s.Buildkitd.Addr(), other.TCPAddr(), s.Buildkitd.Addr()} {
		env := []string{"DOCKER_CONFIG=" + config, "BUILDKIT_HOST=" + addr}
		f := s.typed(t, "typed", "", env, "builder", "ensure").want(t, 0)
		if want := "builder dockless is ready: " + addr + "\n"; f.stdout != want {
			t.Errorf("builder ensure = %q, want %q", f.stdout, want)
		}
		if got := inspect(); !strings.Contains(got, addr) || !strings.Contains(got, "running") || strings.Contains(got, "dockless1") {
			t.Errorf("docker buildx inspect does not show one running node at %s:\n%s", addr, got)
		}
	}
	var seen struct {
		Name  string
		Nodes []struct {
			Endpoint  string
			Version   string
			Platforms []string
		}
	}
	f := s.typed(t, "typed", "", []string{"DOCKER_CONFIG=" + config}, "builder", "inspect", "--output", "json").want(t, 0)
	if err := json.Unmarshal([]byte(f.stdout), &seen); err != nil {
		t.Fatalf("%v:\n%s", err, f.stdout)
	}
	if len(seen.Nodes) != 1 || seen.Nodes[0].Endpoint != s.Buildkitd.Addr() || seen.Nodes[0].Version == "" || len(seen.Nodes[0].Platforms) == 0 {
		t.Errorf("builder inspect = %+v", seen)
	}
	// One that does not answer is told in time and named; what was right stays.
	start := time.Now()
	env := []string{"DOCKER_CONFIG=" + config, "BUILDKIT_HOST=tcp://127.0.0.1:9", "DOCKLESS_BUILDKIT_TIMEOUT=1s"}
	s.typed(t, "typed", "", env, "builder", "ensure").want(t, 1).wantError(t, "BUILDKIT_HOST", "tcp://127.0.0.1:9")
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s to say that nobody answers", took)
	}
	if got := inspect(); !strings.Contains(got, s.Buildkitd.Addr()) {
		t.Errorf("the builder that worked was replaced:\n%s", got)
	}
	s.typed(t, "typed", "", []string{"DOCKER_CONFIG=" + config}, "builder", "rm").want(t, 0)
	if exists(filepath.Join(config, "buildx", "instances", "dockless")) {
		t.Error("builder rm left the builder")
	}
}
