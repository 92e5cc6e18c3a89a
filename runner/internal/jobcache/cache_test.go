package jobcache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/runner/internal/jobcache"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is a cache and what it said.
type shelf struct {
	*jobcache.Cache

	t        *testing.T
	mu       sync.Mutex
	said     []string
	warnings []string
}

func newShelf(t *testing.T, dir string, size int64) *shelf {
	s := &shelf{t: t}
	s.Cache = &jobcache.Cache{
		Dir:  jobcache.Dir{Path: dir, Size: size},
		Say:  func(line string) { s.mu.Lock(); defer s.mu.Unlock(); s.said = append(s.said, line) },
		Warn: func(line string) { s.mu.Lock(); defer s.mu.Unlock(); s.warnings = append(s.warnings, line) },
	}
	t.Cleanup(func() { s.Registry.Close() })
	return s
}

const plenty = 1 << 30

func (s *shelf) quiet() {
	s.t.Helper()
	if len(s.warnings) > 0 {
		s.t.Errorf("warnings: %q", s.warnings)
	}
}

func (s *shelf) save(key jobcache.Key, scope jobcache.Scope, text string) {
	s.t.Helper()
	dir := s.t.TempDir()
	write(s.t, filepath.Join(dir, "file"), text)
	must(s.t, s.Save(s.t.Context(), key, []jobcache.Scope{scope}, scope, dir, os.Open))
}

// restore returns the text that comes back.
func (s *shelf) restore(key jobcache.Key, prefixes []jobcache.Key, scopes ...jobcache.Scope) (string, jobcache.Hit) {
	s.t.Helper()
	to := filepath.Join(s.t.TempDir(), "restored")
	hit, err := s.Restore(s.t.Context(), key, prefixes, scopes, to)
	must(s.t, err)
	text, _ := os.ReadFile(filepath.Join(to, "file"))
	return string(text), hit
}

func TestAFolderComesBackUnderItsKeyAndInItsScope(t *testing.T) {
	s := newShelf(t, t.TempDir(), plenty)
	s.save(jobcache.Key{"npm", "linux", "h1"}, "main", "first")
	s.save(jobcache.Key{"npm", "linux", "h1"}, "main", "never taken")
	s.save(jobcache.Key{"npm", "linux", "h2"}, "main", "second")
	s.save(jobcache.Key{"npm", "linux", "h1"}, "other", "elsewhere")
	s.save(jobcache.Key{"np", "mlinux", "h1"}, "main", "other segments")
	beginning := []jobcache.Key{{"npm", "windows"}, {"npm", "linux"}, {"npm"}}
	for name, c := range map[string]struct {
		key      jobcache.Key
		prefixes []jobcache.Key
		scopes   []jobcache.Scope
		want     string
		exact    bool
	}{
		"exact":                          {jobcache.Key{"npm", "linux", "h1"}, beginning, []jobcache.Scope{"main"}, "first", true},
		"the own scope first":            {jobcache.Key{"npm", "linux", "h1"}, nil, []jobcache.Scope{"other", "main"}, "elsewhere", true},
		"exact elsewhere before inexact": {jobcache.Key{"npm", "linux", "h2"}, beginning, []jobcache.Scope{"other", "main"}, "second", true},
		"the newest that begins so":      {jobcache.Key{"npm", "linux", "h3"}, beginning, []jobcache.Scope{"main"}, "second", false},
		"the whole key as a beginning":   {jobcache.Key{"x"}, []jobcache.Key{{"npm", "linux", "h1"}}, []jobcache.Scope{"main"}, "first", false},
		"no part of a segment":           {jobcache.Key{"x"}, []jobcache.Key{{"np", "linux"}, {"n"}}, []jobcache.Scope{"main"}, "", false},
		"another scope":                  {jobcache.Key{"npm", "linux", "h1"}, beginning, []jobcache.Scope{"third"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			got, hit := s.restore(c.key, c.prefixes, c.scopes...)
			if got != c.want || hit.Exact != c.exact || hit.Found != (c.want != "") {
				t.Errorf("restored %q, %+v; want %q", got, hit, c.want)
			}
		})
	}
	s.quiet()
}

func TestAKeyOfAnyReadableScopeIsNotSavedAgain(t *testing.T) {
	s := newShelf(t, t.TempDir(), plenty)
	s.save(jobcache.Key{"k"}, "main", "of main")
	dir := t.TempDir()
	must(t, s.Save(t.Context(), jobcache.Key{"k"}, []jobcache.Scope{"pull", "main"}, "pull", dir, os.Open))
	if _, hit := s.restore(jobcache.Key{"k"}, nil, "pull"); hit.Found {
		t.Error("the pull request saved what main has already")
	}
}

func TestManyJobsSaveOneKeyAtTheSameTime(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			s := newShelf(t, dir, plenty)
			s.save(jobcache.Key{"k"}, "main", strings.Repeat(fmt.Sprint(i), 100_000))
			s.quiet()
		})
		all.Go(func() {
			if text, hit := newShelf(t, dir, plenty).restore(jobcache.Key{"k"}, []jobcache.Key{{"k"}}, "main"); hit.Found && (len(text) != 100_000 || strings.Trim(text, text[:1]) != "") {
				t.Errorf("restored %d bytes that belong to nobody", len(text))
			}
		})
	}
	all.Wait()
	if left, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(left) != 1 {
		t.Errorf("the directory has %q, %v; want one entry", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*", ".new*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// random is what does not compress.
func random(t *testing.T, n int) string {
	t.Helper()
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(out) // never fails
	return string(out)
}

func TestTheDirectoryStaysBelowItsSize(t *testing.T) {
	dir := t.TempDir()
	s := newShelf(t, dir, 400_000)
	old := time.Now().Add(-time.Hour)
	for i, name := range []string{"a", "b", "c"} {
		s.save(jobcache.Key{name}, "main", random(t, 100_000+i))
		found, _ := filepath.Glob(filepath.Join(dir, "main", "*.entry"))
		for _, f := range found {
			if info, _ := os.Stat(f); time.Since(info.ModTime()) < time.Minute {
				must(t, os.Chtimes(f, old, old.Add(time.Duration(i)*time.Minute)))
			}
		}
	}
	write(t, filepath.Join(dir, "main", ".new-dead"), "never finished")
	must(t, os.Chtimes(filepath.Join(dir, "main", ".new-dead"), old.Add(-48*time.Hour), old.Add(-48*time.Hour)))
	write(t, filepath.Join(dir, "main", ".new-alive"), "being written")
	s.restore(jobcache.Key{"a"}, nil, "main") // used just now
	s.save(jobcache.Key{"d"}, "main", random(t, 100_003))
	for name, want := range map[string]bool{"a": true, "b": false, "c": true, "d": true} {
		if _, hit := s.restore(jobcache.Key{name}, nil, "main"); hit.Found != want {
			t.Errorf("%s is there: %t, want %t: what was not used for longest goes first", name, hit.Found, want)
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, "main", ".new-*"))
	if len(left) != 1 || filepath.Base(left[0]) != ".new-alive" {
		t.Errorf("unfinished files %q, want the one that is being written", left)
	}
	s.quiet()
	s.save(jobcache.Key{"huge"}, "main", random(t, 500_000))
	if len(s.warnings) != 1 || !strings.Contains(s.warnings[0], "larger than") {
		t.Errorf("warnings %q, want that the folder is too large", s.warnings)
	}
	if _, hit := s.restore(jobcache.Key{"d"}, nil, "main"); !hit.Found {
		t.Error("what is too large removed what is not")
	}
}

// damage changes one byte of the only entry.
func damage(t *testing.T, dir string, at int64) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*", "*.entry"))
	if err != nil || len(found) != 1 {
		t.Fatalf("entries %q, %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	must(t, err)
	if at < 0 {
		text = text[:int64(len(text))+at]
	} else {
		text[at] ^= 0xff
	}
	must(t, os.WriteFile(found[0], text, 0o600))
}

func TestADamagedEntryIsAMiss(t *testing.T) {
	for name, at := range map[string]int64{"cut off": -20, "another header": 0, "another content": 16<<10 + 50_000} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newShelf(t, dir, plenty)
			s.save(jobcache.Key{"k"}, "main", random(t, 100_000))
			damage(t, dir, at)
			text, hit := s.restore(jobcache.Key{"k"}, nil, "main")
			if hit.Found || text != "" || len(s.warnings) != 1 {
				t.Errorf("restored %d bytes, %+v, warnings %q; want a miss with one warning and nothing left behind", len(text), hit, s.warnings)
			}
			s.save(jobcache.Key{"k"}, "main", "anew")
			if text, _ := s.restore(jobcache.Key{"k"}, nil, "main"); text != "anew" {
				t.Errorf("restored %q of what was saved afterwards", text)
			}
		})
	}
}

// A job of the same user can put one there, and opening it would wait for a writer.
func TestAPipeInThePlaceOfAnEntryIsAMiss(t *testing.T) {
	dir := t.TempDir()
	s := newShelf(t, dir, plenty)
	s.save(jobcache.Key{"k"}, "main", "first")
	found, err := filepath.Glob(filepath.Join(dir, "main", "*.entry"))
	if err != nil || len(found) != 1 {
		t.Fatalf("entries %q, %v; want one", found, err)
	}
	must(t, os.Remove(found[0]))
	must(t, syscall.Mkfifo(found[0], 0o600))
	if text, hit := s.restore(jobcache.Key{"k"}, []jobcache.Key{{"k"}}, "main"); hit.Found || text != "" {
		t.Errorf("restored %q, %+v", text, hit)
	}
	s.save(jobcache.Key{"k"}, "main", "anew")
	if text, _ := s.restore(jobcache.Key{"k"}, nil, "main"); text != "anew" {
		t.Errorf("restored %q of what was saved afterwards", text)
	}
}

func TestTheRegistryStandsInForADamagedEntry(t *testing.T) {
	want := random(t, 100_000)
	for name, c := range map[string]struct {
		key      jobcache.Key
		prefixes []jobcache.Key
		others   bool // files at the path
	}{
		"exact":             {key: jobcache.Key{"k", "1"}},
		"inexact":           {key: jobcache.Key{"k", "2"}, prefixes: []jobcache.Key{{"k"}}},
		"among other files": {key: jobcache.Key{"k", "1"}, others: true},
	} {
		t.Run(name, func(t *testing.T) {
			dir, to := t.TempDir(), t.TempDir()
			s := newShelf(t, dir, plenty)
			s.Registry = &jobcache.Registry{Repo: server(t, same)}
			s.save(jobcache.Key{"k", "1"}, "main", want)
			damage(t, dir, 16<<10+50_000)
			if c.others {
				write(t, filepath.Join(to, "mine"), "1")
			}
			hit, err := s.Restore(t.Context(), c.key, c.prefixes, []jobcache.Scope{"main"}, to)
			text, _ := os.ReadFile(filepath.Join(to, "file"))
			if err != nil || !hit.Found || string(text) != want {
				t.Errorf("restored %d bytes, %+v, %v", len(text), hit, err)
			}
			s.Registry, s.warnings = nil, nil
			if text, _ := s.restore(jobcache.Key{"k", "1"}, nil, "main"); text != want {
				t.Error("the directory still has the damaged entry")
			}
			s.quiet()
		})
	}
}

// An entry whose files have the names of directories at the path is not damaged.
func TestAnEntryThatDoesNotFitStays(t *testing.T) {
	to := t.TempDir()
	s := newShelf(t, t.TempDir(), plenty)
	s.save(jobcache.Key{"k"}, "main", "whole")
	write(t, filepath.Join(to, "file", "is a directory"), "")
	if _, err := s.Restore(t.Context(), jobcache.Key{"k"}, nil, []jobcache.Scope{"main"}, to); err == nil {
		t.Error("a file took the place of a directory")
	}
	if text, _ := s.restore(jobcache.Key{"k"}, nil, "main"); text != "whole" {
		t.Errorf("afterwards there is %q", text)
	}
}

func TestAFileIsNoFolderToSave(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "one")
	write(t, file, "1")
	err := newShelf(t, dir, plenty).Save(t.Context(), jobcache.Key{"k"}, nil, "main", file, os.Open)
	if err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Save = %v, want an error that names the file", err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// What could not be restored is not saved for ever.
func TestATreeThatCouldNotBeRestoredIsNotSaved(t *testing.T) {
	dir, from := t.TempDir(), t.TempDir()
	must(t, os.MkdirAll(filepath.Join(from, strings.Repeat("a/", 257)), 0o755))
	s := newShelf(t, dir, plenty)
	must(t, s.Save(t.Context(), jobcache.Key{"k"}, nil, "main", from, os.Open))
	left, _ := filepath.Glob(filepath.Join(dir, "main", "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, "main", ".*"))
	if len(s.warnings) != 1 || !strings.Contains(s.warnings[0], "256 parts") || len(left)+len(hidden) > 0 {
		t.Errorf("warnings %q, left %q %q; want one warning and no entry", s.warnings, left, hidden)
	}
}

func TestADamagedEntryAmongOtherFilesFailsTheRestore(t *testing.T) {
	dir, to := t.TempDir(), t.TempDir()
	s := newShelf(t, dir, plenty)
	s.save(jobcache.Key{"k"}, "main", random(t, 100_000))
	damage(t, dir, 16<<10+50_000)
	write(t, filepath.Join(to, "mine"), "1")
	if _, err := s.Restore(t.Context(), jobcache.Key{"k"}, nil, []jobcache.Scope{"main"}, to); err == nil || !strings.Contains(err.Error(), to) {
		t.Errorf("Restore = %v, want an error that names the directory", err)
	}
	if text, err := os.ReadFile(filepath.Join(to, "mine")); err != nil || string(text) != "1" {
		t.Errorf("the other file is %q, %v", text, err)
	}
}

func TestWhatIsNotThereCannotBeSaved(t *testing.T) {
	s := newShelf(t, t.TempDir(), plenty)
	err := s.Save(t.Context(), jobcache.Key{"k"}, nil, "main", filepath.Join(t.TempDir(), "nothing"), os.Open)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Save = %v", err)
	}
}

// server is a registry, and counts what it is asked.
func server(t *testing.T, wrap func(http.Handler) http.Handler) string {
	t.Helper()
	srv := httptest.NewServer(wrap(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://") + "/cache/jobs"
}

func same(h http.Handler) http.Handler { return h }

func TestAColdNodeFindsWhatAnotherOneSaved(t *testing.T) {
	repo := server(t, same)
	node := func() *shelf {
		s := newShelf(t, t.TempDir(), plenty)
		s.Registry = &jobcache.Registry{Repo: repo}
		return s
	}
	first := node()
	first.save(jobcache.Key{"npm", "linux", "h1"}, "main", "first")
	node().save(jobcache.Key{"npm", "linux", "h2"}, "main", "second")
	node().save(jobcache.Key{"npm", "linux", "h1"}, "main", "never taken")
	cold := node()
	if text, hit := cold.restore(jobcache.Key{"npm", "linux", "h1"}, nil, "main"); text != "first" || !hit.Exact {
		t.Errorf("exact: %q, %+v", text, hit)
	}
	// The node that has an older one asks what is newer.
	if text, hit := first.restore(jobcache.Key{"npm", "linux", "h3"}, []jobcache.Key{{"npm", "linux"}}, "pull", "main"); text != "second" || hit.Exact {
		t.Errorf("inexact: %q, %+v", text, hit)
	}
	if text, hit := node().restore(jobcache.Key{"npm", "linux", "h3"}, []jobcache.Key{{"np"}}, "pull", "main"); hit.Found {
		t.Errorf("restored %q, %+v", text, hit)
	}
	first.quiet()
	cold.quiet()
	cold.Registry = nil
	if text, _ := cold.restore(jobcache.Key{"npm", "linux", "h1"}, nil, "main"); text != "first" {
		t.Error("the node did not keep what it fetched")
	}
}

func TestADeadRegistryIsAMissWithOneWarning(t *testing.T) {
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"refuses": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
		},
		"hangs up": func(http.Handler) http.Handler {
			return http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newShelf(t, t.TempDir(), plenty)
			s.Registry = &jobcache.Registry{Repo: server(t, wrap)}
			if _, hit := s.restore(jobcache.Key{"k"}, []jobcache.Key{{"k"}}, "pull", "main"); hit.Found || len(s.warnings) != 1 {
				t.Errorf("%+v with warnings %q, want a miss with one", hit, s.warnings)
			}
			s.save(jobcache.Key{"k"}, "main", "kept here")
			if text, _ := s.restore(jobcache.Key{"k"}, nil, "main"); text != "kept here" {
				t.Errorf("restored %q, want what the directory has", text)
			}
		})
	}
}

func TestBytesThatARegistryChangedAreNotUnpacked(t *testing.T) {
	var evil bool
	repo := server(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !evil || r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/sha256:") {
				h.ServeHTTP(w, r)
				return
			}
			got := httptest.NewRecorder()
			h.ServeHTTP(got, r)
			body := got.Body.Bytes()
			body[len(body)/2] ^= 0xff
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = bytes.NewReader(body).WriteTo(w)
		})
	})
	first := newShelf(t, t.TempDir(), plenty)
	first.Registry = &jobcache.Registry{Repo: repo}
	first.save(jobcache.Key{"k"}, "main", random(t, 50_000))
	evil = true
	cold := newShelf(t, t.TempDir(), plenty)
	cold.Registry = &jobcache.Registry{Repo: repo}
	if text, hit := cold.restore(jobcache.Key{"k"}, nil, "main"); hit.Found || text != "" || len(cold.warnings) != 1 {
		t.Errorf("restored %d bytes, %+v, warnings %q; want a miss with a warning", len(text), hit, cold.warnings)
	}
}

func TestACanceledSaveLeavesNothing(t *testing.T) {
	dir, from := t.TempDir(), t.TempDir()
	write(t, filepath.Join(from, "file"), "x")
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newShelf(t, dir, plenty)
	err := s.Save(ctx, jobcache.Key{"k"}, nil, "main", from, func(path string) (*os.File, error) {
		cancel(gone)
		return os.Open(path)
	})
	left, _ := filepath.Glob(filepath.Join(dir, "main", "*"))
	hidden, _ := filepath.Glob(filepath.Join(dir, "main", ".*"))
	if !errors.Is(err, gone) || len(left)+len(hidden) > 0 {
		t.Errorf("Save = %v and left %q %q", err, left, hidden)
	}
}
