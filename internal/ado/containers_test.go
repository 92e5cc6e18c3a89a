package ado_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

func buildClient(t *testing.T, url string, o ado.Options) *ado.BuildClient {
	t.Helper()
	m := &job.Message{JobID: "j"}
	m.Resources.Endpoints = []job.Endpoint{{
		Name: job.SystemConnection, URL: url,
		Authorization: job.Authorization{Scheme: "OAuth", Parameters: map[string]string{"AccessToken": secret}},
	}}
	c, err := ado.NewBuildClient(m, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// store is a file container that keeps what it is sent, as far as the order of the
// parts is right (protocol §9.1).
type store struct {
	mu       sync.Mutex
	files    map[string][]byte
	parts    map[string]int
	headers  map[string]http.Header
	fail     map[string]int // path → how many of its parts are refused with status first
	status   int
	unsure   bool // the last part is answered with 202
	busy     int
	together int // most files at once
}

func newStore() *store {
	return &store{files: map[string][]byte{}, parts: map[string]int{}, headers: map[string]http.Header{}, fail: map[string]int{}}
}

func (s *store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.busy++
	s.together = max(s.together, s.busy)
	s.mu.Unlock()
	time.Sleep(time.Millisecond) // so that files meet
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy--
	query, _ := url.ParseQuery(r.URL.RawQuery)
	name := query.Get("itemPath")
	s.parts[name]++
	if s.fail[name] > 0 {
		s.fail[name]--
		refuse(w, s.status, "")
		return
	}
	start, end, total := 0, len(body)-1, len(body)
	if text := r.Header.Get("Content-Range"); text != "" {
		_, _ = fmt.Sscanf(text, "bytes %d-%d/%d", &start, &end, &total)
	} else if len(body) > 0 {
		refuse(w, http.StatusBadRequest, "")
		return
	}
	if start == 0 {
		s.files[name] = nil
	}
	if start != len(s.files[name]) || end-start+1 != len(body) || query.Get("scope") != "project" || r.Method != http.MethodPut {
		refuse(w, http.StatusBadRequest, "")
		return
	}
	s.files[name] = append(s.files[name], body...)
	s.headers[name] = r.Header.Clone()
	status := http.StatusAccepted
	if len(s.files[name]) == total && !s.unsure {
		status = http.StatusCreated
	}
	answer(w, status, struct{}{})
}

// noise is what does not compress.
func noise(n int) []byte {
	out := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(out) // never fails
	return out
}

func upload(t *testing.T, files map[string][]byte) job.Upload {
	t.Helper()
	dir := t.TempDir()
	u := job.Upload{Run: job.RunReference{Project: "project", Build: 501}, Container: 77, Folder: "drop", Temp: t.TempDir()}
	for name, content := range files {
		path := filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		u.Files = append(u.Files, job.UploadFile{Path: name, Open: func() (fs.File, error) { return os.Open(path) }})
	}
	return u
}

func TestFilesAreSentInPartsAndCompressedOnlyWhenThatHelps(t *testing.T) {
	s := newStore()
	srv := newService(t, s.ServeHTTP)
	mixed := append(bytes.Repeat([]byte("text "), 900_000), noise(5<<20)...) // its beginning is not like the rest
	files := map[string][]byte{
		"noise": noise(12 << 20), "exact": noise(4 << 20), "one more": noise(4<<20 + 8), "mixed": mixed,
		"text": bytes.Repeat([]byte("text "), 1<<20), "small": bytes.Repeat([]byte("small "), 30), "tiny": {1}, "empty": {}, "ä b/c;d": []byte("x"),
	}
	u := upload(t, files)
	if err := buildClient(t, srv.URL, options(t)).Upload(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, header := s.files["drop/"+name], s.headers["drop/"+name]
		packed := header.Get("Content-Encoding") == "gzip"
		if packed {
			if header.Get("X-Tfs-Filelength") != fmt.Sprint(len(want)) || len(got) >= len(want) {
				t.Errorf("%s: %d bytes with length %s of %d", name, len(got), header.Get("X-Tfs-Filelength"), len(want))
			}
			z, err := gzip.NewReader(bytes.NewReader(got))
			if err != nil {
				t.Fatal(err)
			}
			if got, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s arrived with %d bytes, not as its %d", name, len(got), len(want))
		}
		if wantPacked := name == "text" || name == "small" || name == "mixed" && packed; packed != wantPacked {
			t.Errorf("%s compressed: %t, want %t", name, packed, wantPacked)
		}
	}
	if header := s.headers["drop/empty"]; header.Get("Content-Range") != "" {
		t.Errorf("an empty file has the range %s", header.Get("Content-Range"))
	}
	if got := [4]int{s.parts["drop/noise"], s.parts["drop/exact"], s.parts["drop/one more"], s.parts["drop/empty"]}; got != [4]int{3, 1, 2, 1} {
		t.Errorf("parts %v, want 3, 1, 2 and 1", got)
	}
	if s.together > 2 {
		t.Errorf("%d files at the same time, want two", s.together)
	}
	if left, _ := os.ReadDir(u.Temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAPartThatFailsIsSentAgainAndThenTheFile(t *testing.T) {
	for name, c := range map[string]struct {
		status, fail int
		parts        int
		ok           bool
	}{
		"twice":                        {503, 2, 4, true},
		"three times: the file":        {500, 3, 5, true},
		"five times":                   {503, 5, 7, true},
		"six times":                    {503, 6, 6, false},
		"refused":                      {403, 1, 1, false},
		"not found":                    {404, 1, 1, false},
		"twice by a load that is high": {429, 2, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore()
			s.status, s.fail["drop/a"] = c.status, c.fail
			srv := newService(t, s.ServeHTTP)
			u := upload(t, map[string][]byte{"a": noise(5 << 20), "b": {1}})
			var said []string
			u.Say = func(line string) { said = append(said, line) }
			err := buildClient(t, srv.URL, options(t)).Upload(t.Context(), u)
			if (err == nil) != c.ok || s.parts["drop/a"] != c.parts {
				t.Errorf("Upload = %v after %d parts, want %d", err, s.parts["drop/a"], c.parts)
			}
			if !c.ok && (!strings.Contains(err.Error(), "uploading a") || !strings.Contains(err.Error(), fmt.Sprint(c.status))) {
				t.Errorf("Upload = %v, want the file and the status", err)
			}
			if c.ok && !bytes.Equal(s.files["drop/a"], noise(5<<20)) {
				t.Error("the file arrived otherwise")
			}
			if c.ok && len(said) == 0 {
				t.Error("nothing was said")
			}
		})
	}
}

func TestAFileCountsOnlyWhenTheServerConfirmsIt(t *testing.T) {
	s := newStore()
	s.unsure = true
	srv := newService(t, s.ServeHTTP)
	err := buildClient(t, srv.URL, options(t)).Upload(t.Context(), upload(t, map[string][]byte{"a": {1}, "e": {}}))
	if err == nil || !strings.Contains(err.Error(), "did not confirm") {
		t.Errorf("Upload = %v", err)
	}
}

func TestAServerThatIsAwayFailsTheUpload(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) { reset(w) })
	err := buildClient(t, srv.URL, options(t)).Upload(t.Context(), upload(t, map[string][]byte{"a": {1}}))
	if err == nil || !strings.Contains(err.Error(), "uploading a") {
		t.Errorf("Upload = %v", err)
	}
}

func TestAnUploadEndsWithItsContext(t *testing.T) {
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(t.Context())
	s := newStore()
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		cancel(gone)
		s.ServeHTTP(w, r)
	})
	if err := buildClient(t, srv.URL, options(t)).Upload(ctx, upload(t, map[string][]byte{"a": noise(5 << 20)})); !errors.Is(err, gone) {
		t.Errorf("Upload = %v, want the cause", err)
	}
}

func TestAFileThatChangesOrIsNoneIsNotUploaded(t *testing.T) {
	s := newStore()
	srv := newService(t, s.ServeHTTP)
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, noise(6<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	u := upload(t, nil)
	u.Files = []job.UploadFile{{Path: "f", Open: func() (fs.File, error) {
		f, err := os.Open(path)
		return shrinking{f}, err
	}}}
	if err := buildClient(t, srv.URL, options(t)).Upload(t.Context(), u); err == nil || !strings.Contains(err.Error(), "changed while") {
		t.Errorf("a file that shrinks = %v", err)
	}
	u.Files[0].Open = func() (fs.File, error) { return os.Open(filepath.Dir(path)) }
	if err := buildClient(t, srv.URL, options(t)).Upload(t.Context(), u); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a directory = %v", err)
	}
}

// shrinking says that it has more bytes than it has.
type shrinking struct{ *os.File }

func (s shrinking) Stat() (fs.FileInfo, error) {
	info, err := s.File.Stat()
	return larger{info}, err
}

type larger struct{ fs.FileInfo }

func (l larger) Size() int64 { return l.FileInfo.Size() + 1 }

func TestFilesOfAnArtifactAreListedAndFetched(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Accept"), "application/octet-stream") {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = io.WriteString(z, "content of "+r.URL.Query().Get("itemPath"))
			_ = z.Close()
			return
		}
		_, _ = io.WriteString(w, `{"count": 5, "value": [
			{"path": "Drop", "itemType": "folder"}, {"path": "drop/a", "itemType": 1}, {"path": "drop/a/b.txt", "itemType": "file", "fileLength": 7},
			{"path": "drop\\c", "itemType": 2, "fileLength": 0}, {"path": "dropped/x", "itemType": "file"}]}`)
	})
	c := buildClient(t, srv.URL, options(t))
	run := job.RunReference{Project: "project", Build: 501}
	a := job.Artifact{Name: "drop", Resource: job.ArtifactResource{Type: "container", Data: "#/77/drop"}}
	files, err := c.Files(t.Context(), run, a)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]job.ContainerFile{{Path: "a/b.txt", Size: 7}, {Path: "c"}}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	var got bytes.Buffer
	if err := c.Fetch(t.Context(), run, a, "a/b.txt", &got); err != nil || got.String() != "content of drop/a/b.txt" {
		t.Errorf("fetched %q, %v", got.String(), err)
	}
	if _, err := c.Files(t.Context(), run, job.Artifact{Name: "x", Resource: job.ArtifactResource{Type: "FilePath", Data: "//x"}}); err == nil {
		t.Error("an artifact on a file share has files in a container")
	}
}

func TestARunIsChangedAndFound(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch path := r.Method + " " + r.URL.Path; {
		case strings.HasSuffix(path, "PATCH /p/_apis/build/builds/501") && string(body) == `{"id":501,"buildNumber":"1;2"}`:
			_, _ = io.WriteString(w, `{"id": 501, "buildNumber": "1;2"}`)
		case path == "POST /p/_apis/build/builds/501/tags" && string(body) == `["a ; b"]`:
			_, _ = io.WriteString(w, `{"count": 2, "value": ["old", "a ; b"]}`)
		case path == "GET /other/_apis/build/builds/7":
			_, _ = io.WriteString(w, `{"id": 7, "project": {"id": "guid"}}`)
		case path == "GET /other/_apis/build/builds" && r.URL.Query().Get("branchName") == "refs/heads/x":
			_, _ = io.WriteString(w, `{"count": 1, "value": [{"id": 8, "project": {"id": "guid"}}]}`)
		case path == "GET /other/_apis/build/builds":
			_, _ = io.WriteString(w, `{"count": 0, "value": []}`)
		case path == "GET /_apis/resourceAreas/efc2f575-36ef-48e9-b672-0c6fb4a48ac5":
			w.WriteHeader(http.StatusNotFound)
		case path == "PATCH /p/_apis/Release/releases/3" && string(body) == `{"comment":"c","name":"n"}`:
			_, _ = io.WriteString(w, `{"id": 3}`)
		default:
			t.Errorf("asked %s %s with %s", path, r.URL.RawQuery, body)
			refuse(w, http.StatusBadRequest, "")
		}
	})
	c := buildClient(t, srv.URL, options(t))
	run := job.RunReference{Project: "p", Build: 501}
	if got, err := c.SetNumber(t.Context(), run, "1;2"); err != nil || got != "1;2" {
		t.Errorf("SetNumber = %q, %v", got, err)
	}
	if got, err := c.AddTag(t.Context(), run, "a ; b"); err != nil || !cmp.Equal(got, []string{"old", "a ; b"}) {
		t.Errorf("AddTag = %q, %v", got, err)
	}
	if err := c.RenameRelease(t.Context(), "p", 3, "n", "c"); err != nil {
		t.Errorf("RenameRelease = %v", err)
	}
	if got, err := c.FindRun(t.Context(), job.RunQuery{Project: "other", Build: 7}); err != nil || got != (job.RunReference{Project: "guid", Build: 7}) {
		t.Errorf("FindRun by number = %+v, %v", got, err)
	}
	if got, err := c.FindRun(t.Context(), job.RunQuery{Project: "other", Definition: "5", Branch: "refs/heads/x", Partial: true}); err != nil || got.Build != 8 {
		t.Errorf("FindRun by branch = %+v, %v", got, err)
	}
	if _, err := c.FindRun(t.Context(), job.RunQuery{Project: "other", Definition: "5"}); err == nil || !strings.Contains(err.Error(), "no run fits") {
		t.Errorf("FindRun without one = %v", err)
	}
}
