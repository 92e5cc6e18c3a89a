package integration_test

import (
	"encoding/base64"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// certificates runs deploy/make-certs.sh and unpacks its two Secrets.
func certificates(t *testing.T) (daemon, client string) {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), filepath.Join(root, "deploy", "make-certs.sh")).Output()
	if err != nil {
		t.Fatalf("making certificates: %v; hack/setup.sh installs openssl", err)
	}
	dir := t.TempDir()
	for document := range strings.SplitSeq(string(out), "---\n") {
		var secret struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
		if err := yaml.Unmarshal([]byte(document), &secret); err != nil {
			t.Fatal(err)
		}
		for file, content := range secret.Data {
			plain, err := base64.StdEncoding.DecodeString(content)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, secret.Metadata.Name, file)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, plain, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return filepath.Join(dir, "buildkit-daemon-certs"), filepath.Join(dir, "buildkit-client-certs")
}

func TestAgentsReachBuildkitdWithMutualTLS(t *testing.T) {
	server, client := certificates(t)
	_, stranger := certificates(t)
	s := openStage(t, stage.Options{NoBuildkitd: true, NoPodman: true, NoRegistry: true})
	images := rig.NeedImages(t)
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: images.Addr(), TCP: true, TLS: &rig.TLSFiles{
		CA: filepath.Join(server, "ca.pem"), Cert: filepath.Join(server, "cert.pem"), Key: filepath.Join(server, "key.pem"),
	}})
	addr := daemon.TCPAddr()

	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo built over mutual TLS\n"})
	startAgent(t, s, stage.AgentOptions{Env: []string{"BUILDKIT_HOST=" + addr, "BUILDKIT_TLS_DIR=" + client, "CONTAINER_HOST", "DOCKLESS_PODMAN=no-podman-here"}})
	r := finish(t, s, queue(t, s, `steps:
- checkout: none
- script: docker buildx build --progress plain `+dir+`
  displayName: Use buildx
- bash: cp -r `+dir+`/. .
- task: Docker@2
  displayName: Use the task
  inputs: {command: build, repository: tls, Dockerfile: Dockerfile, arguments: --no-cache}
`, "", nil))
	for _, step := range []string{"Use buildx", "Use the task"} {
		if log := strings.Join(record(t, r, step).Log, "\n"); r.Result != job.Succeeded || !strings.Contains(log, "built over mutual TLS") {
			t.Errorf("%s: the job ended as %s, want succeeded:\n%s", step, r.Result, log)
		}
	}

	for name, c := range map[string]struct {
		dir, setting string
	}{
		"the certificates of somebody else": {stranger, "BUILDKIT_TLS_DIR"},
		"no certificates":                   {"", "BUILDKIT_"},
		"a directory without them":          {t.TempDir(), "BUILDKIT_TLS_DIR"},
	} {
		t.Run(name, func(t *testing.T) {
			env := []string{"BUILDKIT_HOST=" + addr, "BUILDKIT_TLS_DIR=" + c.dir, "DOCKLESS_BUILDKIT_TIMEOUT=5s"}
			f := s.typed(t, "stranger", "", env, "builder", "ensure")
			if f.code == 0 {
				t.Fatalf("the builder is ready: %s", f.stdout)
			}
			f.wantError(t, c.setting)
		})
	}
}
