package podmanrun

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	if took := time.Since(start); took > 40*time.Second {
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

// clientOf opens a client of a server that plays a Podman service. Both end with the test.
func clientOf(t *testing.T, srv *httptest.Server) *Client {
	t.Helper()
	t.Cleanup(srv.Close)
	c, err := Open(t.Context(), Config{Host: "tcp://" + srv.Listener.Addr().String(), ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it holds connections only
	return c
}
