package integration_test

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

var update = flag.Bool("update", false, "rewrite the tables of docs/compose.md and docs/probe-verdicts.md")

// composeRun is one folder on its way through one program.
type composeRun struct {
	composeCase
	engine *rig.Podman
	client *podmanrun.Client
	dir    string // a copy of the folder
	env    map[string]string
}

// newComposeRun copies the folder and makes what has to be there before, with labels.
func newComposeRun(t *testing.T, c composeCase, engine *rig.Podman, client *podmanrun.Client, labels map[string]string) *composeRun {
	t.Helper()
	r := &composeRun{composeCase: c, engine: engine, client: client, dir: filepath.Join(t.TempDir(), c.name)}
	if err := copyReadable(r.dir, os.DirFS(filepath.Join(composeDir, c.name))); err != nil {
		t.Fatal(err)
	}
	ports, err := rig.FreePorts(t.Context(), 5)
	if err != nil {
		t.Fatal(err)
	}
	r.env = map[string]string{
		"NET": engine.Net(), "PODMAN_SOCKET": engine.Socket(),
		"PORTS": fmt.Sprintf("%d-%d", ports, ports+2), "PORT": strconv.Itoa(ports + 3), "PORT2": strconv.Itoa(ports + 4),
	}
	for name, value := range c.Env {
		r.env[name] = strings.ReplaceAll(value, "@arch", runtime.GOARCH)
	}
	var labelled []string
	for name, value := range labels {
		labelled = append(labelled, "--label="+name+"="+value)
	}
	for _, name := range c.Volumes {
		r.podman(t, append([]string{"volume", "create", name}, labelled...)...)
	}
	for _, name := range c.Networks {
		r.podman(t, append([]string{"network", "create", name}, labelled...)...)
	}
	return r
}

// done removes what newComposeRun has made, which no program may have removed.
func (r *composeRun) done(t *testing.T) {
	t.Helper()
	for _, name := range r.Volumes {
		r.podman(t, "volume", "rm", name)
	}
	for _, name := range r.Networks {
		r.podman(t, "network", "rm", name)
	}
}

func (r *composeRun) podman(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	if out, err := r.engine.Command(ctx, args...).CombinedOutput(); err != nil {
		t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// load reads the project; what is behind profile is active too.
func (r *composeRun) load(t *testing.T, profile string) (*podmanrun.Project, error) {
	t.Helper()
	o := podmanrun.LoadOptions{WorkingDir: r.dir, Files: r.files(), Environment: maps.Clone(r.env), Profiles: slices.Clone(r.Profiles)}
	if profile != "" {
		o.Profiles = append(o.Profiles, profile)
	}
	return podmanrun.Load(t.Context(), o)
}

func (r *composeRun) files() []string {
	if len(r.Files) > 0 {
		return r.Files
	}
	return []string{"compose.yml"}
}

// build makes the images of services with a build section: "dockless stack build",
// on a builder of its own.
func (r *composeRun) build(t *testing.T, project *podmanrun.Project) {
	t.Helper()
	if requests, err := project.Builds(); err != nil || len(requests) == 0 {
		return // what is wrong with one is for the start to say
	}
	builder := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: rig.NeedImages(t).Addr()})
	ctx, cancel := context.WithTimeoutCause(t.Context(), commandTimeout, errTooLong)
	defer cancel()
	args := []string{"stack", "--project-name", project.Name()}
	for _, f := range r.files() {
		args = append(args, "--file", f)
	}
	cmd := exec.CommandContext(ctx, rig.NeedBin(t, "dockless"), append(args, "build")...)
	cmd.Dir = r.dir
	home := t.TempDir()
	env := append(os.Environ(), "CONTAINER_HOST="+r.engine.Addr(), "BUILDKIT_HOST="+builder.Addr(), "HOME="+home, "DOCKER_CONFIG="+home, "XDG_STATE_HOME="+home)
	for name, value := range r.env {
		env = append(env, name+"="+value)
	}
	cmd.Env = stage.Environment(env)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("dockless %s: %v\n%s", strings.Join(cmd.Args[1:], " "), err, out)
	}
}

// isCheck reports whether a service says by its end whether the stack is right.
func isCheck(service string) bool { return service == "check" || strings.HasSuffix(service, "-check") }

// openSuite starts Podman for the suite.
func openSuite(t *testing.T) (*rig.Podman, *podmanrun.Client) {
	t.Helper()
	mirror := rig.NeedImages(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})
	client, err := podmanrun.Open(t.Context(), podmanrun.Config{Host: engine.Addr(), Program: "podman", ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return engine, client
}

// TestTheStacksOfTheSuiteHoldInside runs every folder of test/compose. What a folder
// promises is asserted by its own services, in their containers.
func TestTheStacksOfTheSuiteHoldInside(t *testing.T) {
	engine, client := openSuite(t)
	for _, c := range composeCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.Podman != "" && engineIsOlder(t, engine, c.Podman) {
				t.Skipf("needs Podman %s", c.Podman)
			}
			r := newComposeRun(t, c, engine, client, nil)
			defer r.done(t)
			owner := podmanrun.Owner{Agent: "integration", Job: c.name}
			defer func() {
				left, err := client.RemoveOwned(context.WithoutCancel(t.Context()), owner)
				if err != nil || !left.Empty() {
					t.Errorf("left behind: %+v, %v", left, err)
				}
			}()
			err := r.up(t, owner, "")
			r.judge(t, err)
			if c.passes() && c.Then != "" && !t.Failed() {
				if err := r.up(t, owner, c.Then); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// judge compares how the start ended with what the folder promises.
func (r *composeRun) judge(t *testing.T, err error) {
	t.Helper()
	switch {
	case err == nil && !r.passes():
		t.Errorf("the stack came up, want %q", cmp.Or(r.Fails, strings.Join(r.Refused, "; ")))
	case err == nil:
	case r.passes():
		t.Error(err)
	case r.Fails != "":
		if !strings.Contains(err.Error(), r.Fails) {
			t.Errorf("error = %v, want it to contain %q", err, r.Fails)
		}
	default:
		got := strings.ReplaceAll(err.Error(), r.dir+"/", "")
		if want := strings.Join(r.Refused, "\n"); got != want {
			t.Errorf("refused:\n%s\nwant:\n%s", got, want)
		}
	}
}

// up brings the stack up, waits for its checks, and takes it down.
func (r *composeRun) up(t *testing.T, owner podmanrun.Owner, profile string) error {
	t.Helper()
	project, err := r.load(t, profile)
	if err != nil {
		return err
	}
	r.warned(t, project)
	if !slices.ContainsFunc(project.ServiceNames(), isCheck) {
		t.Fatal("no service checks anything")
	}
	r.build(t, project)
	_, err = r.client.Up(t.Context(), project, podmanrun.UpOptions{Owner: owner, WaitTimeout: 4 * time.Minute})
	if failed, ok := errors.AsType[*podmanrun.ServiceError](err); ok {
		return fmt.Errorf("%w\n%s", err, failed.Details())
	}
	if err != nil {
		return err
	}
	r.checked(t, project.Name())
	return r.client.Down(t.Context(), project.Name(), podmanrun.DownOptions{Owner: owner, Volumes: r.Then == "" || profile != ""})
}

func (r *composeRun) warned(t *testing.T, project *podmanrun.Project) {
	t.Helper()
	got := strings.ReplaceAll(strings.Join(project.Warnings(), "\n"), r.dir+"/", "")
	if want := strings.Join(r.Warns, "\n"); got != want {
		t.Errorf("warnings:\n%s\nwant:\n%s", got, want)
	}
}

// checked waits until the services that check have ended, and shows the output of
// those that found something wrong.
func (r *composeRun) checked(t *testing.T, project string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	var wrongSince time.Time
	for ; ; time.Sleep(100 * time.Millisecond) {
		list, err := r.client.Ps(t.Context(), project)
		if err != nil {
			t.Fatal(err)
		}
		var waiting, wrong []string
		for _, c := range list {
			switch {
			case !isCheck(c.Service):
			case c.State != "exited":
				waiting = append(waiting, c.Service)
			case c.ExitCode != 0:
				wrong = append(wrong, c.Service)
			}
		}
		if len(wrong) == 0 {
			wrongSince = time.Time{}
		} else if wrongSince.IsZero() {
			wrongSince = time.Now()
		}
		// What has failed may be between two tries of its restart policy, of which
		// Podman makes the next one when it has cleaned up.
		between := len(wrong) > 0 && time.Since(wrongSince) < 15*time.Second
		if time.Now().Before(deadline) && (between || len(waiting) > 0 && len(wrong) == 0) {
			continue
		}
		for _, service := range append(waiting, wrong...) {
			var lines []string
			err := r.client.Logs(t.Context(), project, podmanrun.LogsOptions{Services: []string{service}}, func(_, line string) { lines = append(lines, line) })
			t.Errorf("service %s has not ended with 0: %v\n%s", service, err, strings.Join(lines, "\n"))
		}
		return
	}
}
