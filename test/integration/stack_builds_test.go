package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/test/stage"
)

func TestUpBuildsWhatItsServicesAreBuiltFrom(t *testing.T) {
	s := stackCommands{testStage: openStage(t, stage.Options{NoRegistry: true}), t: t, dir: t.TempDir()}
	writeFile(t, s.dir, "compose.yml", `
name: built
services:
  app:
    build: {context: ./app, args: {COLOR: "${COLOR:-red}"}, secrets: [word]}
    init: true
    command: sh -c "cat /color; sleep 1000"
  other: {image: built-app, init: true, command: sleep 1000}
secrets: {word: {environment: WORD}}
`)
	if err := os.Mkdir(filepath.Join(s.dir, "app"), 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, s.dir, "app/Dockerfile", "FROM busybox\nARG COLOR\nRUN --mount=type=secret,id=word echo $COLOR $(cat /run/secrets/word | wc -c) > /color\n")
	s.env = []string{"WORD=s3cret"}
	s.stack("up", "--no-build").want(t, 1).wantError(t, "stack build", "built-app", "not built")
	up := s.stack("up").want(t, 0)
	if strings.Contains(up.stderr+up.stdout, "s3cret") {
		t.Error("the secret is shown")
	}
	defer s.down()
	eventually(t, "app has said what was built", 20*time.Second, func() bool {
		return s.stack("logs", "--no-log-prefix", "app").want(t, 0).stdout == "red 6\n"
	})
	s.env = append(s.env, "COLOR=blue")
	if again := s.stack("up").want(t, 0); strings.Contains(again.stderr, "building") {
		t.Errorf("what is there is built again:\n%s", again.stderr)
	}
	s.stack("up", "-q", "--build").want(t, 0)
	if color := s.stack("exec", "app", "cat", "/color").want(t, 0).stdout; color != "blue 6\n" {
		t.Errorf("color = %q", color)
	}
	s.stack("build", "-q").want(t, 0)
	s.stack("down", "-t", "2", "--rmi", "local").want(t, 0)
	if s.Podman.Command(t.Context(), "image", "exists", "built-app").Run() == nil {
		t.Error("down --rmi local left the image")
	}
	// An image that is used elsewhere stays, and keeps no other one there.
	s.stack("up", "-q").want(t, 0)
	if out, err := s.Podman.Command(t.Context(), "tag", "built-app", "aaa-first").CombinedOutput(); err != nil {
		t.Fatalf("naming an image: %v: %s", err, out)
	}
	s.env[1] = "COLOR=green"
	s.stack("build", "-q").want(t, 0)
	writeFile(t, s.dir, "other.yml", "name: other\nservices: {app: {image: aaa-first, init: true, command: sleep 1000}, too: {image: built-app, init: true, command: sleep 1000}}\n")
	if out, err := s.Podman.Command(t.Context(), "create", "--name", "elsewhere", "aaa-first").CombinedOutput(); err != nil {
		t.Fatalf("using an image: %v: %s", err, out)
	}
	s.stack("down", "-t", "2").want(t, 0)
	gone := s.stack("-f", "other.yml", "down", "--rmi", "all").want(t, 0)
	if !strings.Contains(gone.stderr, "image aaa-first stays") || s.Podman.Command(t.Context(), "image", "exists", "built-app").Run() == nil {
		t.Errorf("down --rmi all with an image that is used:\n%s", gone.stderr)
	}
	if out, err := s.Podman.Command(t.Context(), "rm", "elsewhere").CombinedOutput(); err != nil {
		t.Errorf("removing the other container: %v: %s", err, out)
	}
}
