package scratchdir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// childVariable makes this test binary a process with a directory in the one that it
// names, until it is killed.
const childVariable = "DOCKLESS_SCRATCHDIR_TEST_CHILD"

const pattern = ".dockless-test-*"

func TestMain(m *testing.M) {
	if in := os.Getenv(childVariable); in != "" {
		d, err := Make(context.Background(), in, pattern)
		if err == nil {
			err = os.MkdirAll(filepath.Join(d.Path, "0", "layout"), 0o700)
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(d.Path)
		select {}
	}
	goleak.VerifyTestMain(m)
}

// age makes a directory look older than the grace.
func age(t *testing.T, dir string) {
	t.Helper()
	old := time.Now().Add(-2 * grace)
	if err := os.Chtimes(dir, old, old); err != nil {
		t.Fatal(err)
	}
}

// open makes a directory that is removed with the test.
func open(t *testing.T, in string) *Dir {
	t.Helper()
	d, err := Make(t.Context(), in, pattern)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Remove(); err != nil {
			t.Error(err)
		}
		if exists(d.Path) {
			t.Errorf("%s is there after it was removed", d.Path)
		}
	})
	return d
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestWhatAKilledProcessLeftIsRemovedByTheNext(t *testing.T) {
	in := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childVariable+"="+in)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	dir := strings.TrimSpace(line)
	if err != nil || !exists(filepath.Join(dir, "0", "layout")) {
		t.Fatalf("the child said %q, %v, want its directory", line, err)
	}
	age(t, dir)
	open(t, in)
	if !exists(dir) {
		t.Error("the directory of a process that lives was removed")
	}
	age(t, dir)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // it was killed
	open(t, in)
	if exists(dir) {
		t.Error("the directory of a process that was killed is still there")
	}
}

func TestWhoeverIsCanceledRemovesNothingAndMakesNothing(t *testing.T) {
	in := t.TempDir()
	left := filepath.Join(in, ".dockless-test-left")
	if err := os.MkdirAll(filepath.Join(left, "0"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(left, "0", "blob"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	age(t, left)
	cause := errors.New("the job was canceled")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if d, err := Make(ctx, in, pattern); !errors.Is(err, cause) || d != nil {
		t.Errorf("Make() = %v, %v, want the cause", d, err)
	}
	if found, err := os.ReadDir(in); err != nil || len(found) != 1 || !exists(filepath.Join(left, "0", "blob")) {
		t.Errorf("the directory has %v, %v, want what was left and nothing else", found, err)
	}
}

func TestWhatIsAnotherUsersStays(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	in := t.TempDir()
	foreign := filepath.Join(in, ".dockless-test-foreign")
	if err := os.Mkdir(foreign, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(foreign, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	age(t, foreign)
	open(t, in)
	if !exists(foreign) {
		t.Error("the directory of another user was removed")
	}
}

func TestOnlyWhatIsOldAndFreeIsRemoved(t *testing.T) {
	in, elsewhere := t.TempDir(), t.TempDir()
	name := func(end string) string { return filepath.Join(in, ".dockless-test-"+end) }
	left, fresh, link, file, other := name("left"), name("fresh"), name("link"), name("file"), filepath.Join(in, ".dockless-other-1")
	for _, dir := range []string{left, fresh, other} {
		if err := os.MkdirAll(filepath.Join(dir, "0", "layout"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(elsewhere, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := open(t, in)
	for _, path := range []string{left, used.Path, file, other} {
		age(t, path)
	}
	second := open(t, in)
	for path, want := range map[string]bool{left: false, fresh: true, used.Path: true, second.Path: true, elsewhere: true, link: true, file: true, other: true} {
		if exists(path) != want {
			t.Errorf("%s is there: %t, want %t", path, !want, want)
		}
	}
}

func TestADirectoryWhoseParentIsMissingIsNotMade(t *testing.T) {
	if _, err := Make(t.Context(), filepath.Join(t.TempDir(), "missing"), pattern); !os.IsNotExist(err) {
		t.Errorf("Make() = %v, want that the directory is not there", err)
	}
}
