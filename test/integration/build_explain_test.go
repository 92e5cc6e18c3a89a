package integration_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/explain"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/test/rig"
)

// edit is one change between two builds, and why steps then run.
type edit struct {
	files map[string]string
	first func(*imagebuild.Request)                             // of both builds
	edit  func(t *testing.T, dir string, r *imagebuild.Request) // before the second
	// want is by the steps that run, "[2/3]", the kind of the reason and a part of
	// its text.
	want  map[string]string
	alone bool // it needs an answer of BuildKit that nobody waits for long
}

// replace edits the Dockerfile.
func replace(old, now string) func(*testing.T, string, *imagebuild.Request) {
	return func(t *testing.T, dir string, _ *imagebuild.Request) {
		t.Helper()
		file := filepath.Join(dir, "Dockerfile")
		text, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(text), old) {
			t.Fatalf("the Dockerfile lacks %q (%v)", old, err)
		}
		put(t, file, strings.Replace(string(text), old, now, 1))
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// write edits a file of the context.
func write(file, text string) func(*testing.T, string, *imagebuild.Request) {
	return func(t *testing.T, dir string, _ *imagebuild.Request) {
		t.Helper()
		put(t, filepath.Join(dir, file), text)
	}
}

func request(change func(*imagebuild.Request)) func(*testing.T, string, *imagebuild.Request) {
	return func(_ *testing.T, _ string, r *imagebuild.Request) { change(r) }
}

func TestEveryStepThatRanSaysWhy(t *testing.T) {
	foreign := rig.NeedEmulator(t) // not every machine runs linux/386 beside its own
	h := needBuildHost(t)
	delivered := "first"
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, delivered) }))
	defer site.Close()
	base, from := h.registry+"/base:1", h.registry+"/from:1"
	for _, image := range []string{base, from} {
		copyImage(t, h, image, "first")
	}
	later := h.registry + "/later:1"
	h.build(t, imagebuild.Request{Context: writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nONBUILD WORKDIR /later\n"}), Tags: []string{later}, Push: true})
	other := writeTree(t, map[string]string{"shared.txt": "shared"})
	file := func(text string) map[string]string {
		return map[string]string{"Dockerfile": text, "a.txt": "a", "src/b.txt": "b"}
	}

	edits := map[string]edit{
		"nothing": {files: file("FROM busybox\nCOPY a.txt /\nRUN cat /a.txt\n"), edit: request(func(*imagebuild.Request) {}), want: map[string]string{}},
		"RUN": {files: file("FROM busybox\nRUN echo one > /x\nRUN cat /x\n"), edit: replace("echo one", "echo two"), want: map[string]string{
			"[2/3]": "instruction-changed: was RUN echo one > /x, is RUN echo two > /x",
			"[3/3]": "parent-rebuilt: builds on [2/3]: the instruction changed",
		}},
		"a heredoc": {files: file("FROM busybox\nRUN <<EOF\necho heredoc\necho one\nEOF\n"), edit: replace("echo one", "echo 1"), want: map[string]string{
			"[2/2]": "instruction-changed: was echo one, is echo 1",
		}},
		"COPY": {files: file("FROM busybox\nCOPY a.txt /one\nRUN echo copy\n"), edit: replace("/one", "/two"), want: map[string]string{
			"[2/3]": "instruction-changed: was COPY a.txt /one, is COPY a.txt /two", "[3/3]": "parent-rebuilt: [2/3]",
		}},
		"ENV": {files: file("FROM busybox\nENV MODE=fast\nCOPY a.txt /env\nRUN echo $MODE\nLABEL x=y\n"), edit: replace("MODE=fast", "MODE=slow"), want: map[string]string{
			"[3/3]": "instruction-changed: was ENV MODE=fast, is ENV MODE=slow",
		}},
		"LABEL, CMD and a stage's name": {files: file("FROM busybox AS one\nLABEL a=b\nRUN echo label\nCMD [\"x\"]\n"), edit: func(t *testing.T, dir string, r *imagebuild.Request) {
			replace("AS one", "AS uno")(t, dir, r)
			replace("a=b", "a=c")(t, dir, r)
			replace("\"x\"", "\"y\"")(t, dir, r)
		}, want: map[string]string{}},
		"FROM": {files: file("FROM busybox\nRUN echo from\n"), edit: replace("FROM busybox", "FROM debian"), want: map[string]string{
			"[2/2]": "instruction-changed: was FROM busybox, is FROM debian",
		}},
		"the default of an ARG": {files: file("FROM busybox\nARG V=1\nRUN echo default $V\n"), edit: replace("V=1", "V=2"), want: map[string]string{
			"[2/2]": "instruction-changed: was ARG V=1, is ARG V=2",
		}},
		"the default of a global ARG": {files: file("ARG IMAGE=busybox\nFROM $IMAGE\nRUN echo global\n"), edit: replace("=busybox", "=debian"), want: map[string]string{
			"[2/2]": "instruction-changed: was ARG IMAGE=busybox, is ARG IMAGE=debian",
		}},
		"WORKDIR": {files: file("FROM busybox\nWORKDIR /w1\nCOPY a.txt .\nRUN pwd\n"), edit: replace("/w1", "/w2"), want: map[string]string{
			"[2/4]": "instruction-changed: was WORKDIR /w1, is WORKDIR /w2", "[3/4]": "instruction-changed: WORKDIR", "[4/4]": "instruction-changed: WORKDIR",
		}},
		"a line more": {files: file("FROM busybox\nRUN echo before more\nRUN echo behind more\n"), edit: replace("RUN echo behind", "RUN echo between\nRUN echo behind"), want: map[string]string{
			"[3/4]": "instruction-changed: new", "[4/4]": "parent-rebuilt: [3/4]",
		}},
		"a line less": {files: file("FROM busybox\nRUN echo before less\nRUN echo between less\nRUN echo behind less\n"), edit: replace("RUN echo between less\n", ""), want: map[string]string{
			"[3/3]": "instruction-changed: RUN echo between less",
		}},
		"a build argument": {
			files: file("FROM busybox\nARG COLOR\nENV PAINT=$COLOR\nRUN echo $PAINT\n"),
			first: func(r *imagebuild.Request) { r.BuildArgs = map[string]string{"COLOR": "secret-red", "HTTP_PROXY": ""} },
			edit:  request(func(r *imagebuild.Request) { r.BuildArgs = map[string]string{"COLOR": "secret-blue"} }),
			want:  map[string]string{"[2/2]": "argument-changed: COLOR"},
		},
		"a build argument that nobody uses": {
			files: file("FROM busybox\nRUN echo unused\nARG LATE\n"),
			edit:  request(func(r *imagebuild.Request) { r.BuildArgs = map[string]string{"LATE": "x", "NOT_THERE": "y"} }), want: map[string]string{},
		},
		"a secret's id": {
			files: file("FROM busybox\nRUN --mount=type=secret,id=token echo secret\n"), first: func(r *imagebuild.Request) { r.Secrets = []imagebuild.Secret{token()} },
			edit: replace("id=token", "id=key"), want: map[string]string{"[stage-0 2/2]": "secret-changed: was token, is key"},
		},
		"the base's digest": {files: file("FROM " + base + "\nRUN echo base\nRUN echo behind\n"), edit: func(t *testing.T, _ string, _ *imagebuild.Request) {
			copyImage(t, h, base, "changed")
		}, want: map[string]string{"[2/3]": "base-changed: sha256:", "[3/3]": "parent-rebuilt: [2/3]"}},
		"a file": {files: file("FROM busybox\nCOPY a.txt /file\nCOPY src /src\nRUN echo files\n"), edit: write("src/b.txt", "changed"), want: map[string]string{
			"[3/4]": "files-changed: ~ src/b.txt", "[4/4]": "parent-rebuilt: ~ src/b.txt",
		}},
		"a file more": {files: file("FROM busybox\nCOPY src/*.txt /more/\n"), edit: write("src/c.txt", "c"), want: map[string]string{"[2/2]": "files-changed: + src/c.txt"}},
		"a file less": {files: file("FROM busybox\nCOPY . /less/\n"), edit: func(t *testing.T, dir string, _ *imagebuild.Request) {
			if err := os.Remove(filepath.Join(dir, "a.txt")); err != nil {
				t.Error(err)
			}
		}, want: map[string]string{"[2/2]": "files-changed: - a.txt"}},
		"a file's permissions": {files: file("FROM busybox\nCOPY src /mode/\n"), edit: func(t *testing.T, dir string, _ *imagebuild.Request) {
			if err := os.Chmod(filepath.Join(dir, "src/b.txt"), 0o755); err != nil {
				t.Error(err)
			}
		}, want: map[string]string{"[2/2]": "files-changed: ~ src/b.txt"}},
		"a file's age": {files: file("FROM busybox\nCOPY a.txt /age\n"), edit: write("a.txt", "a"), want: map[string]string{}},
		"a file that is mounted": {files: file("FROM busybox\nRUN --mount=type=bind,source=src,target=/in cat /in/b.txt\n"), edit: write("src/b.txt", "mounted"), want: map[string]string{
			"[stage-0 2/2]": "files-changed: ~ src/b.txt",
		}},
		"the ignore file": {files: file("FROM busybox\nCOPY src /ignored/\n"), edit: write(".dockerignore", "src/b.txt\n"), want: map[string]string{
			"[2/2]": "files-changed: - src/b.txt (the ignore file changed)",
		}},
		"a stage that files come from": {files: file("FROM busybox AS build\nCOPY a.txt /in\nRUN cat /in > /out\nFROM busybox\nCOPY --from=build /out /\nRUN cat /out\n"), edit: write("a.txt", "stages"), want: map[string]string{
			"[build 2/3]": "files-changed: ~ a.txt", "[build 3/3]": "parent-rebuilt: [build 2/3]", "[stage-1 2/3]": "parent-rebuilt: [build 3/3], because of [build 2/3]: files changed: ~ a.txt", "[stage-1 3/3]": "parent-rebuilt: [stage-1 2/3]",
		}},
		"a stage that another starts from": {files: file("FROM busybox AS deps\nRUN echo deps one\nFROM deps\nRUN echo top\n"), edit: replace("deps one", "deps two"), want: map[string]string{
			"[deps 2/2]": "instruction-changed: deps two", "[stage-1 1/1]": "parent-rebuilt: [deps 2/2]",
		}},
		"--no-cache": {files: file("FROM busybox\nRUN echo nocache\n"), edit: request(func(r *imagebuild.Request) { r.NoCache = true }), want: map[string]string{"[2/2]": "no-cache: --no-cache"}},
		"--no-cache-filter": {
			files: file("FROM busybox AS one\nRUN cat /proc/sys/kernel/random/uuid > /x\nFROM busybox\nCOPY --from=one /x /\n"), edit: request(func(r *imagebuild.Request) { r.NoCacheFilter = []string{"one"} }),
			want: map[string]string{"[one 2/2]": "no-cache: --no-cache-filter", "[stage-1 2/2]": "parent-rebuilt: [one 2/2]"},
		},
		"a named context": {
			files: file("FROM busybox\nCOPY --from=shared shared.txt /\n"), first: func(r *imagebuild.Request) { r.Contexts = map[string]string{"shared": other} },
			edit: func(t *testing.T, _ string, _ *imagebuild.Request) {
				put(t, filepath.Join(other, "shared.txt"), "changed")
			}, want: map[string]string{"[stage-0 2/2]": "files-changed: ~ shared.txt"},
		},
		"what a URL delivers": {
			files: file("FROM busybox\nADD " + site.URL + "/file /\nRUN cat /file\n"), edit: request(func(*imagebuild.Request) { delivered = "second" }),
			want: map[string]string{"[2/3]": "context-changed: fetches", "[3/3]": "parent-rebuilt: [2/3]"}, alone: true,
		},
		"an image that files come from": {files: file("FROM busybox\nCOPY --from=" + from + " /changed /from/\n"), edit: func(t *testing.T, _ string, _ *imagebuild.Request) {
			copyImage(t, h, from, "changed")
		}, want: map[string]string{"[stage-0 2/2]": "base-changed: sha256:"}, alone: true},
		"the target": {files: file("FROM busybox AS one\nRUN echo one target\nFROM one AS two\nRUN echo two target\n"), first: func(r *imagebuild.Request) { r.Target = "one" }, edit: request(func(r *imagebuild.Request) { r.Target = "two" }), want: map[string]string{
			"[two 1/1]": "first-build: no record",
		}},
		"--network": {files: file("FROM busybox\nRUN echo network\n"), edit: request(func(r *imagebuild.Request) { r.Network = "none" }), want: map[string]string{"[2/2]": "option-changed: --network"}},
		"a file behind a base that brings steps along": {files: file("FROM " + later + "\nWORKDIR /\nCOPY a.txt /\n"), edit: write("a.txt", "later"), want: map[string]string{
			"[3/4]": "files-changed: ~ a.txt",
		}},
		"a file of a step that waits in a stage": {files: file("FROM busybox AS base\nONBUILD COPY a.txt /waited\nFROM base\nRUN echo waited\n"), edit: write("a.txt", "waits"), want: map[string]string{
			"[stage-1 1/2]": "files-changed: ~ a.txt", "[stage-1 2/2]": "parent-rebuilt: [stage-1 1/2]",
		}},
		"a file that is linked": {files: file("FROM busybox\nRUN echo link\nCOPY --link a.txt /linked\nRUN cat /linked\n"), edit: write("a.txt", "linked"), want: map[string]string{
			"[3/4]": "files-changed: ~ a.txt", "[4/4]": "parent-rebuilt: [3/4]",
		}},
		"files with their folders, without some": {files: file("FROM busybox\nCOPY --parents --exclude=*.md s*/*.txt /parents/\nCOPY --exclude=a.* . /excluded/\n"), edit: func(t *testing.T, dir string, r *imagebuild.Request) {
			write("a.txt", "excluded")(t, dir, r)
			write("src/b.txt", "both")(t, dir, r)
		}, want: map[string]string{"[2/3]": "files-changed: files changed: ~ src/b.txt", "[3/3]": "files-changed: files changed: ~ src/b.txt"}},
		"two platforms": {
			files: file("FROM scratch\nARG TARGETARCH\nWORKDIR /$TARGETARCH\nCOPY a.txt /two\n"), first: func(r *imagebuild.Request) { r.Platforms = []string{"linux/" + runtime.GOARCH + "," + foreign} },
			edit: write("a.txt", "platforms"), want: map[string]string{"[linux/" + runtime.GOARCH + " 2/2]": "files-changed: ~ a.txt", "[" + foreign + " 2/2]": "files-changed: ~ a.txt"},
		},
	}
	t.Run("of", func(t *testing.T) {
		for name, e := range edits {
			t.Run(name, func(t *testing.T) {
				if !e.alone {
					t.Parallel()
				}
				e.run(t, h)
			})
		}
	})
	// It empties the builder for everybody.
	edit{files: file("FROM busybox\nCOPY a.txt /evicted\nRUN echo evicted\n"), edit: func(t *testing.T, _ string, _ *imagebuild.Request) {
		t.Helper()
		h.empty(t)
	}, want: map[string]string{
		"[2/3]": "evicted: the node has dropped", "[3/3]": "evicted: the node has dropped",
	}}.run(t, h)
}

// The agents of this test are strangers to each other: they share a registry.
func TestARecordBesideTheCacheExplainsTheBuildOfAnotherAgent(t *testing.T) {
	h := needBuildHost(t)
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nARG TOKEN\nCOPY a.txt /record\nRUN cat /record\n", "a.txt": "a"})
	r := imagebuild.Request{
		Context: dir, Tags: []string{h.registry + "/record:1"}, BuildArgs: map[string]string{"TOKEN": tokenValue},
		Cache: buildcache.Policy{Repo: h.registry + "/cache", Branch: "main", DefaultBranch: "main"},
	}
	agent := func() *buildHost {
		return &buildHost{Builder: imagebuild.New(h.setup, buildLog(t), imagebuild.Options{StateDir: t.TempDir()}), setup: h.setup, registry: h.registry}
	}
	build := func(a *buildHost, want map[string]string) {
		t.Helper()
		result, _ := a.build(t, r)
		if err := a.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		assertReasons(t, result, want)
	}
	build(agent(), map[string]string{"[2/3]": "first-build: no record", "[3/3]": "first-build: no record"})
	assertNoValue(t, h.registry+"/cache/record", tokenValue)

	h.empty(t)
	put(t, filepath.Join(dir, "a.txt"), "changed")
	r.Cache.Branch = "feature/new" // compares with the default branch
	build(agent(), map[string]string{"[2/3]": "files-changed: ~ a.txt", "[3/3]": "parent-rebuilt: [2/3]"})

	h.empty(t)
	r.Cache.Repo, r.BuildArgs = h.registry+"/cache", map[string]string{"TOKEN": "another"}
	build(agent(), map[string]string{"[3/3]": "argument-changed: TOKEN"})
}

func TestAnotherNodeWithoutACacheSaysThatNoneWasExported(t *testing.T) {
	h := needBuildHost(t)
	state := t.TempDir()
	r := imagebuild.Request{Context: writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo exported\n"}), Tags: []string{"never:1"}}
	one := &buildHost{Builder: imagebuild.New(h.setup, buildLog(t), imagebuild.Options{StateDir: state})}
	one.build(t, r)
	if err := one.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: h.mirror})
	setup := needBuilder(t, buildxsetup.Config{Hosts: daemon.Addr(), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	other := &buildHost{Builder: imagebuild.New(setup, buildLog(t), imagebuild.Options{StateDir: state})}
	result, _ := other.build(t, r)
	assertReasons(t, result, map[string]string{"[2/2]": "never-exported: another node and exported no cache"})
	if result, _ := other.build(t, r); len(result.Reasons) > 0 || result.Stats.Saved <= 0 {
		t.Errorf("the third build says %v, saved %s; want no reasons and what the step took", result.Reasons, result.Stats.Saved)
	}
}

// assertNoValue looks for a value in everything that a repository holds.
func assertNoValue(t *testing.T, repository, value string) {
	t.Helper()
	repo, err := name.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	tags, err := remote.List(repo, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, tag := range tags {
		if !strings.HasPrefix(tag, "record.") {
			continue
		}
		records++
		img, err := remote.Image(repo.Tag(tag), remote.WithContext(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("the record has %d layers, %v", len(layers), err)
		}
		blob, err := layers[0].Compressed()
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(blob)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(z)
		if err := errors.Join(err, blob.Close()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(text, []byte("TOKEN")) || bytes.Contains(text, []byte(value)) {
			t.Errorf("the record names no TOKEN, or has its value: %s", text)
		}
	}
	if records != 1 {
		t.Errorf("the repository has %d records in %q, want 1", records, tags)
	}
}

func (e edit) run(t *testing.T, h *buildHost) {
	t.Helper()
	dir := writeTree(t, e.files)
	r := imagebuild.Request{Context: dir, Cache: buildcache.Policy{Name: t.Name()}}
	if e.first != nil {
		e.first(&r)
	}
	first, _ := h.build(t, r)
	for _, reason := range first.Reasons {
		if reason.Kind != explain.FirstBuild {
			t.Errorf("the first build says %s of %s", reason.Kind, reason.Step)
		}
	}
	e.edit(t, dir, &r)
	second, shown := h.build(t, r)
	assertReasons(t, second, e.want)
	if t.Failed() {
		t.Logf("%s\n%s", explain.Table(second.Reasons), shown)
	}
}

// assertReasons checks that the steps which ran are those of want, each with its
// reason.
func assertReasons(t *testing.T, r *imagebuild.Result, want map[string]string) {
	t.Helper()
	var ran []string
	for _, s := range r.Steps {
		if s.Ran && !s.Base {
			ran = append(ran, s.Name)
		}
	}
	if len(ran) != len(r.Reasons) {
		t.Errorf("%d steps ran, %d have a reason", len(ran), len(r.Reasons))
	}
	got := make(map[string]string)
	for _, reason := range r.Reasons {
		step := reason.Step[:strings.Index(reason.Step, "]")+1]
		text := string(reason.Kind) + ": " + reason.Text
		if kind, part, ok := strings.Cut(want[step], ": "); ok && kind == string(reason.Kind) && (strings.Contains(reason.Text, part) || containsAll(reason.Text, strings.Fields(part))) {
			text = want[step]
		}
		got[step] = text
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

func containsAll(text string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// copyImage pushes busybox with a text of its own under another name.
func copyImage(t *testing.T, h *buildHost, to, text string) {
	t.Helper()
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nCOPY x /changed\n", "x": text})
	h.build(t, imagebuild.Request{Context: dir, Tags: []string{to}, Push: true})
}
