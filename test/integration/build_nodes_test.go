package integration_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/imagelayout"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// nodesHost is a builder of several nodes.
type nodesHost struct {
	*imagebuild.Builder
	setup    *buildxsetup.Builder
	daemons  []*rig.Buildkitd
	nodes    []string // names, as the daemons
	registry string
	logged   *lockedBuffer
}

// needNodes starts a buildkitd for each query, for example "?platforms=linux/arm64".
func needNodes(t *testing.T, queries ...string) *nodesHost {
	t.Helper()
	images := rig.NeedImages(t)
	h := &nodesHost{registry: rig.NeedRegistry(t, rig.RegistryOptions{}).Addr(), logged: &lockedBuffer{}}
	var hosts []string
	for _, query := range queries {
		d := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: images.Addr(), Insecure: []string{h.registry}})
		h.daemons, hosts = append(h.daemons, d), append(hosts, d.Addr()+query)
	}
	setup := needBuilder(t, buildxsetup.Config{Hosts: strings.Join(hosts, ","), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	h.setup = setup
	for _, n := range setup.Nodes {
		h.nodes = append(h.nodes, n.Name)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(h.logged, t.Output()), &slog.HandlerOptions{Level: slog.LevelInfo}))
	h.Builder = imagebuild.New(setup, log, imagebuild.Options{})
	return h
}

func (h *nodesHost) build(t *testing.T, r imagebuild.Request) (*imagebuild.Result, string) {
	t.Helper()
	return (&buildHost{Builder: h.Builder}).build(t, r)
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// pushedIndex reads an index from its registry.
func pushedIndex(t *testing.T, image string) (v1.Hash, *v1.IndexManifest) {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	digest, err := index.Digest()
	manifest, merr := index.IndexManifest()
	if err := errors.Join(err, merr); err != nil {
		t.Fatal(err)
	}
	return digest, manifest
}

// machine runs in a Dockerfile and says where.
const machine = "FROM busybox AS build\nRUN uname -m > /machine\nFROM scratch\nCOPY --from=build /machine /\n"

func TestEachPlatformIsBuiltByItsOwnNodeAndTheImageIsOne(t *testing.T) {
	rig.NeedEmulator(t)
	h := needNodes(t, "?platforms=linux/amd64", "?platforms=linux/arm64")
	second := rig.NeedRegistry(t, rig.RegistryOptions{}).Addr()
	tags := []string{h.registry + "/team/shop:1", h.registry + "/team/shop:latest", h.registry + "/other:1", second + "/shop:1"}
	layout := imagelayout.Layout{Dir: filepath.Join(t.TempDir(), "images")}
	local, tarFile, ociFile := filepath.Join(t.TempDir(), "out"), filepath.Join(t.TempDir(), "out.tar"), filepath.Join(t.TempDir(), "oci.tar")
	var archive bytes.Buffer
	result, shown := h.build(t, imagebuild.Request{
		Context: writeTree(t, map[string]string{"Dockerfile": machine}), Tags: tags, Push: true,
		Platforms: []string{"linux/arm64", "linux/amd64"}, Layout: layout.Dir,
		Attestations: map[string]string{"provenance": "mode=max"},
		Annotations: map[string]string{
			"org.example.all": "m", "index:org.example.index": "i", "manifest-descriptor[linux/arm64]:org.example.arm": "d",
			"manifest[linux/amd64]:org.example.amd": "a",
		},
		Outputs: []imagebuild.Output{
			{Type: "local", Dest: local},
			{Type: "tar", Dest: tarFile},
			{Type: "oci", Dest: ociFile},
		},
		Load: func() (io.WriteCloser, error) { return nopClose{&archive}, nil },
	})
	parts := []imagebuild.Part{{Node: h.nodes[1], Platforms: []string{"linux/arm64"}}, {Node: h.nodes[0], Platforms: []string{"linux/amd64"}}}
	got := slices.Clone(result.Parts)
	for i := range got {
		if got[i].Digest == "" {
			t.Errorf("part %d has no digest", i)
		}
		got[i].Digest = ""
	}
	if diff := cmp.Diff(parts, got); diff != "" {
		t.Errorf("parts (-want +got):\n%s", diff)
	}
	digest, index := pushedIndex(t, tags[0])
	if digest.String() != result.Digest.String() || result.Metadata["containerimage.digest"] != result.Digest.String() {
		t.Errorf("the registry has %s, the metadata %v, want %s", digest, result.Metadata["containerimage.digest"], result.Digest)
	}
	for _, tag := range tags[1:] {
		if other, _ := pushedIndex(t, tag); other != digest {
			t.Errorf("%s has %s, want %s", tag, other, digest)
		}
	}
	if want := map[string]string{"org.example.index": "i"}; !cmp.Equal(want, index.Annotations) {
		t.Errorf("annotations of the index = %v, want %v", index.Annotations, want)
	}
	var platforms []string
	for _, m := range index.Manifests {
		platforms = append(platforms, m.Platform.String())
	}
	if diff := cmp.Diff([]string{"linux/arm64", "linux/amd64", "unknown/unknown", "unknown/unknown"}, platforms); diff != "" {
		t.Fatalf("manifests of the index (-want +got):\n%s", diff)
	}
	if index.Manifests[0].Annotations["org.example.arm"] != "d" || index.Manifests[1].Annotations["org.example.arm"] != "" {
		t.Errorf("annotations of the descriptors = %v, %v, want that of arm64 on the first only", index.Manifests[0].Annotations, index.Manifests[1].Annotations)
	}
	for i, attestation := range index.Manifests[2:] {
		for _, repo := range []string{h.registry + "/team/shop", h.registry + "/other", second + "/shop"} {
			ref, err := name.NewDigest(repo + "@" + attestation.Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := remote.Get(ref, remote.WithContext(t.Context())); err != nil {
				t.Errorf("the attestation is not in %s: %v", repo, err)
			}
		}
		if of := attestation.Annotations["vnd.docker.reference.digest"]; of != index.Manifests[i].Digest.String() {
			t.Errorf("attestation %d is of %s, want %s", i, of, index.Manifests[i].Digest)
		}
	}
	// Everything the index names is in every repository.
	for i, want := range []string{"aarch64\n", "x86_64\n"} {
		for _, repo := range []string{"/team/shop", "/other"} {
			ref, err := name.NewDigest(h.registry + repo + "@" + index.Manifests[i].Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			img, err := remote.Image(ref, remote.WithContext(t.Context()))
			if err != nil {
				t.Fatal(err)
			}
			manifest, err := img.Manifest()
			if err != nil {
				t.Fatal(err)
			}
			if manifest.Annotations["org.example.all"] != "m" || (manifest.Annotations["org.example.amd"] == "a") != (i == 1) {
				t.Errorf("annotations of %s = %v", index.Manifests[i].Platform, manifest.Annotations)
			}
		}
		if got := read(t, filepath.Join(local, strings.ReplaceAll(index.Manifests[i].Platform.String(), "/", "_"), "machine")); got != want {
			t.Errorf("%s ran on %q, want %q", index.Manifests[i].Platform, got, want)
		}
	}
	if got := entries(t, tarFile); !slices.Contains(got, "linux_amd64/machine") || !slices.Contains(got, "linux_arm64/machine") {
		t.Errorf("entries of the archive = %q, want a directory for each platform", got)
	}
	for _, m := range index.Manifests {
		if blob := "blobs/sha256/" + m.Digest.Hex; !slices.Contains(entries(t, ociFile), blob) {
			t.Errorf("the OCI archive lacks %s", blob)
		}
	}
	if archive.Len() == 0 {
		t.Error("nothing was loaded")
	}
	if kept, err := layout.Images(); err != nil || len(kept) != len(tags) || kept[0].Digest != result.Digest {
		t.Errorf("images in the layout = %v, %v, want the index under every tag", kept, err)
	}
	again := h.registry + "/again:1"
	if err := errors.Join(layout.Tag(t.Context(), tags[0], again), func() error { _, err := layout.Push(t.Context(), again, imagelayout.PushOptions{}); return err }()); err != nil {
		t.Errorf("pushing from the layout: %v", err)
	}
	leftovers, err := filepath.Glob(filepath.Join(layout.Dir, ".dockless-parts-*"))
	if err != nil || len(leftovers) > 0 {
		t.Errorf("left in the layout: %q, %v", leftovers, err)
	}
	for _, want := range []string{"[linux/arm64 build 2/2] RUN", "[linux/amd64 build 2/2] RUN", "[linux/arm64 internal] load build definition", "[linux/amd64] exporting to oci image format"} {
		if !strings.Contains(shown, want) {
			t.Errorf("the progress lacks %q:\n%s", want, shown)
		}
	}
	if strings.Contains(shown+h.logged.String(), "emulat") {
		t.Errorf("a pinned platform is called emulated:\n%s", shown)
	}
	if result.Stats.Steps != 4 || result.Stats.Cached != 0 {
		t.Errorf("stats = %+v, want the two steps of each platform", result.Stats)
	}
}

func TestNodesPushTheirPartsThemselvesWhenNobodyElseWantsThem(t *testing.T) {
	rig.NeedEmulator(t)
	h := needNodes(t, "?platforms=linux/amd64", "?platforms=linux/arm64")
	tags := []string{h.registry + "/team/shop:1", h.registry + "/team/shop:latest", h.registry + "/other:1"}
	result, shown := h.build(t, imagebuild.Request{
		Context: writeTree(t, map[string]string{"Dockerfile": machine}), Tags: tags, Push: true,
		Platforms: []string{"linux/amd64,linux/arm64"}, Attestations: map[string]string{"provenance": ""},
	})
	for _, tag := range tags {
		digest, index := pushedIndex(t, tag)
		if digest.String() != result.Digest.String() || len(index.Manifests) != 4 {
			t.Fatalf("%s = %s with %d manifests, want %s with four\n%s", tag, digest, len(index.Manifests), result.Digest, shown)
		}
		repo, _, _ := strings.Cut(strings.TrimPrefix(tag, h.registry), ":")
		for _, m := range index.Manifests {
			ref, err := name.NewDigest(h.registry + repo + "@" + m.Digest.String())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := remote.Get(ref, remote.WithContext(t.Context())); err != nil {
				t.Errorf("%s lacks a manifest of its index: %v", repo, err)
			}
		}
	}
	if got, want := result.Metadata["image.name"], strings.Join(tags, ","); got != want {
		t.Errorf("image.name = %v, want %s", got, want)
	}
}

func TestBuildsOfARepositoryStayOnTheirNodeUntilItHasFarMoreToDo(t *testing.T) {
	h := needNodes(t, "", "")
	r := imagebuild.Request{Context: writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo > /made\n"})}
	seen := make(map[string]int)
	for i := range 32 {
		if i >= 8 && len(seen) == 2 { // the names of sockets are drawn: of eight, all may go to one node
			break
		}
		r.Tags = []string{fmt.Sprintf("team/service%d:1", i)}
		first, _ := h.build(t, r)
		second, shown := h.build(t, r)
		if first.Node != second.Node || second.Stats.Cached != second.Stats.Steps {
			t.Errorf("built on %s, then on %s with %+v, want the same node and all cached\n%s", first.Node, second.Node, second.Stats, shown)
		}
		seen[first.Node]++
	}
	if len(seen) != 2 {
		t.Errorf("builds by node = %v, want both used", seen)
	}
	// Ten at once are too many for one node.
	r.Context = writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nARG N\nRUN sleep 2; echo $N\n"})
	nodes := make([]string, 10)
	var all sync.WaitGroup
	for i := range nodes {
		all.Go(func() {
			r := r
			r.BuildArgs = map[string]string{"N": fmt.Sprint(i)}
			result, err := h.Build(t.Context(), r, imagebuild.Progress{})
			if err != nil {
				t.Error(err)
				return
			}
			nodes[i] = result.Node
		})
	}
	all.Wait()
	if slices.Sort(nodes); nodes[0] == nodes[9] {
		t.Errorf("ten builds at once went to %q, want some elsewhere", nodes)
	}
}

func TestALostNodeIsReplacedOnce(t *testing.T) {
	h := needNodes(t, "", "")
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo now sleeping; sleep 8; echo awake\n"})
	image := h.registry + "/lost:1"
	var shown lockedBuffer
	killed := make(chan string, 1)
	started := sync.OnceFunc(func() { killed <- h.kill(t) })
	p := imagebuild.Progress{Mode: "plain", Out: writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("now sleeping")) && !bytes.Contains(b, []byte("RUN")) {
			started()
		}
		return shown.Write(b)
	})}
	result, err := h.Build(t.Context(), imagebuild.Request{Context: dir, Tags: []string{image}, Push: true}, p)
	if err != nil {
		t.Fatalf("%v\n%s", err, shown.String())
	}
	lost := <-killed
	if result.Parts[0].Retried != lost || result.Node == lost {
		t.Errorf("parts = %+v, want the other node in place of %s", result.Parts, lost)
	}
	if digest, _ := pushed(t, image); digest != result.Digest.String() {
		t.Errorf("the registry has %s, want %s", digest, result.Digest)
	}
	if result.Stats.Steps != 1 || !result.Steps[len(result.Steps)-1].Ran {
		t.Errorf("steps = %+v, want those of the second attempt only", result.Steps)
	}
	for _, want := range []string{"node " + lost + " was lost: building again on node " + result.Node, "ERROR: the connection to node " + lost + " was lost"} {
		if !strings.Contains(shown.String(), want) {
			t.Errorf("the progress lacks %q:\n%s", want, shown.String())
		}
	}
	// The dead node is left out from now on.
	start := time.Now()
	for i := range 4 {
		r := imagebuild.Request{Context: dir, Tags: []string{fmt.Sprintf("lost%d:1", i)}, BuildArgs: map[string]string{}}
		if again, _ := h.build(t, r); again.Node == lost {
			t.Errorf("build %d went to the dead node", i)
		}
	}
	t.Logf("four builds without the node took %s", time.Since(start))
}

// A node that is done may go, whatever the others still have to do.
func TestANodeThatIsDoneMayBeLost(t *testing.T) {
	rig.NeedEmulator(t)
	h := needNodes(t, "?platforms=linux/amd64", "?platforms=linux/arm64")
	dir := writeTree(t, map[string]string{
		"Dockerfile": "FROM busybox\nARG TARGETARCH\nRUN if [ $TARGETARCH = arm64 ]; then sleep 7; fi\n",
	})
	image := h.registry + "/done:1"
	var shown lockedBuffer
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		begun, idle := false, 0
		for idle < 3 && t.Context().Err() == nil { // three looks: there may be questions before the solve
			if active(t, h.daemons[0]) > 0 {
				begun, idle = true, 0
			} else if begun {
				idle++
			}
			time.Sleep(100 * time.Millisecond)
		}
		if active(t, h.daemons[1]) == 0 {
			t.Error("the slow node is done as well: nothing is proved")
		}
		if err := h.daemons[0].Kill(); err != nil {
			t.Error(err)
		}
	}()
	p := imagebuild.Progress{Mode: "plain", Out: &shown}
	result, err := h.Build(t.Context(), imagebuild.Request{
		Context: dir, Tags: []string{image}, Push: true, Platforms: []string{"linux/amd64", "linux/arm64"},
		Attestations: map[string]string{"provenance": ""}, // for an index on each node
	}, p)
	if err != nil {
		t.Fatalf("%v\n%s", err, shown.String())
	}
	<-killed
	digest, index := pushedIndex(t, image)
	if digest.String() != result.Digest.String() || len(index.Manifests) != 4 {
		t.Errorf("the registry has %s with %d manifests, want %s with four", digest, len(index.Manifests), result.Digest)
	}
	if result.Parts[0].Retried != "" {
		t.Errorf("the part that was done was built again: %+v", result.Parts[0])
	}
}

// kill ends the buildkitd that runs a build, and returns the node's name.
func (h *nodesHost) kill(t *testing.T) string {
	for i, d := range h.daemons {
		if len(h.daemons) == 1 || active(t, d) > 0 {
			if err := d.Kill(); err != nil {
				t.Error(err)
			}
			return h.nodes[i]
		}
	}
	t.Error("no node has a build")
	return ""
}

// active is how many builds a buildkitd has.
func active(t *testing.T, d *rig.Buildkitd) int {
	t.Helper()
	out, err := d.Buildctl(t.Context(), "debug", "histories", "--format", "{{json .}}")
	if err != nil {
		t.Error(err)
		return 0
	}
	count := 0
	for line := range strings.Lines(out) {
		var event struct {
			Record struct {
				CompletedAt *struct{} `json:"CompletedAt"`
			} `json:"record"`
		}
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			t.Errorf("history %q: %v", line, err)
		} else if event.Record.CompletedAt == nil {
			count++
		}
	}
	return count
}

func TestAFailedStepIsNotBuiltElsewhereAndEndsTheOtherParts(t *testing.T) {
	rig.NeedEmulator(t)
	h := needNodes(t, "?platforms=linux/amd64", "?platforms=linux/arm64")
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nARG TARGETARCH\nRUN if [ $TARGETARCH = arm64 ]; then sleep 60; else sleep 1; exit 7; fi\n"})
	start := time.Now()
	_, err := h.Build(t.Context(), imagebuild.Request{Context: dir, Platforms: []string{"linux/arm64,linux/amd64"}}, imagebuild.Progress{})
	place, ok := errors.AsType[*imagebuild.DockerfileError](err)
	if !ok || place.Line != 3 || !strings.Contains(err.Error(), "exit code: 7") {
		t.Errorf("Build() = %v, want the failed step", err)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("Build() took %s, want the other part ended with the first", took)
	}
	if strings.Contains(h.logged.String(), "lost") {
		t.Errorf("it was built again:\n%s", h.logged)
	}
	h.idle(t)
}

// idle waits until no node has a build.
func (h *nodesHost) idle(t *testing.T) {
	t.Helper()
	for _, d := range h.daemons {
		eventually(t, "no build is left", 30*time.Second, func() bool { return active(t, d) == 0 })
	}
}

func TestCancellingLeavesNoSolveOnAnyNode(t *testing.T) {
	rig.NeedEmulator(t)
	h := needNodes(t, "?platforms=linux/amd64", "?platforms=linux/arm64")
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo now sleeping; sleep 60\n"})
	stopped := errors.New("told to stop")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	out := filepath.Join(t.TempDir(), "out")
	time.AfterFunc(90*time.Second, func() { cancel(errors.New("the steps never started")) })
	done := make(chan error, 1)
	go func() {
		_, err := h.Build(ctx, imagebuild.Request{
			Context: dir, Platforms: []string{"linux/arm64,linux/amd64"}, Tags: []string{"a:1"},
			Outputs: []imagebuild.Output{{Type: "oci", Dest: out, Attrs: map[string]string{"tar": "false"}}},
		}, imagebuild.Progress{})
		done <- err
	}()
	eventually(t, "both nodes build", time.Minute, func() bool { return active(t, h.daemons[0]) > 0 && active(t, h.daemons[1]) > 0 })
	at := time.Now()
	cancel(stopped)
	if err := <-done; !errors.Is(err, stopped) {
		t.Errorf("Build() = %v, want the cause of the context", err)
	}
	if took := time.Since(at); took > 10*time.Second {
		t.Errorf("Build() returned %s after it was told to stop", took)
	}
	h.idle(t)
	if left, err := filepath.Glob(filepath.Join(out, ".dockless-parts-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func TestABuildGoesOnWhenItsOnlyNodeComesBack(t *testing.T) {
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo now sleeping; sleep 8\n"})
	for name, comesBack := range map[string]bool{"it does": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := needNodes(t, "")
			killed := make(chan struct{})
			kill := sync.OnceFunc(func() { h.kill(t); close(killed) })
			var shown lockedBuffer
			p := imagebuild.Progress{Mode: "plain", Out: writerFunc(func(b []byte) (int, error) {
				if bytes.Contains(b, []byte("now sleeping")) && !bytes.Contains(b, []byte("RUN")) {
					kill()
				}
				return shown.Write(b)
			})}
			back := make(chan error, 1)
			go func() {
				<-killed
				if comesBack {
					back <- h.daemons[0].Restart(t.Context())
				} else {
					back <- nil
				}
			}()
			start := time.Now()
			result, err := h.Build(t.Context(), imagebuild.Request{Context: dir}, p)
			if err := <-back; err != nil {
				t.Fatal(err)
			}
			if comesBack {
				if err != nil || result.Parts[0].Retried != h.nodes[0] || result.Node != h.nodes[0] {
					t.Errorf("Build() = %+v, %v, want it built again on the same node\n%s", result, err, shown.String())
				}
				return
			}
			if _, ok := errors.AsType[*buildxsetup.UnreachableError](err); !ok || !strings.Contains(err.Error(), "no success within 30s") || !strings.Contains(err.Error(), h.nodes[0]+" was lost") {
				t.Errorf("Build() = %v, want the node that did not come back within 30 s, and why it was lost", err)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("Build() took %s", took)
			}
		})
	}
}

func TestOneNodeEmulatesWhatNobodyRunsAndSaysSo(t *testing.T) {
	rig.NeedEmulator(t)
	s := openStage(t, stage.Options{NoPodman: true})
	image := s.Registry.Addr() + "/team/both:1"
	dir := writeTree(t, map[string]string{"Dockerfile": machine})
	id := filepath.Join(t.TempDir(), "id")
	done := s.typed(t, "typed", "", nil, "build", dir, "-t", image, "--platform", "linux/amd64,linux/arm64", "--push", "--progress", "plain", "--iidfile", id).want(t, 0)
	if !strings.Contains(done.stderr, "linux/arm64 is emulated on node") || !strings.Contains(done.stderr, "BUILDKIT_HOST") {
		t.Errorf("nothing says that arm64 is emulated:\n%s", done.stderr)
	}
	if strings.Contains(done.stderr, "linux/amd64 is emulated") {
		t.Errorf("the node's own platform is called emulated:\n%s", done.stderr)
	}
	digest, index := pushedIndex(t, image)
	if read(t, id) != digest.String() || len(index.Manifests) != 2 {
		t.Errorf("id = %s, index = %s with %d manifests, want two", read(t, id), digest, len(index.Manifests))
	}
}

func TestOneNodeLoadsThisMachinesPlatformOfSeveral(t *testing.T) {
	rig.NeedEmulator(t)
	h := needNodes(t, "")
	engine := rig.NeedPodman(t, rig.PodmanOptions{})
	var archive bytes.Buffer
	result, _ := h.build(t, imagebuild.Request{
		Context: writeTree(t, map[string]string{"Dockerfile": machine + "CMD [\"cat\"]\n"}), Tags: []string{"both:1"},
		Platforms: []string{"linux/amd64", "linux/arm64"},
		Load:      func() (io.WriteCloser, error) { return nopClose{&archive}, nil },
	})
	load := engine.Command(t.Context(), "load")
	load.Stdin = &archive
	if out, err := load.CombinedOutput(); err != nil || !strings.Contains(string(out), "both:1") {
		t.Fatalf("podman load: %v\n%s", err, out)
	}
	if out, err := engine.Command(t.Context(), "image", "inspect", "--format", "{{.Architecture}}", "both:1").Output(); err != nil || strings.TrimSpace(string(out)) != "amd64" {
		t.Errorf("loaded architecture = %q, %v, want this machine's", out, err)
	}
	if diff := cmp.Diff([]string{"linux/arm64"}, result.Parts[0].Emulated); diff != "" {
		t.Errorf("emulated (-want +got):\n%s", diff)
	}
}

// entries are the names of the files in an archive.
func entries(t *testing.T, archive string) []string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var names []string
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}
