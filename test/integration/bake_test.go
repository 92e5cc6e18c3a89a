package integration_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// unorderedParts compares groups and outputs without regard to their order: buildx
// makes both by going over Go's maps, and prints them now so, now otherwise.
var unorderedParts = cmp.FilterPath(func(path cmp.Path) bool {
	for _, step := range path {
		if key, ok := step.(cmp.MapIndex); ok && (key.Key().String() == "targets" || key.Key().String() == "output") {
			return true
		}
	}
	return false
}, cmpopts.SortSlices(func(a, b any) bool { return fmt.Sprint(a) < fmt.Sprint(b) }))

// TestTheGoldenPlansAreThoseOfBuildx keeps the golden files of internal/bake
// honest.
func TestTheGoldenPlansAreThoseOfBuildx(t *testing.T) {
	t.Parallel()
	buildx := rig.NeedBin(t, "docker-buildx")
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	testdata := filepath.Join(root, "internal", "bake", "testdata")
	var cases []struct {
		Name, Dir         string
		Targets, Set, Env []string
	}
	if err := json.Unmarshal([]byte(read(t, filepath.Join(testdata, "cases.json"))), &cases); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(testdata)); err != nil {
		t.Fatal(err)
	}
	// buildx opens the secrets and keys even when it only prints.
	key := filepath.Join(dir, "key")
	if out, err := exec.CommandContext(t.Context(), "openssl", "genrsa", "-traditional", "-out", key, "1024").CombinedOutput(); err != nil {
		t.Fatalf("making a key: %v\n%s", err, out)
	}
	for _, path := range []string{"json/id_a", "json/id_b", "json/secret.txt", "json/f", "compose/id", "compose/token.txt", "compose/x"} {
		if err := os.WriteFile(filepath.Join(dir, path), []byte(read(t, key)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	agent := filepath.Join(dir, "a")
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", agent)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // of a test
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			args := []string{"bake", "--print"}
			for _, s := range c.Set {
				args = append(args, "--set", s)
			}
			cmd := exec.CommandContext(t.Context(), buildx, append(args, c.Targets...)...)
			cmd.Dir = filepath.Join(dir, c.Dir)
			cmd.Env = append([]string{"HOME=" + dir, "SSH_AUTH_SOCK=" + agent}, c.Env...)
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr.String())
			}
			var want, got any
			if err := json.Unmarshal(out, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(read(t, filepath.Join(testdata, strings.ReplaceAll(c.Name, " ", "_")+".golden.json"))), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, unorderedParts); diff != "" {
				t.Errorf("the golden plan (-buildx +ours):\n%s", diff)
			}
		})
	}
}

func TestBakeBuildsTargetsFromEachOther(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true})
	image := s.Registry.Addr() + "/team/app"
	dir := writeTree(t, map[string]string{
		"docker-bake.json": `{
			"variable": {"IMAGE": {}},
			"group": {"default": {"targets": ["app", "twin"]}},
			"target": {
				"base": {"dockerfile-inline": "FROM busybox\nARG WORD\nRUN echo $WORD > /word\nENV FROM_BASE=yes\n", "args": {"WORD": "handed on"}},
				"app": {"context": "app", "contexts": {"base": "target:base"}, "tags": ["${IMAGE}:1"], "labels": {"made-by": "bake"}},
				"twin": {"inherits": ["app"], "tags": ["${IMAGE}:2"]}
			}
		}`,
		"app/Dockerfile": "FROM base\nRUN test \"$FROM_BASE\" = yes && grep 'handed on' /word\n",
	})
	metadata := filepath.Join(t.TempDir(), "metadata.json")
	f := s.typed(t, "typed", dir, []string{"IMAGE=" + image, "TMPDIR=" + t.TempDir()}, "bake", "--push", "--progress", "plain", "--metadata-file", metadata).want(t, 0)

	digest, labels := pushed(t, image+":1")
	if diff := cmp.Diff(map[string]string{"made-by": "bake"}, labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	var written map[string]struct {
		Digest string `json:"containerimage.digest"`
		Name   string `json:"image.name"`
	}
	if err := json.Unmarshal([]byte(read(t, metadata)), &written); err != nil {
		t.Fatal(err)
	}
	if len(written) != 3 || written["app"].Digest != digest || !strings.Contains(written["twin"].Name, image+":2") {
		t.Errorf("metadata = %+v, want base, app with %s, and twin", written, digest)
	}
	// The two targets have their step in common: it is shown once.
	if n := vertices(f.stderr, "] RUN test"); n != 1 {
		t.Errorf("the common step is shown %d times, want once:\n%s", n, f.stderr)
	}
	for _, want := range []string{"[base 2/2] RUN echo", "\napp: ", "\ntwin: ", "\nbase: "} {
		if !strings.Contains(f.stderr, want) {
			t.Errorf("the progress lacks %q:\n%s", want, f.stderr)
		}
	}
}

func TestATargetThatFailsCancelsTheOthers(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true, NoRegistry: true})
	step, process := sleeper()
	dir := writeTree(t, map[string]string{
		"compose.yml": "services:\n  bad: {build: {context: ., dockerfile: bad}}\n  slow: {build: {context: ., dockerfile: slow}}\n",
		"bad":         "FROM busybox\nRUN sleep 2; exit 9\n",
		"slow":        "FROM busybox\n" + step,
	})
	metadata := filepath.Join(t.TempDir(), "metadata.json")
	f := s.typed(t, "typed", dir, nil, "bake", "--progress", "plain", "--metadata-file", metadata).want(t, 1)
	f.wantError(t, "", "target bad", "bad:2", "exit code: 9")
	eventually(t, "the other target's step has gone", 30*time.Second, func() bool { return !runs(process...) })
	if exists(metadata) {
		t.Error("a bake that failed wrote its metadata")
	}
}

func TestBakeReadsHCLThroughThePlugin(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true, NoRegistry: true})
	plugin := filepath.Dir(rig.NeedBin(t, "docker-buildx"))
	dir := writeTree(t, map[string]string{
		"docker-bake.hcl": `
			variable "WORD" { default = "none" }
			function "loud" {
				params = [text]
				result = "${upper(text)}!"
			}
			target "default" {
				dockerfile-inline = "FROM busybox\nARG SAY\nRUN echo $SAY > /said\n"
				args = { SAY = loud(WORD) }
				output = ["type=local,dest=out"]
			}`,
		"expression.json": `{"target": {"default": {"args": {"A": "${1 + 1}"}}}}`,
		"here.hcl": `
			target "default" {
				context = BAKE_CMD_CONTEXT
				contexts = { all = BAKE_CMD_CONTEXT, sub = "${BAKE_CMD_CONTEXT}sub" }
				dockerfile = "cwd://sub/D"
				output = ["type=local,dest=here"]
			}`,
		"sub/D": "FROM scratch\nCOPY sub/word /1\nCOPY --from=all sub/word /2\nCOPY --from=sub word /3\n", "sub/word": "here",
	})
	env := []string{"WORD=hello", "PATH=" + plugin}
	printed := s.typed(t, "typed", dir, env, "bake", "--print", "-f", "expression.json", "--set", "*.args.B=$literal").want(t, 0)
	if !strings.Contains(printed.stdout, `"A": "2"`) || !strings.Contains(printed.stdout, `"B": "$literal"`) {
		t.Errorf("printed = %s, want A evaluated and B set", printed.stdout)
	}
	listed := s.typed(t, "typed", dir, env, "bake", "--list", "variables", "--output", "json").want(t, 0)
	if !strings.Contains(listed.stdout, `"value": "hello"`) {
		t.Errorf("listed = %s, want the variable with its value", listed.stdout)
	}
	s.typed(t, "typed", dir, env, "bake", "--progress", "plain").want(t, 0)
	if said := read(t, filepath.Join(dir, "out", "said")); said != "HELLO!\n" {
		t.Errorf("the image says %q, want what the function made of the variable", said)
	}
	s.typed(t, "typed", dir, env, "bake", "--progress", "plain", "-f", "here.hcl").want(t, 0)
	for _, file := range []string{"1", "2", "3"} {
		if said := read(t, filepath.Join(dir, "here", file)); said != "here" {
			t.Errorf("the file %s of the working directory says %q", file, said)
		}
	}
	nobody := append(env, "PATH="+t.TempDir())
	s.typed(t, "typed", dir, nobody, "bake", "--print").want(t, 2).wantError(t, "docker-buildx", "docker-bake.hcl: HCL is evaluated by the buildx plugin")
	s.typed(t, "typed", dir, nobody, "bake", "--print", "-f", "expression.json").want(t, 2).wantError(t, "docker-buildx", "expression.json:1: ", "${1 + 1}")
	if err := os.WriteFile(filepath.Join(dir, "bad.hcl"), []byte("target \"default\" {\n  args = { A = nope }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.typed(t, "typed", dir, env, "bake", "--print", "-f", "bad.hcl").want(t, 2).wantError(t, "", "bad.hcl:2")
}
