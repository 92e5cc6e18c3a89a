package podmanrun

import (
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
)

func mustURL(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestAMissingSocketNamesTheSetting(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "podman.sock")
	start := time.Now()
	_, err := Open(t.Context(), Config{Host: "unix://" + socket, Program: "podman", ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), socket) {
		t.Errorf("Open = %v, want an error that names %s", err, socket)
	}
	if hints := hint.All(err); len(hints) != 1 || !strings.Contains(hints[0], "CONTAINER_HOST") {
		t.Errorf("hints = %q, want one that names CONTAINER_HOST", hints)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Open took %s to see that there is no socket", took)
	}
}

func TestAProgramThatIsNoPodmanIsReportedWithItsOutput(t *testing.T) {
	program := filepath.Join(t.TempDir(), "podman")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho no service today >&2\nexit 5\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err := openPrivate(t.Context(), Config{Program: program, RuntimeDir: dir}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "no service today") || !strings.Contains(err.Error(), "exit status 5") {
		t.Errorf("openPrivate = %v, want the program's output and exit status", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("%d files are left in the runtime directory, want none", len(left))
	}
}

func TestUnusableSettingsAreReportedTogether(t *testing.T) {
	err := Config{Host: "http://x"}.Validate()
	if err == nil || !strings.Contains(err.Error(), "CONTAINER_HOST") || !strings.Contains(err.Error(), "DOCKLESS_PODMAN_TIMEOUT") {
		t.Errorf("Validate = %v, want both settings", err)
	}
	if err := (Config{Host: "tcp://podman:8888", ConnectTimeout: time.Second}).Validate(); err != nil {
		t.Errorf("Validate = %v, want nil", err)
	}
}

func TestCredentialsAreSentForTheirRegistryOnly(t *testing.T) {
	dir := t.TempDir()
	auth := base64.StdEncoding.EncodeToString([]byte("me:secret"))
	file := `{"auths":{"registry.ci:5000":{"auth":"` + auth + `"},"https://index.docker.io/v1/":{"auth":"` + auth + `"}}}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for registry, want := range map[string]map[string]map[string]string{
		"registry.ci:5000": {"registry.ci:5000": {"username": "me", "password": "secret", "identitytoken": ""}},
		"docker.io":        {"docker.io": {"username": "me", "password": "secret", "identitytoken": ""}},
		"ghcr.io":          nil,
	} {
		header, err := credentials(dir, registry)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]map[string]string
		if value := header.Get("X-Registry-Auth"); value != "" {
			data, err := base64.URLEncoding.DecodeString(value)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &got); err != nil {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("credentials(%s) differ (-want +got):\n%s", registry, diff)
		}
	}
	if header, err := credentials("", "docker.io"); header != nil || err != nil {
		t.Errorf("credentials without a Docker configuration = %v, %v; want none", header, err)
	}
}

func TestTheRefusalOfPodmanIsReadFromItsJSON(t *testing.T) {
	for body, want := range map[string]string{
		`{"cause":"x","message":"no such image","response":404}`: "no such image",
		"<html>gateway</html>":      "<html>gateway</html>",
		strings.Repeat("x", 100000): strings.Repeat("x", 512),
	} {
		if got := refusal(strings.NewReader(body)); got != want {
			t.Errorf("refusal(%.30q) = %.60q, want %.60q", body, got, want)
		}
	}
}
