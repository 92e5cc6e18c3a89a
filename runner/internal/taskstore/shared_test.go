package taskstore_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dockless-ci/dockless/runner/internal/taskstore"
)

// filling is a store as a command has it that fills the shared folder.
func filling(t *testing.T, shared string, body []byte) *served {
	t.Helper()
	s := sharing(t, shared, body)
	s.Fill = true
	return s
}

// sharing is a store with a work folder of its own, which reads the shared folder.
func sharing(t *testing.T, shared string, body []byte) *served {
	t.Helper()
	s := store(t.TempDir(), func(_ int, to io.Writer) error {
		if body == nil {
			return errors.New("nobody may ask the server")
		}
		_, err := io.Copy(to, bytes.NewReader(body))
		return err
	})
	s.Shared = shared
	return s
}

func TestAnAgentTakesAPackageFromTheSharedFolder(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "shared")
	if _, err := filling(t, shared, whole(t)).Ensure(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
	second := sharing(t, shared, nil)
	task, err := second.Ensure(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(task.Dir, "main.js")); err != nil || string(text) != "1" {
		t.Errorf("main.js holds %q, %v", text, err)
	}
	if len(second.warnings) != 0 || second.calls.Load() != 0 {
		t.Errorf("warnings %q and %d downloads, want none", second.warnings, second.calls.Load())
	}
	if left, err := filepath.Glob(filepath.Join(shared, "*", ".new-*")); err != nil || len(left) != 0 {
		t.Errorf("left in the shared folder: %q, %v", left, err)
	}
}

func TestAPackageWhoseContentChangedIsDownloadedAgain(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, blob, entry string){
		"one byte of it": func(t *testing.T, blob, _ string) {
			text, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			text[len(text)/2] ^= 1
			write(t, blob, string(text))
		},
		"its second half is gone": func(t *testing.T, blob, _ string) {
			if err := os.Truncate(blob, 40); err != nil {
				t.Fatal(err)
			}
		},
		"it has grown": func(t *testing.T, blob, _ string) {
			text, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			write(t, blob, string(text)+"more")
		},
		"its entry is no JSON": func(t *testing.T, _, entry string) { write(t, entry, "{") },
		"its entry leads out of the folder": func(t *testing.T, _, entry string) {
			write(t, entry, `{"sha256": "../../../../etc/hostname", "bytes": 10}`)
		},
		"its entry is endless": func(t *testing.T, _, entry string) { write(t, entry, `{"sha256": "`+strings.Repeat("0", 5<<10)) },
		"a pipe":               func(t *testing.T, blob, _ string) { pipe(t, blob) },
		"its entry is a pipe":  func(t *testing.T, _, entry string) { pipe(t, entry) },
	} {
		t.Run(name, func(t *testing.T) {
			shared := t.TempDir()
			if _, err := filling(t, shared, whole(t)).Ensure(t.Context(), sample); err != nil {
				t.Fatal(err)
			}
			blobs, err := filepath.Glob(filepath.Join(shared, "sha256", "*"))
			if err != nil || len(blobs) != 1 {
				t.Fatalf("archives %q, %v; want one", blobs, err)
			}
			spoil(t, blobs[0], filepath.Join(shared, "tasks", strings.ToLower(sample.ID), sample.Version+".json"))
			again := filling(t, shared, whole(t))
			if _, err := again.Ensure(t.Context(), sample); err != nil {
				t.Fatal(err)
			}
			if again.calls.Load() != 1 || !slices.ContainsFunc(again.warnings, func(w string) bool { return strings.Contains(w, "downloaded again") }) {
				t.Errorf("%d downloads, warnings %q; want one of each", again.calls.Load(), again.warnings)
			}
			if _, err := sharing(t, shared, nil).Ensure(t.Context(), sample); err != nil {
				t.Errorf("the folder was not repaired: %v", err)
			}
		})
	}
}

// pipe puts one in the place of a file. Whoever opens it waits for a writer.
func pipe(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
}

func TestPipesInTheWorkFolderAreNotWaitedFor(t *testing.T) {
	s := sharing(t, "", whole(t))
	task, err := s.Ensure(t.Context(), sample)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{task.Dir + ".completed", filepath.Join(task.Dir, "task.json")} {
		pipe(t, path)
		before := s.calls.Load()
		if _, err := s.Ensure(t.Context(), sample); err != nil || s.calls.Load() != before+1 {
			t.Errorf("with a pipe at %s: %v and %d downloads, want one", path, err, s.calls.Load()-before)
		}
	}
	pipe(t, task.Dir+".lock")
	if err := os.Remove(task.Dir + ".completed"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ensure(t.Context(), sample); err == nil || !strings.Contains(err.Error(), ".lock: it is no plain file") {
		t.Errorf("with a pipe for a lock: %v", err)
	}
}

// A job runs as the user of its agent, and could put what it likes where the agent
// can write.
func TestAnAgentDoesNotWriteTheSharedFolder(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "shared")
	if _, err := sharing(t, shared, whole(t)).Ensure(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(shared); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the shared folder was made: %v", err)
	}
}

func TestAFolderThatCannotBeFilledIsAnError(t *testing.T) {
	shared := filepath.Join(t.TempDir(), "file")
	write(t, shared, "no folder")
	s := filling(t, shared, whole(t))
	if _, err := s.Ensure(t.Context(), sample); err == nil || !strings.Contains(err.Error(), "writing the package into the shared folder") || s.calls.Load() != 1 {
		t.Errorf("Ensure = %v after %d downloads, want an error after one", err, s.calls.Load())
	}
}

func TestAFolderThatJobsCanWriteIsNoticed(t *testing.T) {
	own := t.TempDir()
	closed := filepath.Join(own, "closed")
	if err := os.Mkdir(closed, 0o500); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		own:                              own,
		closed:                           closed, // whoever owns it can open it
		filepath.Join(own, "a", "b", ""): own,
	} {
		if got, err := taskstore.Writable(dir); err != nil || got != want {
			t.Errorf("Writable(%s) = %q, %v, want %q", dir, got, err, want)
		}
	}
	want := "" // of somebody else
	if os.Geteuid() == 0 {
		want = "/usr" // root can write everywhere
	}
	for _, dir := range []string{"/usr", "/usr/not/there"} {
		if got, err := taskstore.Writable(dir); err != nil || got != want {
			t.Errorf("Writable(%s) = %q, %v, want %q", dir, got, err, want)
		}
	}
}

func TestAPackageThatIsOfNoUseIsNotShared(t *testing.T) {
	shared := t.TempDir()
	if _, err := filling(t, shared, archive(t, file{"readme", "no task", 0})).Ensure(t.Context(), sample); err == nil {
		t.Fatal("it was taken")
	}
	if blobs, err := filepath.Glob(filepath.Join(shared, "*", "*")); err != nil || len(blobs) != 0 {
		t.Errorf("shared: %q, %v", blobs, err)
	}
}
