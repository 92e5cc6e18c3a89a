package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/dockerapi"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

const (
	// composeStart bounds how long docker compose may take for one folder, and
	// composePatience how long the checks may take after that.
	composeStart, composePatience = 4 * time.Minute, 30 * time.Second
	// failingStart and failingPatience are for folders that it cannot do.
	failingStart, failingPatience = 15 * time.Second, 3 * time.Second
)

// composeCommand is the real docker compose, on a Docker API as jobs have it:
// Podman's, with its healthchecks run.
type composeCommand struct {
	docker string
	env    []string
	owner  podmanrun.Owner
}

func openComposeCommand(t *testing.T, client *podmanrun.Client) *composeCommand {
	t.Helper()
	dir, err := os.MkdirTemp("", "dl-compose-") //nolint:usetesting // the path of a socket is short, and that of t.TempDir is not
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := &composeCommand{docker: rig.NeedBin(t, "docker"), owner: podmanrun.Owner{Agent: "integration", Job: "docker-compose"}}
	socket := filepath.Join(dir, "docker.sock")
	api, err := dockerapi.Open(t.Context(), socket, client, dockerapi.Config{Owner: c.owner}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, err := client.RemoveOwned(ctx, c.owner)
		if err := errors.Join(api.Close(ctx), err); err != nil {
			t.Error(err)
		}
	})
	config := fmt.Sprintf(`{"cliPluginsExtraDirs":[%q]}`, filepath.Dir(rig.NeedBin(t, "docker-compose")))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = []string{"DOCKER_HOST=unix://" + socket, "DOCKER_CONFIG=" + dir, "HOME=" + dir, "PATH=" + os.Getenv("PATH"), "COMPOSE_ANSI=never"}
	return c
}

// run runs docker compose on a folder, and returns what it printed on its standard output.
func (c *composeCommand) run(ctx context.Context, r *composeRun, profile string, args ...string) ([]byte, error) {
	bound := composeStart
	if r.dockerFails() {
		bound = failingStart
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bound, fmt.Errorf("docker compose took longer than %s", bound))
	defer cancel()
	line := []string{"compose", "--progress=plain"}
	for _, file := range r.files() {
		line = append(line, "--file="+file)
	}
	for _, p := range r.Profiles {
		line = append(line, "--profile="+p)
	}
	if profile != "" {
		line = append(line, "--profile="+profile)
	}
	cmd := exec.CommandContext(ctx, c.docker, append(line, args...)...)
	cmd.Dir, cmd.WaitDelay = r.dir, 5*time.Second
	cmd.Env = append(cmd.Env, c.env...)
	for name, value := range r.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("docker compose %s: %w\n%s", args[0], err, stderr.String())
	}
	return stdout.Bytes(), nil
}

// up brings the stack up and waits for its checks, as [composeRun.up] does.
func (c *composeCommand) up(ctx context.Context, r *composeRun, profile string) error {
	if _, err := c.run(ctx, r, profile, "up", "--detach", "--no-build", "--quiet-pull"); err != nil {
		return err
	}
	patience := composePatience
	if r.dockerFails() {
		patience = failingPatience
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(200 * time.Millisecond) {
		answer, err := c.run(ctx, r, profile, "ps", "--all", "--format=json")
		if err != nil {
			return err
		}
		var open []string
		checks := 0
		for decoder := json.NewDecoder(bytes.NewReader(answer)); ; {
			var container struct {
				Service, State string
				ExitCode       int
			}
			if err := decoder.Decode(&container); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return fmt.Errorf("reading what docker compose ps says: %w", err)
			}
			if !isCheck(container.Service) {
				continue
			}
			checks++
			if container.State != "exited" || container.ExitCode != 0 {
				open = append(open, container.Service)
			}
		}
		if len(open) == 0 && checks > 0 {
			return nil
		}
		if time.Now().After(deadline) {
			logs, err := c.run(ctx, r, profile, append([]string{"logs", "--no-color"}, open...)...)
			return errors.Join(fmt.Errorf("not ended with 0: %s\n%s", strings.Join(open, ", "), logs), err)
		}
	}
}

// dockerFails reports whether docker compose does not bring the folder's stack up.
func (c composeCase) dockerFails() bool { return strings.HasPrefix(c.Docker, "fails: ") }

// both goes through a folder's starts.
func (c *composeCommand) both(ctx context.Context, r *composeRun) error {
	if err := c.up(ctx, r, ""); err != nil || r.Then == "" {
		return err
	}
	if _, err := c.run(ctx, r, "", "down"); err != nil {
		return err
	}
	return c.up(ctx, r, r.Then)
}

// TestTheRealComposeDiffersOnlyAsWritten runs every folder of test/compose through
// the real docker compose on the same Podman. Where it ends otherwise than
// dockless does, the folder says so, and why; nothing else may.
func TestTheRealComposeDiffersOnlyAsWritten(t *testing.T) {
	engine, client := openSuite(t)
	command := openComposeCommand(t, client)
	for _, c := range composeCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.Podman != "" && engineIsOlder(t, engine, c.Podman) {
				t.Skipf("needs Podman %s", c.Podman)
			}
			r := newComposeRun(t, c, engine, client, command.owner.Labels())
			defer r.done(t)
			if project, err := r.load(t, ""); err == nil {
				r.build(t, project)
			}
			defer func() {
				if r.dockerFails() {
					return // what it has made goes with everything else of the owner
				}
				_, err := command.run(context.WithoutCancel(t.Context()), r, c.Then, "down", "--volumes", "--timeout=1", "--remove-orphans")
				if err != nil && c.passes() {
					t.Error(err)
				}
			}()
			err := command.both(t.Context(), r)
			want := ""
			switch {
			case err != nil && c.passes():
				want = "fails: "
			case err == nil && !c.passes():
				want = "passes: "
			}
			if verdict, _, _ := strings.Cut(c.Docker, ": "); (want == "") != (c.Docker == "") || verdict+": " != want && want != "" {
				t.Errorf("docker compose ended with: %v\nx-test has docker: %q, want it to begin with %q", err, c.Docker, want)
			}
		})
	}
}
