package warm_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func about(bytes int64) warm.About {
	return warm.About{Service: "db", Image: "mysql:8", Volumes: []string{"/data"}, Files: 1, Bytes: bytes, Made: time.Now()}
}

// keep makes a fixture.
func keep(t *testing.T, s warm.Store, scope, key string, bytes int64) {
	t.Helper()
	w, err := s.Begin(scope, key)
	must(t, err)
	write(t, filepath.Join(w.Dir, "0", "file"), key)
	must(t, w.Commit(about(bytes)))
}

// keys lists what is kept, used last first.
func keys(t *testing.T, s warm.Store) (list []string) {
	t.Helper()
	fixtures, err := s.List()
	must(t, err)
	for _, f := range fixtures {
		list = append(list, f.Scope+"/"+f.Key)
	}
	return list
}

func TestAFixtureIsFoundInTheFirstScopeThatHasIt(t *testing.T) {
	s := warm.Store{Dir: t.TempDir(), Size: roomy}
	keep(t, s, "main", "k", 1)
	if _, err := s.Open([]string{"pull"}, "k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open in another scope = %v, want nothing", err)
	}
	r, err := s.Open([]string{"pull", "main"}, "k")
	must(t, err)
	data, err := os.ReadFile(filepath.Join(r.Dir, "0", "file"))
	if err != nil || string(data) != "k" || r.About.Service != "db" {
		t.Errorf("the fixture of %q holds %q, %v", r.About.Service, data, err)
	}
	r.Hit()
	r.Close()
	if list, err := s.List(); err != nil || len(list) != 1 || list[0].Hits != 1 {
		t.Errorf("List = %+v, %v; want one with one hit", list, err)
	}
	for _, name := range []string{"", "..", "a/b", ".new-x"} {
		if _, err := s.Begin(name, "k"); err == nil {
			t.Errorf("a scope may be called %q", name)
		}
	}
}

func TestOneKeepsAndTheOthersGoOn(t *testing.T) {
	s := warm.Store{Dir: t.TempDir(), Size: roomy}
	first, err := s.Begin("main", "k")
	must(t, err)
	if _, err := s.Begin("main", "k"); !errors.Is(err, warm.ErrBusy) {
		t.Errorf("the second Begin = %v, want %v", err, warm.ErrBusy)
	}
	if _, err := s.Open([]string{"main"}, "k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of half a fixture = %v, want nothing", err)
	}
	must(t, first.Commit(about(1)))
	if _, err := s.Begin("main", "k"); !errors.Is(err, warm.ErrBusy) {
		t.Errorf("Begin of what is there = %v, want %v", err, warm.ErrBusy)
	}
	given, err := s.Begin("main", "other")
	must(t, err)
	write(t, filepath.Join(given.Dir, "file"), "half")
	must(t, given.Abort())
	if left, err := filepath.Glob(filepath.Join(s.Dir, "main", ".*")); err != nil || len(left) != 0 {
		t.Errorf("left are %q, %v; want nothing", left, err)
	}
}

func TestWhatADeadProcessLeftIsRemoved(t *testing.T) {
	s := warm.Store{Dir: t.TempDir(), Size: roomy}
	write(t, filepath.Join(s.Dir, "main", ".new-k", "half"), "x")
	write(t, filepath.Join(s.Dir, "main", ".new-j", "half"), "x")
	write(t, filepath.Join(s.Dir, "main", ".old-k-1", "half"), "x")
	w, err := s.Begin("main", "k")
	must(t, err)
	if left, err := os.ReadDir(w.Dir); err != nil || len(left) != 0 {
		t.Errorf("a new fixture begins with %v, %v", left, err)
	}
	_, err = s.Prune()
	must(t, err, w.Commit(about(1)))
	left, err := os.ReadDir(filepath.Join(s.Dir, "main"))
	if err != nil || len(left) != 1 || left[0].Name() != "k" {
		t.Errorf("left are %v, %v; want what was being kept and is whole now", left, err)
	}
}

func TestWhatWasNotUsedForLongestGoesFirst(t *testing.T) {
	s := warm.Store{Dir: t.TempDir(), Size: 250}
	for i, key := range []string{"a", "b", "c"} {
		keep(t, s, "main", key, 100)
		at := time.Now().Add(time.Duration(i-10) * time.Minute)
		must(t, os.Chtimes(filepath.Join(s.Dir, "main", key, "hits"), at, at))
	}
	r, err := s.Open([]string{"main"}, "a")
	must(t, err)
	r.Hit()
	r.Close()
	gone, err := s.Prune()
	if err != nil || len(gone) != 1 || gone[0].Key != "b" {
		t.Errorf("Prune = %+v, %v; want b", gone, err)
	}
	if got := keys(t, s); len(got) != 2 || got[0] != "main/a" || got[1] != "main/c" {
		t.Errorf("left are %q, want a and c", got)
	}
}

func TestAReaderKeepsWhatIsRemoved(t *testing.T) {
	s := warm.Store{Dir: t.TempDir(), Size: roomy}
	keep(t, s, "main", "k", 1)
	r, err := s.Open([]string{"main"}, "k")
	must(t, err)
	list, err := s.List()
	must(t, err, s.Remove(list[0]))
	if _, err := s.Open([]string{"main"}, "k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open of what was removed = %v, want nothing", err)
	}
	left, err := filepath.Glob(filepath.Join(s.Dir, "main", ".old-*", "0", "file"))
	if err != nil || len(left) != 1 {
		t.Errorf("the reader's files are %q, %v; want them there", left, err)
	}
	r.Close()
	_, err = s.Prune()
	must(t, err)
	if left, err := os.ReadDir(filepath.Join(s.Dir, "main")); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v; want nothing", left, err)
	}
}

func TestADamagedFixtureIsRemoved(t *testing.T) {
	s := warm.Store{Dir: t.TempDir(), Size: roomy}
	keep(t, s, "main", "k", 1)
	write(t, filepath.Join(s.Dir, "main", "k", "about.json"), "{")
	if _, err := s.Open([]string{"main"}, "k"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, want that it is damaged", err)
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir, "main")); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v; want nothing", left, err)
	}
}

func TestManyAtOnceNeverSeeHalfAFixture(t *testing.T) {
	s := warm.Store{Dir: t.TempDir(), Size: roomy}
	var kept, read atomic.Int64
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 25 {
				if r, err := s.Open([]string{"main"}, "k"); err == nil {
					if data, err := os.ReadFile(filepath.Join(r.Dir, "0", "file")); err == nil && string(data) == "k" {
						read.Add(1)
					} else if _, err := os.Lstat(r.Dir); err == nil {
						t.Errorf("a fixture holds %q, %v", data, err)
					}
					_ = r.Drop()
					continue
				}
				w, err := s.Begin("main", "k")
				if errors.Is(err, warm.ErrBusy) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				kept.Add(1)
				if err := errors.Join(os.Mkdir(filepath.Join(w.Dir, "0"), 0o700), os.WriteFile(filepath.Join(w.Dir, "0", "file"), []byte("k"), 0o600), w.Commit(about(1))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if kept.Load() == 0 || read.Load() == 0 {
		t.Errorf("kept %d, read %d; want some of each", kept.Load(), read.Load())
	}
}

func TestAnArchiveKeepsEverythingButSockets(t *testing.T) {
	var archive, out bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "sub/", Mode: 0o750, Uid: 5, Gid: 6},
		{Typeflag: tar.TypeReg, Name: "sub/f", Mode: 0o4755, Uid: 7, PAXRecords: map[string]string{"SCHILY.xattr.user.kind": "table"}},
		{Typeflag: tar.TypeLink, Name: "again", Linkname: "sub/f"},
		{Typeflag: tar.TypeFifo, Name: "pipe"},
		{Typeflag: tar.TypeReg, Name: "mysqld.pid"},
	} {
		must(t, w.WriteHeader(h))
	}
	must(t, w.Close())
	packed := filepath.Join(t.TempDir(), "packed")
	bare := bytes.Clone(archive.Bytes())
	tally, err := warm.Pack(t.Context(), packed, &archive, roomy)
	if err != nil || tally.Files != 3 || tally.Bytes == 0 {
		t.Errorf("Pack = %+v, %v; want 3 files", tally, err)
	}
	if _, err := warm.Pack(t.Context(), packed+"2", bytes.NewReader(bare), 3); !errors.Is(err, warm.ErrTooLarge) {
		t.Errorf("Pack into 3 bytes = %v, want %v", err, warm.ErrTooLarge)
	}
	f, err := os.Open(packed)
	must(t, err)
	defer f.Close() //nolint:errcheck // read only
	if tally, err := warm.Unpack(t.Context(), &out, f); err != nil || tally.Files != 3 {
		t.Errorf("Unpack = %+v, %v; want 3 files", tally, err)
	}
	r := tar.NewReader(&out)
	for _, want := range []tar.Header{{Name: "sub/", Mode: 0o750, Uid: 5, Gid: 6}, {Name: "sub/f", Mode: 0o4755, Uid: 7}, {Name: "again", Linkname: "sub/f"}} {
		h, err := r.Next()
		must(t, err)
		if h.Name != want.Name || h.Mode != want.Mode || h.Uid != want.Uid || h.Gid != want.Gid || h.Linkname != want.Linkname {
			t.Errorf("entry %+v, want %+v", h, want)
		}
		if h.Name == "sub/f" && h.PAXRecords["SCHILY.xattr.user.kind"] != "table" {
			t.Errorf("the attribute of %s is lost: %v", h.Name, h.PAXRecords)
		}
	}
}
