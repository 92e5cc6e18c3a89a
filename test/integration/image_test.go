package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// maxImage is the budget of design §14 for the compressed image without Node.
const maxImage = 80 << 20

func TestTheImageIsBuiltByDocklessAndRunsUnderPodman(t *testing.T) {
	s := openStage(t, stage.Options{})
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64"} {
		if _, err := os.Stat(filepath.Join(root, ".build", "dist", "linux-"+arch, "dockless")); err != nil {
			t.Fatalf("the image's binaries are not built: %v; run make dist", err)
		}
	}
	image := s.Registry.Addr() + "/dockless:test"
	archive := filepath.Join(s.Dir, "image.tar")
	code, out := s.dockless(t, "builder", nil, "build", root, "--target", "agent", "-t", image, "--push",
		"-o", "type=oci,dest="+archive, "--progress", "plain")
	if code != 0 {
		t.Fatalf("building the image: exit code %d:\n%s", code, out)
	}
	info, err := os.Stat(archive)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the image has %.1f MB", float64(info.Size())/1e6)
	if info.Size() > maxImage {
		t.Errorf("the image has %d bytes, want at most %d", info.Size(), maxImage)
	}
	run := func(args ...string) (string, error) {
		out, err := s.Podman.Command(t.Context(), append([]string{"run", "--rm", "--quiet", "--read-only"}, args...)...).CombinedOutput()
		return string(out), err
	}
	if out, err := run(image, "version"); err != nil || !strings.HasPrefix(out, "dockless ") {
		t.Errorf("dockless version in the image = %v, %s", err, out)
	}
	out, err = run("--entrypoint", "dockless-probe", image, "live")
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 { //nolint:errorlint // the direct error of CombinedOutput
		t.Errorf("dockless-probe without an agent = %v, %s, want exit code 1", err, out)
	}
	if out, err := run("--entrypoint", "sh", image, "-c", "id -u; git --version; test -s /etc/ssl/certs/ca-certificates.crt && echo trusted"); err != nil ||
		!strings.HasPrefix(out, "10001\n") || !strings.Contains(out, "git version") || !strings.Contains(out, "trusted") {
		t.Errorf("user, git and certificates of the image = %v, %s", err, out)
	}
}
