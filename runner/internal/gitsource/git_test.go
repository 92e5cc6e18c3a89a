package gitsource

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// environment keeps the settings of whoever runs the tests out of them.
func environment(config map[string]string) []string {
	env := append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_ALLOW_PROTOCOL=file:http", "GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_CONFIG_COUNT="+strconv.Itoa(len(config)))
	i := 0
	for name, value := range config {
		env = append(env, "GIT_CONFIG_KEY_"+strconv.Itoa(i)+"="+name, "GIT_CONFIG_VALUE_"+strconv.Itoa(i)+"="+value)
		i++
	}
	return env
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir, cmd.Env = dir, environment(nil)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// commit writes files, path and text in turn, commits them and returns the commit.
func commit(t *testing.T, dir string, files ...string) string {
	t.Helper()
	for i := 0; i < len(files); i += 2 {
		write(t, filepath.Join(dir, files[i]), files[i+1])
	}
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "a commit")
	return git(t, dir, "rev-parse", "HEAD")
}

// repository makes one with a first commit on main.
func repository(t *testing.T, files ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "origin")
	git(t, "/", "init", "-q", "-b", "main", dir)
	git(t, dir, "config", "uploadpack.allowFilter", "true")
	commit(t, dir, files...)
	return dir
}

// recorded is a Source of the tests and what it said.
type recorded struct {
	*Source
	said []string
}

// source returns a checkout of main of the repository at address.
func source(t *testing.T, address string) *recorded {
	t.Helper()
	r := &recorded{Source: &Source{Dir: filepath.Join(t.TempDir(), "s"), URL: address, Ref: "refs/heads/main", Pause: func() time.Duration { return 0 }}}
	r.Log = func(line string) { r.said = append(r.said, line) }
	r.Run = func(ctx context.Context, dir string, config map[string]string, args ...string) error {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir, cmd.Env = dir, environment(config)
		out, err := cmd.CombinedOutput()
		r.said = append(r.said, "git "+strings.Join(args, " "), string(out))
		return err
	}
	r.Ask = func(ctx context.Context, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Env = environment(nil)
		out, err := cmd.Output()
		return string(out), err
	}
	return r
}

func (r *recorded) log() string { return strings.Join(r.said, "\n") }

// again is the next checkout into the same directory.
func (r *recorded) again() *recorded { r.said = nil; return r }

func (r *recorded) mustCheckout(t *testing.T) {
	t.Helper()
	if err := r.Checkout(t.Context()); err != nil {
		t.Fatalf("Checkout = %v\n%s", err, r.log())
	}
}

func (r *recorded) mustSay(t *testing.T, text string) {
	t.Helper()
	if !strings.Contains(r.log(), text) {
		t.Errorf("nothing of %q in:\n%s", text, r.log())
	}
}

func (r *recorded) mustHave(t *testing.T, name, text string) {
	t.Helper()
	if got := read(t, filepath.Join(r.Dir, name)); got != text {
		t.Errorf("%s = %q, want %q\n%s", name, got, text, r.log())
	}
}
