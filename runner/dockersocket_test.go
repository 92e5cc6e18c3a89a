package runner_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/podmanrun"
)

// emptyPodman is a Podman service that has nothing.
func emptyPodman(t *testing.T) *podmanrun.Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		_, _ = io.WriteString(w, "[]") // a client that is gone needs no answer
	}))
	t.Cleanup(srv.Close)
	c, err := podmanrun.Open(t.Context(), podmanrun.Config{Host: "tcp://" + srv.Listener.Addr().String(), ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it holds connections only
	return c
}

func TestStepsFindTheDockerAPIOfTheirJob(t *testing.T) {
	for name, work := range map[string]string{"in the work folder": "_work", "elsewhere when its path is too long": strings.Repeat("long/", 20) + "_work"} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.Work, cfg.Podman = filepath.Join(t.TempDir(), work), emptyPodman(t)
			cfg.Environment = append(cfg.Environment, "TESTCONTAINERS_RYUK_DISABLED=no", "DOCKER_HOST=unix:///agents", "CONTAINER_HOST=unix:///agents")
			show := `p=${DOCKER_HOST#unix://}; test -S "$p" && stat -c %a "$p" "$(dirname "$p")"; echo ${#p}; echo "$p"; test "$CONTAINER_HOST" = "$DOCKER_HOST" && echo same
echo $TESTCONTAINERS_RYUK_DISABLED $TESTCONTAINERS_HOST_OVERRIDE; test "$TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE" = "$p" && echo same; echo "${BUILDX_NO_DEFAULT_LOAD-unset}"`
			rec, _ := run(t, cfg, message(script("show", show), script("own", "echo $DOCKER_HOST", func(s *job.Step) {
				s.Environment = map[string]string{"DOCKER_HOST": "tcp://mine"}
			})))
			got := rec.output(t, "show")
			if len(got) < 4 {
				t.Fatalf("output = %q", got)
			}
			socket := got[3]
			if want := []string{"600", "700"}; !cmp.Equal(want, got[:2]) || len(socket) > 107 {
				t.Errorf("socket %s: modes %q, want %q and at most 107 bytes", socket, got[:2], want)
			}
			if diff := cmp.Diff([]string{"same", "no 127.0.0.1", "same", "unset"}, got[4:]); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
			if got := rec.output(t, "own"); got[0] != "tcp://mine" {
				t.Errorf("DOCKER_HOST of a step with its own = %s", got[0])
			}
			if _, err := os.Stat(filepath.Dir(socket)); !os.IsNotExist(err) {
				t.Errorf("the directory of the socket is still there: %v", err)
			}
		})
	}
}

func TestALoginOfAScriptEndsWithTheJob(t *testing.T) {
	cfg := config(t)
	cfg.DockerConfig = t.TempDir()
	const operators = `{"auths":{"old.example.com":{"auth":"eDp5"}}}`
	write(t, filepath.Join(cfg.DockerConfig, "config.json"), operators)
	write(t, filepath.Join(cfg.DockerConfig, "cli-plugins", "docker-buildx"), "")
	show := `cat "$DOCKER_CONFIG/config.json"; ls "$DOCKER_CONFIG/cli-plugins"; stat -c %a "$DOCKER_CONFIG" "$DOCKER_CONFIG/config.json"; echo $BUILDX_NO_DEFAULT_LOAD`
	want := []string{operators + "docker-buildx", "700", "600", "true"}
	for range 2 {
		rec, _ := run(t, cfg, message(script("show", show), script("login", `echo changed > "$DOCKER_CONFIG/config.json"`), script("later", `cat "$DOCKER_CONFIG/config.json"`)))
		if diff := cmp.Diff(want, rec.output(t, "show")); diff != "" {
			t.Errorf("the configuration of a new job (-want +got):\n%s", diff)
		}
		if got := rec.output(t, "later"); got[0] != "changed" {
			t.Errorf("the configuration in the next step = %q, want what the step before wrote", got)
		}
	}
	if data, err := os.ReadFile(filepath.Join(cfg.DockerConfig, "config.json")); err != nil || string(data) != operators {
		t.Errorf("the operator's configuration = %s, %v", data, err)
	}
}
