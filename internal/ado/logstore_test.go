package ado_test

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

// How a request to the logs of a plan can go wrong.
const (
	resetBefore  = "reset before it was carried out"
	resetAfter   = "reset after it was carried out"
	unavailable  = "503 before it was carried out"
	gatewayAfter = "503 after it was carried out"
	silent       = "carried out, and no answer"
	garbled      = "carried out, and an answer that cannot be read"
	half         = "half carried out, then reset"
	expired      = "401 once"
)

// The requests to the logs of a plan.
const (
	creating  = "create"
	appending = "append"
	listing   = "list"
)

// logStore keeps logs as the service does (protocol §7.6): an append adds lines
// to a log, and the list tells how many each has. fault says what goes wrong
// with the nth request of a kind, counted from one.
type logStore struct {
	fault  func(kind string, n int) string
	silent chan struct{} // closed when the requests without an answer may end

	mu    sync.Mutex
	logs  []*stored
	count map[string]int
}

type stored struct {
	path string
	text []byte
}

func newLogStore(t testing.TB, fault func(kind string, n int) string) (*logStore, *service) {
	t.Helper()
	s := &logStore{fault: fault, silent: make(chan struct{}), count: map[string]int{}}
	srv := newService(t, s.serve)
	t.Cleanup(func() { close(s.silent) }) // before the server is closed
	return s, srv
}

func (s *logStore) serve(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, planPath+"/logs")
	if !ok {
		answer(w, http.StatusOK, struct{}{})
		return
	}
	kind := appending
	switch {
	case r.Method == http.MethodGet:
		kind = listing
	case rest == "":
		kind = creating
	}
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.count[kind]++
	fault := s.fault(kind, s.count[kind])
	var out any
	switch fault {
	case resetBefore, unavailable, expired:
	case half:
		end := bytes.IndexByte(body[len(body)/2:], '\n') + len(body)/2 + 1
		out = s.do(kind, rest, r, body[:end])
	default:
		out = s.do(kind, rest, r, body)
	}
	s.mu.Unlock()
	switch fault {
	case "":
		answer(w, http.StatusOK, out)
	case unavailable, gatewayAfter:
		w.WriteHeader(http.StatusServiceUnavailable)
	case silent:
		<-s.silent
	case garbled:
		_, _ = w.Write([]byte(`{"id":`))
	case expired:
		refuse(w, http.StatusUnauthorized, "")
	default:
		if code, err := strconv.Atoi(fault); err == nil {
			w.WriteHeader(code)
			return
		}
		panic(http.ErrAbortHandler)
	}
}

func (s *logStore) do(kind, rest string, r *http.Request, body []byte) any {
	switch kind {
	case creating:
		// The record's id is what the path ends in; the body is small JSON.
		_, path, _ := strings.Cut(string(body), `logs\\`)
		path, _, _ = strings.Cut(path, `"`)
		s.logs = append(s.logs, &stored{path: path})
		return s.wire(len(s.logs) - 1)
	case appending:
		i, err := strconv.Atoi(rest[1:])
		if err != nil || i < 1 || i > len(s.logs) {
			return struct{}{}
		}
		s.logs[i-1].text = append(s.logs[i-1].text, body...)
		return s.wire(i - 1)
	}
	all := []ado.Log{{ID: 1000, Path: ado.LogPath("of-another-job")}}
	for i := range s.logs {
		all = append(all, s.wire(i))
	}
	return ado.ListOf(all...)
}

func (s *logStore) wire(i int) ado.Log {
	l := s.logs[i]
	return ado.Log{ID: ado.LogID(i + 1), Path: ado.LogPath(job.RecordID(l.path)), LineCount: int64(bytes.Count(l.text, []byte{'\n'}))}
}

// lines returns the lines of a record, page by page, without their stamps.
func (s *logStore) lines(record string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs {
		if l.path == record {
			for line := range strings.Lines(string(l.text)) {
				_, line, _ = strings.Cut(strings.TrimSuffix(line, "\n"), " ")
				out = append(out, line)
			}
		}
	}
	return out
}

func (s *logStore) counted(kind string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.count[kind]
}

// wantLines compares the lines of a record with "line 1" to "line n".
func (s *logStore) wantLines(t *testing.T, record string, n int) {
	t.Helper()
	got := s.lines(record)
	var want []string
	for i := range n {
		want = append(want, "line "+strconv.Itoa(i+1))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s has %d lines, want %d, each once and in order: %.300q", record, len(got), n, got)
	}
}
