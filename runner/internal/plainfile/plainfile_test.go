package plainfile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// A pipe would be waited for until the test times out.
func TestWhatIsNoPlainFileIsRefusedAtOnce(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "target")
	if err := os.WriteFile(target, []byte("a secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(path string) error{
		"pipe":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link":   func(path string) error { return os.Symlink(target, path) },
		"device": func(path string) error { return os.Symlink("/dev/zero", path) },
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, name)
			if err := put(path); err != nil {
				t.Fatal(err)
			}
			if _, err := Read(path, 100); err == nil || !strings.Contains(err.Error(), path+": it is no plain file") {
				t.Errorf("Read = %v", err)
			}
			for _, shared := range []bool{false, true} {
				if _, err := (Lock{Path: path, Shared: shared}).Take(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
					t.Errorf("Take = %v", err)
				}
			}
		})
	}
}

func TestAFileIsReadUpToItsBound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if _, err := Read(path, 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Read of nothing = %v", err)
	}
	if err := os.WriteFile(path, []byte("four"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path, 4); err != nil || string(got) != "four" {
		t.Errorf("Read = %q, %v", got, err)
	}
	if _, err := Read(path, 3); err == nil || !strings.Contains(err.Error(), "more than 3 bytes") {
		t.Errorf("Read = %v", err)
	}
}

func TestALockIsHeldAgainstOthersUntilItIsReleased(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	ended, cancel := context.WithCancelCause(t.Context())
	busy := errors.New("somebody else has it")
	cancel(busy)
	for _, c := range []struct {
		first, second bool // shared
		want          error
	}{{false, false, busy}, {true, false, busy}, {false, true, busy}, {true, true, nil}} {
		release, err := Lock{Path: path, Shared: c.first}.Take(ended) // nobody holds it
		if err != nil {
			t.Fatal(err)
		}
		other, err := Lock{Path: path, Shared: c.second}.Take(ended)
		if !errors.Is(err, c.want) {
			t.Errorf("shared %t, then %t: Take = %v, want %v", c.first, c.second, err, c.want)
		}
		if err == nil {
			err = other()
		} else {
			err = nil
		}
		if err := errors.Join(err, release()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestALongWaitIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Lock{Path: path}.Take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	told := 0
	second, err := Lock{Path: path, Waiting: func() {
		told++
		if err := release(); err != nil {
			t.Error(err)
		}
	}}.Take(ctx)
	if err != nil || told != 1 {
		t.Fatalf("Take = %v after %d words, want one", err, told)
	}
	if err := second(); err != nil {
		t.Error(err)
	}
}

func TestAFileIsReplacedWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	path, temporary, elsewhere := filepath.Join(dir, "file"), filepath.Join(dir, "new"), filepath.Join(dir, "elsewhere")
	if err := errors.Join(os.WriteFile(path, []byte("old"), 0o600), os.Symlink(elsewhere, temporary)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	if err := Replace(temporary, path, iotest.ErrReader(broken), 0o644); !errors.Is(err, broken) {
		t.Errorf("Replace = %v, want %v", err, broken)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "old" {
		t.Errorf("after a failure: %q, %v", got, err)
	}
	if err := os.Symlink(elsewhere, temporary); err != nil {
		t.Fatal(err)
	}
	if err := Replace(temporary, path, strings.NewReader("new"), 0o640); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	info, serr := os.Lstat(path)
	if err != nil || serr != nil || string(got) != "new" || info.Mode() != 0o640 {
		t.Errorf("the file has %q, %v; %v, %v", got, err, info, serr)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}
