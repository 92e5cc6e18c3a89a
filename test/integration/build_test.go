package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/imagelayout"
	"github.com/dockless-ci/dockless/test/rig"
)

// buildHost is what a build needs: a builder and somewhere to push to.
type buildHost struct {
	*imagebuild.Builder
	setup    *buildxsetup.Builder
	daemon   *rig.Buildkitd
	registry string // address
	mirror   string // address of the one with the base images
}

func needBuildHost(t *testing.T) *buildHost {
	t.Helper()
	images := rig.NeedImages(t)
	registry := rig.NeedRegistry(t, rig.RegistryOptions{})
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: images.Addr(), Insecure: []string{registry.Addr()}})
	setup := needBuilder(t, buildxsetup.Config{Hosts: daemon.Addr(), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	h := &buildHost{Builder: imagebuild.New(setup, buildLog(t), imagebuild.Options{}), setup: setup, daemon: daemon, registry: registry.Addr(), mirror: images.Addr()}
	h.closeWith(t)
	return h
}

// closeWith closes the builder at the end of the test.
func (h *buildHost) closeWith(t *testing.T) {
	t.Cleanup(func() {
		if err := h.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("closing the builder: %v", err)
		}
	})
}

// build builds and returns the result with what was shown.
func (h *buildHost) build(t *testing.T, r imagebuild.Request) (*imagebuild.Result, string) {
	t.Helper()
	var shown bytes.Buffer
	result, err := h.Build(t.Context(), r, imagebuild.Progress{Mode: "plain", Out: &shown})
	if err != nil {
		t.Fatalf("building: %v (hints %q)\n%s", err, hint.All(err), shown.String())
	}
	return result, shown.String()
}

// empty removes everything the builder has cached. BuildKit lets go of the results of
// a build a moment after its end, so that it may take several tries.
func (h *buildHost) empty(t *testing.T) {
	t.Helper()
	for range 25 {
		if _, err := h.setup.Prune(t.Context(), buildxsetup.PruneOptions{All: true}); err != nil {
			t.Fatalf("emptying the builder: %v", err)
		}
		if !slices.ContainsFunc(h.setup.Inspect(t.Context()), func(s buildxsetup.NodeStatus) bool { return s.Usage.Records > 0 }) {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// vertices is how many of the numbered things that a build showed have name in
// their heading, which is there again whenever another one's lines came between.
func vertices(shown, name string) int {
	numbers := make(map[string]bool)
	for line := range strings.Lines(shown) {
		if number, rest, ok := strings.Cut(line, " "); ok && strings.HasPrefix(number, "#") && strings.Contains(" "+rest, name) {
			numbers[number] = true
		}
	}
	return len(numbers)
}

// shop is a context like a service's: two independent stages and a secret.
func shop(t *testing.T) string {
	t.Helper()
	return writeTree(t, map[string]string{
		"Dockerfile": `FROM busybox AS deps
WORKDIR /src
COPY deps.txt .
RUN --mount=type=secret,id=token,required=true wc -c < /run/secrets/token > /deps.out

FROM busybox AS assets
ARG COLOR=red
RUN echo $COLOR > /assets.out

FROM deps AS build
COPY main.txt .
RUN cat deps.txt main.txt > /build.out

FROM busybox
LABEL origin=dockerfile
COPY --from=build /deps.out /build.out /
COPY --from=assets /assets.out /
CMD ["cat", "/build.out"]
`,
		"deps.txt": "deps\n", "main.txt": "main\n", ".dockerignore": "ignored\n",
	})
}

const tokenValue = "correct-horse-battery-staple"

func token() imagebuild.Secret {
	return buildflags.SecretFromEnv("token", "TOKEN", func(string) (string, bool) { return tokenValue, true })
}

func TestAMultiStageBuildIsPushedWithoutItsSecret(t *testing.T) {
	h := needBuildHost(t)
	image := h.registry + "/team/shop:1"
	result, shown := h.build(t, imagebuild.Request{
		Context: shop(t), Tags: []string{image, h.registry + "/team/shop:latest"}, Push: true,
		BuildArgs: map[string]string{"COLOR": "blue"}, Labels: map[string]string{"com.example.build": "42"},
		Secrets: []imagebuild.Secret{token()},
	})
	if result.Stats.Steps != 8 || result.Stats.Cached != 0 || result.Stats.Duration <= 0 {
		t.Errorf("stats = %+v, want 8 steps, none cached", result.Stats)
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if digest, err := img.Digest(); err != nil || digest.String() != result.Digest.String() {
		t.Errorf("the registry has %v, %v, want %s", digest, err, result.Digest)
	}
	if got := result.Metadata["containerimage.digest"]; got != result.Digest.String() {
		t.Errorf("metadata digest = %v, want %s", got, result.Digest)
	}
	if got, _ := result.Metadata["image.name"].(string); !strings.Contains(got, image) {
		t.Errorf("metadata name = %q, want %s in it", got, image)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"origin": "dockerfile", "com.example.build": "42"}
	if diff := cmp.Diff(want, config.Config.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	var everything bytes.Buffer
	everything.WriteString(shown)
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	everything.Write(raw)
	files := mutate.Extract(img)
	if _, err := io.Copy(&everything, files); err != nil {
		t.Fatal(err)
	}
	if err := files.Close(); err != nil {
		t.Error(err)
	}
	if strings.Contains(everything.String(), tokenValue) {
		t.Error("the secret is in the log, the history or a layer")
	}
	for _, want := range []string{"deps\nmain\n", "blue\n", "28\n"} {
		if !strings.Contains(everything.String(), want) {
			t.Errorf("the image lacks %q", want)
		}
	}
}

func TestAnEmptyBuilderTakesTheStepsFromTheRegistry(t *testing.T) {
	h := needBuildHost(t)
	r := imagebuild.Request{
		Context: shop(t), Tags: []string{h.registry + "/shop:1"}, Push: true, Secrets: []imagebuild.Secret{token()},
		Cache: buildcache.Policy{Repo: h.registry + "/cache", Branch: "refs/heads/main", DefaultBranch: "main", Mode: buildcache.ModeSync},
	}
	cold, _ := h.build(t, r)
	if cold.Export == nil || cold.Export.Err != nil || cold.Export.Ref != h.registry+"/cache/shop:main" {
		t.Fatalf("cache export = %+v, want one to the branch's scope", cold.Export)
	}
	h.empty(t)
	warm, shown := h.build(t, r)
	if warm.Stats.Cached != warm.Stats.Steps || warm.Stats.Steps != 8 {
		t.Errorf("stats of the warm build = %+v, want all 8 steps cached\n%s", warm.Stats, shown)
	}
	h.empty(t)
	// A new branch starts from the default branch's cache; only what changed runs.
	if err := os.WriteFile(filepath.Join(r.Context, "main.txt"), []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Cache.Branch = "feature/new"
	branch, shown := h.build(t, r)
	var ran []string
	for _, s := range branch.Steps {
		if s.Ran && !s.Base {
			ran = append(ran, s.Name)
		}
	}
	want := []string{"[build 1/2] COPY main.txt .", "[build 2/2] RUN cat deps.txt main.txt > /build.out", "[stage-3 2/3] COPY --from=build /deps.out /build.out /", "[stage-3 3/3] COPY --from=assets /assets.out /"}
	if diff := cmp.Diff(want, ran, cmpUnordered()); diff != "" {
		t.Errorf("steps that ran (-want +got):\n%s\n%s", diff, shown)
	}
	if branch.Export == nil || branch.Export.Ref == cold.Export.Ref {
		t.Errorf("the branch's cache went to %+v, want a scope of its own", branch.Export)
	}
	if strings.Contains(shown, "ERROR") {
		t.Errorf("a cache that does not exist yet is shown as an error:\n%s", shown)
	}
}

func TestADeadCacheRegistryNeitherFailsNorHoldsUpABuild(t *testing.T) {
	h := needBuildHost(t)
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	quiet := silent.Addr().String()
	for name, test := range map[string]struct {
		addr    string
		noCache bool
	}{
		"that refuses":                   {"127.0.0.1:1", false},
		"that says nothing":              {quiet, false},
		"that says nothing to an export": {quiet, true},
	} {
		t.Run(name, func(t *testing.T) {
			h := &buildHost{Builder: imagebuild.New(h.setup, buildLog(t), imagebuild.Options{}), registry: h.registry} // one that remembers nothing
			start := time.Now()
			result, shown := h.build(t, imagebuild.Request{
				Context: shop(t), Tags: []string{h.registry + "/shop:1"}, Push: true, Secrets: []imagebuild.Secret{token()}, NoCache: test.noCache,
				Cache: buildcache.Policy{Repo: test.addr + "/cache", Branch: "main", TargetBranch: "release", DefaultBranch: "main", ImportTimeout: 2 * time.Second, ExportTimeout: 4 * time.Second},
			})
			if result.Digest == "" || result.Export == nil || result.Export.Err == nil {
				t.Errorf("result = %+v, want an image and the reason of the missing export\n%s", result, shown)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("the build took %s", took)
			}
		})
	}
}

func TestACacheRegistryThatDiesInBetweenDoesNotFailTheBuild(t *testing.T) {
	h := needBuildHost(t)
	var dead atomic.Bool
	cache := rig.NeedRegistry(t, rig.RegistryOptions{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if dead.Load() && strings.Contains(r.URL.Path, "/blobs/") {
				w.WriteHeader(http.StatusNotFound) // as when its layers were cleaned away
				return
			}
			next.ServeHTTP(w, r)
		})
	}})
	r := imagebuild.Request{
		Context: shop(t), Tags: []string{h.registry + "/shop:1"}, Push: true, Secrets: []imagebuild.Secret{token()},
		Cache: buildcache.Policy{Repo: cache.Addr() + "/cache", Branch: "main", Mode: buildcache.ModeSync},
	}
	h.build(t, r)
	h.empty(t)
	dead.Store(true)
	if err := os.WriteFile(filepath.Join(r.Context, "main.txt"), []byte("changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.build(t, r)
}

func TestAFailureNamesItsPlaceAndWhatToDo(t *testing.T) {
	h := needBuildHost(t)
	locked := rig.NeedRegistry(t, rig.RegistryOptions{User: "me", Password: "secret"})
	base := map[string]string{"file": "x"}
	tests := map[string]struct {
		dockerfile string
		change     func(*imagebuild.Request)
		line       int    // of a DockerfileError; zero is none
		want, hint string // parts of the error and of a hint
	}{
		"a step that fails":          {"FROM busybox\n\nRUN true && exit 7\n", nil, 3, "exit code: 7", ""},
		"an unknown instruction":     {"FROM busybox\nRUNN true\n", nil, 2, "unknown instruction: RUNN", ""},
		"a file that is not there":   {"FROM busybox\nCOPY absent /\n", nil, 2, "absent", ""},
		"a base image that is not":   {"FROM nothing-like-this:1\n", nil, 1, "nothing-like-this", ""},
		"a stage that is not there":  {"FROM busybox AS a\n", func(r *imagebuild.Request) { r.Target = "b" }, 0, "could not be found", "--target"},
		"a secret that is not given": {"FROM busybox\nRUN --mount=type=secret,id=token,required=true true\n", nil, 2, "token", "--secret"},
		"a registry that wants a login": {"FROM scratch\nCOPY file /\n", func(r *imagebuild.Request) {
			r.Tags, r.Push = []string{locked.Addr() + "/a:1"}, true
		}, 0, locked.Addr(), "log in"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			base["Dockerfile"] = test.dockerfile
			r := imagebuild.Request{Context: writeTree(t, base), Tags: []string{"a:1"}}
			if test.change != nil {
				test.change(&r)
			}
			_, err := h.Build(t.Context(), r, imagebuild.Progress{})
			if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("Build() = %v, want one line with %q", err, test.want)
			}
			place, ok := errors.AsType[*imagebuild.DockerfileError](err)
			if ok != (test.line > 0) || ok && (place.Line != test.line || !strings.HasSuffix(place.File, "Dockerfile")) {
				t.Errorf("Build() = %v, want the place Dockerfile:%d", err, test.line)
			}
			if ok {
				var excerpt bytes.Buffer
				if err := place.Excerpt(&excerpt); err != nil || !strings.Contains(excerpt.String(), ">>>") {
					t.Errorf("excerpt = %q, %v", excerpt.String(), err)
				}
			}
			if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, test.hint) {
				t.Errorf("hints = %q, want %q", hints, test.hint)
			}
		})
	}
}

func TestCancellingEndsABuildPromptly(t *testing.T) {
	h := needBuildHost(t)
	stopped := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	var at time.Time
	var shown bytes.Buffer
	p := imagebuild.Progress{Mode: "plain", Out: writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("now sleeping")) && at.IsZero() && !bytes.Contains(b, []byte("RUN")) {
			at = time.Now()
			cancel(stopped)
		}
		return shown.Write(b)
	})}
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo now sleeping; sleep 60\n"})
	time.AfterFunc(time.Minute, func() { cancel(errors.New("the step never started")) })
	_, err := h.Build(ctx, imagebuild.Request{Context: dir}, p)
	if !errors.Is(err, stopped) {
		t.Fatalf("Build() = %v, want the cause of the context\n%s", err, shown.String())
	}
	if took := time.Since(at); took > 10*time.Second {
		t.Errorf("Build() returned %s after it was told to stop", took)
	}
}

func TestAnImageIsKeptPushedLaterAndLoadedIntoPodman(t *testing.T) {
	h := needBuildHost(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Insecure: []string{h.registry}})
	image := h.registry + "/team/shop:7"
	store := imagelayout.Layout{Dir: filepath.Join(t.TempDir(), "images")}
	r := imagebuild.Request{Context: shop(t), Tags: []string{image}, Layout: store.Dir, Secrets: []imagebuild.Secret{token()}}
	result, _ := h.build(t, r)
	r.Tags = []string{"other:1"} // a second image in the same store
	h.build(t, r)

	pushed, err := store.Push(t.Context(), image, imagelayout.PushOptions{})
	if err != nil || pushed != result.Digest {
		t.Errorf("Push() = %s, %v, want %s", pushed, err, result.Digest)
	}
	archive := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.WriteArchive(t.Context(), image, "", f), f.Close()); err != nil {
		t.Fatal(err)
	}
	if out, err := engine.Command(t.Context(), "load", "-i", archive).CombinedOutput(); err != nil || !strings.Contains(string(out), image) {
		t.Fatalf("podman load: %v\n%s", err, out)
	}
	out, err := engine.Command(t.Context(), "image", "inspect", "--format", "{{.Id}}", image).CombinedOutput()
	if err != nil {
		t.Fatalf("podman image inspect: %v\n%s", err, out)
	}
	want, _ := result.Metadata["containerimage.config.digest"].(string)
	if id := strings.TrimSpace(string(out)); want != "" && "sha256:"+id != want {
		t.Errorf("podman loaded %s, want %s", id, want)
	}

	// The same straight from the build.
	var direct bytes.Buffer
	h.build(t, imagebuild.Request{Context: r.Context, Tags: []string{"direct:1"}, Secrets: r.Secrets, Load: func() (io.WriteCloser, error) { return nopClose{&direct}, nil }})
	load := engine.Command(t.Context(), "load")
	load.Stdin = &direct
	if out, err := load.CombinedOutput(); err != nil || !strings.Contains(string(out), "direct:1") {
		t.Errorf("podman load from the build: %v\n%s", err, out)
	}
}

func TestOutputsProgressAndADockerfileFromAStream(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"in.txt": "in\n"})
	var archive, events bytes.Buffer
	s := buildflags.Surroundings{Dir: dir, Stdout: &archive}
	var outputs []imagebuild.Output
	for _, flag := range []string{"out", "type=tar", "type=oci,dest=image.tar"} {
		o, err := buildflags.ParseOutput(flag, s)
		if err != nil {
			t.Fatal(err)
		}
		outputs = append(outputs, o)
	}
	_, err := h.Build(t.Context(), imagebuild.Request{
		Context: dir, DockerfileText: strings.NewReader("FROM scratch\nCOPY in.txt /copied.txt\n"), Outputs: outputs, Tags: []string{"out:1"},
	}, imagebuild.Progress{Mode: "rawjson", Out: &events})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "out", "copied.txt")); err != nil || string(got) != "in\n" {
		t.Errorf("output directory has %q, %v", got, err)
	}
	if !bytes.Contains(archive.Bytes(), []byte("copied.txt")) {
		t.Error("the tar archive lacks copied.txt")
	}
	if info, err := os.Stat(filepath.Join(dir, "image.tar")); err != nil || info.Size() == 0 {
		t.Errorf("the OCI archive is %v, %v", info, err)
	}
	lines := 0
	for decoder := json.NewDecoder(&events); ; lines++ {
		var event map[string]any
		if err := decoder.Decode(&event); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("progress event %d: %v", lines, err)
		}
	}
	if lines == 0 {
		t.Error("no progress events")
	}
}

func TestABuildkitdThatIsGoneIsNamedWithAHint(t *testing.T) {
	h := needBuildHost(t)
	if err := h.daemon.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err := h.Build(t.Context(), imagebuild.Request{Context: shop(t), Secrets: []imagebuild.Secret{token()}}, imagebuild.Progress{})
	if _, ok := errors.AsType[*buildxsetup.UnreachableError](err); !ok || !strings.Contains(strings.Join(hint.All(err), ""), "BUILDKIT_HOST") {
		t.Errorf("Build() = %v with hints %q, want an UnreachableError and BUILDKIT_HOST", err, hint.All(err))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

type nopClose struct{ io.Writer }

func (nopClose) Close() error { return nil }

// cmpUnordered compares lists of strings without their order.
func cmpUnordered() cmp.Option {
	return cmp.Transformer("set", func(list []string) map[string]int {
		set := make(map[string]int)
		for _, s := range list {
			set[s]++
		}
		return set
	})
}
