package integration_test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// attestations reads the attestations of a pushed image by predicate type.
func attestations(t *testing.T, image string) map[string]json.RawMessage {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("reading the index of %s: %v", image, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]json.RawMessage)
	for _, d := range manifest.Manifests {
		if d.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range m.Layers {
			layer, err := img.LayerByDigest(l.Digest)
			if err != nil {
				t.Fatal(err)
			}
			r, err := layer.Compressed()
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			var statement struct {
				Predicate json.RawMessage `json:"predicate"`
			}
			if err := json.Unmarshal(data, &statement); err != nil {
				t.Fatal(err)
			}
			out[l.Annotations["in-toto.io/predicate-type"]] = statement.Predicate
		}
	}
	return out
}

// provenance is what we look at of SLSA's provenance.
type provenance struct {
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
		Metadata struct {
			BuildKit struct {
				VCS map[string]string `json:"vcs"`
			} `json:"buildkit_metadata"`
		} `json:"metadata"`
	} `json:"runDetails"`
	BuildDefinition struct {
		ExternalParameters struct {
			Request struct {
				Args map[string]string `json:"args"`
			} `json:"request"`
		} `json:"externalParameters"`
	} `json:"buildDefinition"`
}

func provenanceOf(t *testing.T, image string) provenance {
	t.Helper()
	var out provenance
	if err := json.Unmarshal(attestations(t, image)["https://slsa.dev/provenance/v1"], &out); err != nil {
		t.Fatalf("the image has no provenance: %v", err)
	}
	return out
}

func TestTheProvenanceNamesRunJobAndCommit(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nARG COLOR\nRUN true\n"})
	image := h.registry + "/team/attested:1"
	said := imagebuild.Provenance{Builder: "https://dev.azure.com/contoso/shop/_build/results?buildId=42&view=logs&j=a,b", Source: "https://example.com/shop.git", Revision: "abc123", Run: "20260101.7", Job: `Build "it"`}
	want := map[string]string{"source": said.Source, "revision": said.Revision, "run": said.Run, "job": said.Job}
	for mode, arguments := range map[string]bool{"min": false, "max": true} {
		r, _ := flagged(t, at(dir), "--provenance mode="+mode+" --build-arg COLOR=blue --push -t "+image+" .")
		r.Provenance = said
		h.build(t, r)
		got := provenanceOf(t, image)
		if got.RunDetails.Builder.ID != said.Builder {
			t.Errorf("mode=%s: the builder is %q, want %q", mode, got.RunDetails.Builder.ID, said.Builder)
		}
		for key, value := range want {
			if got.RunDetails.Metadata.BuildKit.VCS[key] != value {
				t.Errorf("mode=%s: %s = %q, want %q", mode, key, got.RunDetails.Metadata.BuildKit.VCS[key], value)
			}
		}
		if got := got.BuildDefinition.ExternalParameters.Request.Args["build-arg:COLOR"] == "blue"; got != arguments {
			t.Errorf("mode=%s: build arguments are told: %t, want %t", mode, got, arguments)
		}
	}
	r, _ := flagged(t, at(dir), "--attest type=provenance,builder-id=https://mine.example/ --push -t "+image+" .")
	r.Provenance = said
	h.build(t, r)
	if got := provenanceOf(t, image).RunDetails.Builder.ID; got != "https://mine.example/" {
		t.Errorf("the builder is %q, want the one of the flag", got)
	}
}

// TestTheDockerTaskAttestsItsRun is point 3 as a pipeline has it: the arguments
// ask for a provenance, and the agent says where it comes from.
func TestTheDockerTaskAttestsItsRun(t *testing.T) {
	s := openStage(t, stage.Options{})
	startAgent(t, s, stage.AgentOptions{Name: "attesting"})
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN cat /etc/hosts > /hosts\n", "docs/note.txt": "noted\n"})
	image := s.Registry.Addr() + "/team/task"
	m := scriptMessage("", map[string]job.Variable{
		"system.collectionUri": {Value: "https://dev.azure.com/contoso/"}, "system.teamProject": {Value: "shop"},
		"build.buildId": {Value: "42"}, "build.buildNumber": {Value: "20260101.7"}, "build.sourceVersion": {Value: "0123abc"},
		"build.repository.uri": {Value: "https://me:pw@example.com/shop.git"},
	}, nil)
	build := dockerStep("Build", map[string]string{
		"command": "build", "Dockerfile": "Dockerfile", "tags": "1",
		"arguments": "--provenance=mode=min --add-host db.local:10.1.2.3 --push -t " + image + ":2 --output type=local,dest=out --iidfile id --rm --quiet",
	})
	bad := dockerStep("Bad", map[string]string{
		"command": "build", "Dockerfile": "Dockerfile", "tags": "1",
		"arguments": "--squash --check --network bridge",
	})
	bad.ContinueOnError = true
	m.Steps = []job.Step{bashStep("Copy", "cp -r "+dir+"/. ."), build, bashStep("Look", "cat out/hosts; cat id"), bad}
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if log := strings.Join(record(t, r, "Look").Log, "\n"); !strings.Contains(log, "10.1.2.3") || !strings.Contains(log, "sha256:") {
		dumpLog(t, r)
		t.Fatalf("the outputs of the arguments are not there:\n%s", log)
	}
	got := provenanceOf(t, image+":2").RunDetails
	// The agent knows the server under the address it was given.
	if want := "/shop/_build/results?buildId=42&view=logs&j=" + string(m.JobID); !strings.HasPrefix(got.Builder.ID, "http") || !strings.HasSuffix(got.Builder.ID, want) {
		t.Errorf("the builder is %q, want a URL with %q", got.Builder.ID, want)
	}
	vcs := got.Metadata.BuildKit.VCS
	if vcs["revision"] != "0123abc" || vcs["source"] != "https://example.com/shop.git" || vcs["run"] != "20260101.7" || vcs["job"] == "" {
		t.Errorf("the provenance says %q", vcs)
	}
	text := strings.Join(record(t, r, "Bad").Log, "\n")
	for _, flag := range []string{"--squash", "--check", "--network"} {
		if !strings.Contains(text, flag) {
			t.Errorf("the log of the bad step lacks %s:\n%s", flag, text)
		}
	}
}

// program builds a Go program that needs nothing beside itself.
func program(t *testing.T, target string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, target)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", target, err, text)
	}
	return out
}

// pushProgram pushes an image that is a program and nothing else.
func pushProgram(t *testing.T, file, image string, labels map[string]string) {
	t.Helper()
	dir := t.TempDir()
	pack := exec.CommandContext(t.Context(), "tar", "-C", filepath.Dir(file), "-cf", filepath.Join(dir, "layer.tar"), filepath.Base(file))
	if out, err := pack.CombinedOutput(); err != nil {
		t.Fatalf("packing %s: %v\n%s", file, err, out)
	}
	layer, err := tarball.LayerFromFile(filepath.Join(dir, "layer.tar"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Entrypoint: []string{"/" + filepath.Base(file)}, Labels: labels}}
	base, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.RootFS, config.History = base.RootFS, base.History
	if img, err = mutate.ConfigFile(img, &config); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatalf("pushing %s: %v", image, err)
	}
}

func TestABillOfMaterialsComesFromItsGenerator(t *testing.T) {
	h := needBuildHost(t)
	scanner := h.registry + "/tools/scanner:1"
	pushProgram(t, program(t, "./test/integration/testdata/scanner"), scanner, nil)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo found > /proof\n"})
	image := h.registry + "/team/listed:1"
	r, _ := flagged(t, at(dir), "--sbom generator="+scanner+" --push -t "+image+" .")
	h.build(t, r)
	if got := string(attestations(t, image)["https://spdx.dev/Document"]); !strings.Contains(got, "proof") {
		t.Errorf("the bill of materials is %s, want the file proof in it", got)
	}
	r, _ = flagged(t, at(dir), "--sbom generator="+h.registry+"/tools/missing:1 --push -t "+image+" .")
	if _, err := h.Build(t.Context(), r, imagebuild.Progress{}); err == nil || !strings.Contains(err.Error(), "tools/missing") {
		t.Errorf("a generator that is not there = %v, want an error that names it", err)
	}
}

func TestTheSyntaxLineChoosesTheFrontend(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "# syntax=docker/dockerfile:99\n" + reporting("echo built")})
	r, _ := flagged(t, at(dir), ".")
	_, err := h.Build(t.Context(), r, imagebuild.Progress{})
	if err == nil || !strings.Contains(err.Error(), "docker/dockerfile:99") || !strings.Contains(strings.Join(hint.All(err), "\n"), "# syntax=") {
		t.Errorf("a frontend that cannot be had = %v with hints %q", err, hint.All(err))
	}
	frontend := h.registry + "/tools/dockerfile:1"
	pushProgram(t, rig.NeedBin(t, "dockerfile-frontend"), frontend,
		map[string]string{"moby.buildkit.frontend.network.none": "true", "moby.buildkit.frontend.caps": "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts,moby.buildkit.frontend.gitquerystring"})
	files, shown := h.files(t, at(dir), "--build-arg BUILDKIT_SYNTAX="+frontend+" .")
	if files["report"] != "built\n" {
		t.Errorf("with BUILDKIT_SYNTAX the build gave %q\n%s", files, shown)
	}
	dir = writeTree(t, map[string]string{"Dockerfile": "# syntax=" + frontend + "\nFROM named AS n\n" + reporting("echo built")})
	files, shown = h.files(t, at(dir), "--build-context named=docker-image://busybox .")
	if files["report"] != "built\n" || !strings.Contains(shown, frontend) {
		t.Errorf("with # syntax= the build gave %q\n%s", files, shown)
	}
	reply, err := h.Query(t.Context(), mustFlagged(t, dir, "--check --build-context named=docker-image://busybox ."), "lint", imagebuild.Progress{})
	if err != nil || reply.Status != 0 {
		t.Errorf("checking with that frontend = %+v, %v", reply, err)
	}
}

func mustFlagged(t *testing.T, dir, line string) imagebuild.Request {
	t.Helper()
	r, _ := flagged(t, at(dir), line)
	return r
}

func TestTheBuildCommandChecksAndTellsWhereASourceComesFrom(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true})
	root := t.TempDir()
	committed(t, root, "shop.git", map[string]string{"Dockerfile": "FROM busybox as base\n"})
	dir := filepath.Join(t.TempDir(), "shop")
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "git", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("clone", "-q", filepath.Join(root, "shop.git"), dir)
	git("-C", dir, "config", "remote.origin.url", "https://me:secret@example.com/shop.git")

	if f := s.typed(t, "typed", "", nil, "build", "--check", dir).want(t, 1); !strings.Contains(f.stdout, "FromAsCasing") || !strings.HasSuffix(f.stdout, "Check complete: one warning.\n") || strings.Contains(f.stderr, "error:") {
		t.Errorf("--check printed %q, %q", f.stdout, f.stderr)
	}
	if f := s.typed(t, "typed", "", nil, "build", "--call", "check,format=json,ignorestatus=true", dir).want(t, 0); !json.Valid([]byte(f.stdout)) {
		t.Errorf("--call check,format=json printed %q", f.stdout)
	}
	image, id := s.Registry.Addr()+"/team/source:1", filepath.Join(t.TempDir(), "id")
	f := s.typed(t, "typed", "", nil, "build", "-q", "--provenance", "mode=min", "--push", "-t", image, "--iidfile", id, dir).want(t, 0)
	if f.stdout != read(t, id)+"\n" || !strings.HasPrefix(f.stdout, "sha256:") {
		t.Errorf("the digest is printed as %q and written as %q", f.stdout, read(t, id))
	}
	vcs := provenanceOf(t, image).RunDetails.Metadata.BuildKit.VCS
	if vcs["revision"] != git("-C", dir, "rev-parse", "HEAD") || vcs["source"] != "https://example.com/shop.git" {
		t.Errorf("the provenance says %q", vcs)
	}
	s.typed(t, "typed", "", nil, "build", "--target", "nope", "--iidfile", id, dir).want(t, 1)
	if exists(id) {
		t.Error("a build that failed left the digest of an earlier one")
	}
}
