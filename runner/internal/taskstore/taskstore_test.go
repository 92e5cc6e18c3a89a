package taskstore_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/taskstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var sample = job.TaskReference{ID: "5C2F1B7E-93A4-4D0E-8A6B-1F0E7D3C9A10", Name: "Sample", Version: "1.2.3"}

const definition = `{"id": "5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10", "name": "Sample", "version": {"Major": 1, "Minor": 2, "Patch": 3},
	"execution": {"Node20_1": {"target": "main.js"}}}`

// file is an entry of an archive. Its mode is that of a plain file when zero.
type file struct {
	name, text string
	mode       fs.FileMode
}

func archive(t testing.TB, files ...file) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate}
		if f.mode == 0 {
			f.mode = 0o644
		}
		h.SetMode(f.mode)
		w, err := z.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, f.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func whole(t testing.TB, more ...file) []byte {
	return archive(t, append([]file{{"task.json", definition, 0}, {"main.js", "1", 0}}, more...)...)
}

// served is a store whose server answers as answer says.
type served struct {
	*taskstore.Store
	calls    atomic.Int32
	mu       sync.Mutex
	warnings []string
	said     []string
}

func store(dir string, answer func(call int, to io.Writer) error) *served {
	s := &served{}
	s.Store = &taskstore.Store{
		Dir: dir,
		Say: func(text string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.said = append(s.said, text)
		},
		Fetch: func(_ context.Context, _ job.TaskReference, to io.Writer) error {
			return answer(int(s.calls.Add(1)), to)
		},
		Warn: func(text string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.warnings = append(s.warnings, text)
		},
	}
	return s
}

func serving(body []byte) func(int, io.Writer) error {
	return func(_ int, to io.Writer) error {
		_, err := to.Write(body)
		return err
	}
}

// listing returns what is below dir, without locks.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(path) != ".lock" {
			rel, _ := filepath.Rel(dir, path)
			names = append(names, rel)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return names
}

func TestAPackageIsFetchedOnceAndKept(t *testing.T) {
	dir := t.TempDir()
	s := store(dir, serving(whole(t, file{"bin/tool", "x", 0o755}, file{"data/", "", fs.ModeDir | 0o700})))
	for range 2 {
		task, err := s.Ensure(t.Context(), sample)
		if err != nil {
			t.Fatal(err)
		}
		if want := filepath.Join(dir, "Sample_5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10", "1.2.3"); task.Dir != want || task.Definition.Name != "Sample" {
			t.Errorf("Ensure = %+v, want the folder %s", task, want)
		}
		if info, err := os.Stat(filepath.Join(task.Dir, "bin/tool")); err != nil || info.Mode() != 0o755 {
			t.Errorf("the tool: %v, %v; want it executable", info, err)
		}
	}
	const folder = "Sample_5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10/"
	want := folder + "1.2.3/bin/tool " + folder + "1.2.3/main.js " + folder + "1.2.3/task.json " + folder + "1.2.3.completed"
	if got := strings.Join(listing(t, dir), " "); got != want {
		t.Errorf("the store holds %s\nwant %s", got, want)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestAgentsThatShareAVolumeFetchAPackageOnce(t *testing.T) {
	dir := t.TempDir()
	body := whole(t)
	s := store(dir, func(_ int, to io.Writer) error {
		time.Sleep(50 * time.Millisecond) // long enough for all to arrive
		_, err := to.Write(body)
		return err
	})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := s.Ensure(t.Context(), sample); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d downloads, want 1", n)
	}
}

func TestAJobSaysThatItWaitsForAnotherAgent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for took, want := range map[time.Duration][]string{
			500 * time.Millisecond: nil,
			time.Minute:            {"Waiting for another agent that downloads task: Sample (1.2.3)"},
		} {
			dir := t.TempDir()
			first := store(dir, func(_ int, to io.Writer) error {
				time.Sleep(took)
				_, err := to.Write(whole(t))
				return err
			})
			var other sync.WaitGroup
			other.Go(func() {
				if _, err := first.Ensure(t.Context(), sample); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
			second := store(dir, nil)
			if _, err := second.Ensure(t.Context(), sample); err != nil {
				t.Error(err)
			}
			other.Wait()
			if !slices.Equal(second.said, want) {
				t.Errorf("while another agent downloads for %s a job says %q, want %q", took, second.said, want)
			}
			if want := []string{"Downloading task: Sample (1.2.3)"}; !slices.Equal(first.said, want) {
				t.Errorf("the other agent says %q, want %q", first.said, want)
			}
		}
	})
}

// A process may die between any two steps, and the machine itself at any time.
func TestNothingHalfMadeIsTakenForAPackage(t *testing.T) {
	const folder = "Sample_5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10"
	for name, leave := range map[string]func(t *testing.T, dir string){
		"while it was fetched": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, folder, ".1.2.3-17", "package.zip"), "PK")
		},
		"while it was unpacked": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, folder, ".1.2.3-17", "content", "task.json"), definition)
		},
		"before it was marked": func(t *testing.T, dir string) {
			write(t, filepath.Join(dir, folder, "1.2.3", "task.json"), definition)
		},
		"a file lost its content": func(t *testing.T, dir string) {
			make1(t, dir)
			write(t, filepath.Join(dir, folder, "1.2.3", "main.js"), "")
		},
		"a file is gone": func(t *testing.T, dir string) {
			make1(t, dir)
			if err := os.Remove(filepath.Join(dir, folder, "1.2.3", "main.js")); err != nil {
				t.Fatal(err)
			}
		},
		"the folder is gone": func(t *testing.T, dir string) {
			make1(t, dir)
			if err := os.RemoveAll(filepath.Join(dir, folder, "1.2.3")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			leave(t, dir)
			s := store(dir, serving(whole(t)))
			if _, err := s.Ensure(t.Context(), sample); err != nil {
				t.Fatal(err)
			}
			if n := s.calls.Load(); n != 1 {
				t.Errorf("%d downloads, want 1", n)
			}
			if got := listing(t, dir); len(got) != 3 {
				t.Errorf("the store holds %q, want the two files and the marker", got)
			}
		})
	}
}

func make1(t *testing.T, dir string) {
	t.Helper()
	if _, err := store(dir, serving(whole(t))).Ensure(t.Context(), sample); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What another agent has put there, and what a task has left in its own folder,
// does not make a package incomplete.
func TestThePackagesOfOtherAgentsAreUsed(t *testing.T) {
	dir := t.TempDir()
	folder := filepath.Join(dir, "Sample_5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10")
	write(t, filepath.Join(folder, "1.2.3", "task.json"), definition)
	write(t, filepath.Join(folder, "1.2.3.completed"), "8/22/2026 9:20:31 AM")
	ours := t.TempDir()
	make1(t, ours)
	write(t, filepath.Join(ours, "Sample_5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10", "1.2.3", "state"), "kept by the task")
	for _, dir := range []string{dir, ours} {
		s := store(dir, func(int, io.Writer) error { return errors.New("nobody asks") })
		if _, err := s.Ensure(t.Context(), sample); err != nil {
			t.Error(err)
		}
	}
}

type finalError struct{}

func (finalError) Error() string   { return "there is no such task" }
func (finalError) Temporary() bool { return false }

func TestAFailedDownloadIsTriedThreeTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, c := range map[string]struct {
			answer   func(call int, to io.Writer) error
			calls    int32
			ok       bool
			min, max time.Duration
		}{
			"broken twice": {func(call int, to io.Writer) error {
				if call < 3 {
					_, _ = to.Write([]byte("half of it"))
					return errors.New("the connection broke")
				}
				_, err := to.Write(whole(t))
				return err
			}, 3, true, 20 * time.Second, 60 * time.Second},
			"broken always": {func(int, io.Writer) error { return errors.New("the connection broke") }, 3, false, 20 * time.Second, 60 * time.Second},
			"no such task":  {func(int, io.Writer) error { return fmt.Errorf("asking: %w", finalError{}) }, 1, false, 0, 0},
			"no package":    {serving([]byte("<html>sign in")), 1, false, 0, 0},
		} {
			dir, start := t.TempDir(), time.Now()
			s := store(dir, c.answer)
			_, err := s.Ensure(t.Context(), sample)
			took := time.Since(start)
			if (err == nil) != c.ok || s.calls.Load() != c.calls || took < c.min || took > c.max {
				t.Errorf("%s: %v after %d calls and %s; want success %t after %d calls", name, err, s.calls.Load(), took, c.ok, c.calls)
			}
			if len(s.warnings) != int(c.calls)-1 {
				t.Errorf("%s: warnings %q, want one for each attempt that is followed by another", name, s.warnings)
			}
			if got := listing(t, dir); !c.ok && len(got) != 0 {
				t.Errorf("%s: left behind: %q", name, got)
			}
		}
	})
}

// The package has its place already when its marker cannot be written.
func TestAnAttemptDoesNotStumbleOverTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := store(dir, func(call int, to io.Writer) error {
			if call == 1 {
				write(t, filepath.Join(dir, "Sample_5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10", "1.2.3", "task.json"), definition)
				return errors.New("too many open files")
			}
			_, err := to.Write(whole(t))
			return err
		})
		if _, err := s.Ensure(t.Context(), sample); err != nil || s.calls.Load() != 2 {
			t.Errorf("Ensure = %v after %d calls, want success after 2", err, s.calls.Load())
		}
	})
}

func TestADownloadThatTakesTooLongIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &taskstore.Store{
			Dir: t.TempDir(), Say: func(string) {}, Warn: func(string) {},
			Fetch: func(ctx context.Context, _ job.TaskReference, _ io.Writer) error {
				<-ctx.Done()
				return ctx.Err()
			},
		}
		start := time.Now()
		_, err := s.Ensure(t.Context(), sample)
		if err == nil || !strings.Contains(err.Error(), "20m0s") || time.Since(start) != 1200*time.Second {
			t.Errorf("Ensure = %v after %s, want the limit of 20m0s named", err, time.Since(start))
		}
	})
}

func TestReferencesThatAreNoFolderAreRefused(t *testing.T) {
	for name, change := range map[string]func(*job.TaskReference){
		"a name with a way up":    func(r *job.TaskReference) { r.Name = "../x" },
		"a hidden name":           func(r *job.TaskReference) { r.Name = ".x" },
		"no name":                 func(r *job.TaskReference) { r.Name = "" },
		"an id that is no GUID":   func(r *job.TaskReference) { r.ID = "../../x" },
		"a version that is a way": func(r *job.TaskReference) { r.Version = "../1.0.0" },
		"a version without patch": func(r *job.TaskReference) { r.Version = "1.0" },
	} {
		t.Run(name, func(t *testing.T) {
			ref := sample
			change(&ref)
			dir := t.TempDir()
			s := store(dir, serving(whole(t)))
			if task, err := s.Ensure(t.Context(), ref); err == nil || s.calls.Load() != 0 {
				t.Errorf("Ensure = %+v after %d calls, want an error before any", task, s.calls.Load())
			}
		})
	}
}
