package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"dockless": main})
}

// leakChecked fails a run of tests that leaves goroutines behind.
type leakChecked struct{ tests *testing.M }

// Run implements the interface that testscript wants.
func (l leakChecked) Run() int {
	code := l.tests.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs testdata/script: what each command prints and exits with.
// PATH holds the two commands and a few tools, neither Podman nor buildkitd.
func TestScripts(t *testing.T) {
	tools := scriptTools(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			home := filepath.Join(env.WorkDir, ".home")
			for name, value := range map[string]string{
				"PATH": tools, "HOME": home, "XDG_STATE_HOME": filepath.Join(home, "state"), "TMPDIR": filepath.Join(env.WorkDir, ".tmp"),
				"GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@example.com", "GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@example.com",
				"DOCKLESS_PODMAN": "no-such-podman", "XDG_RUNTIME_DIR": filepath.Join(home, "run"), "DOCKLESS_PROBE_FILE": filepath.Join(env.WorkDir, ".page"),
			} {
				env.Setenv(name, value)
			}
			return os.MkdirAll(filepath.Join(env.WorkDir, ".tmp"), 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"wait-file": waitFile,
			"post":      post,
		},
	})
}

// scriptTools makes the directory that is the scripts' whole PATH.
func scriptTools(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, tool := range []string{"dockless", "bash", "sh", "git", "cat", "sleep", "mkdir", "rm", "sed", "touch", "printenv", "base64", "chmod", "tr", "env", "test"} {
		path, err := exec.LookPath(tool)
		if err != nil {
			t.Fatalf("the scripts need %s: %v", tool, err)
		}
		if err := os.Symlink(path, filepath.Join(dir, tool)); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "dockless-probe"), "../dockless-probe")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building dockless-probe: %v\n%s", err, out)
	}
	return dir
}

// exits CODE PROGRAM [ARG...] runs a program and checks its exit code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	err = ts.Exec(args[1], args[2:]...)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if stderr := ts.ReadFile("stderr"); strings.Contains(stderr, "goroutine ") {
		ts.Fatalf("there is a stack trace on stderr")
	}
	if got != want {
		ts.Fatalf("exit code = %d, want %d", got, want)
	}
}

// wait-file FILE VARIABLE waits until a line is in FILE and sets VARIABLE to
// what is quoted last in it.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: wait-file FILE VARIABLE")
	}
	const bound = 10 * time.Second
	for end := time.Now().Add(bound); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		content, err := os.ReadFile(ts.MkAbs(args[0]))
		if err != nil || !strings.Contains(string(content), "\n") {
			continue
		}
		parts := strings.Split(string(content), `"`)
		if len(parts) > 2 {
			ts.Setenv(args[1], parts[len(parts)-2])
		}
		return
	}
	ts.Fatalf("nothing in %s within %s", args[0], bound)
}

// post URL CONTENT-TYPE FILE sends a file and fails unless the answer is 2xx.
func post(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: post URL CONTENT-TYPE FILE")
	}
	response, err := http.Post(args[0], args[1], strings.NewReader(ts.ReadFile(args[2])))
	ts.Check(err)
	defer response.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	console.Say(ts.Stdout(), "%s\n", body)
	if response.StatusCode/100 != 2 {
		ts.Fatalf("status = %s", response.Status)
	}
}
