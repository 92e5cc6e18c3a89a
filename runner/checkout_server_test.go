package runner_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
)

// host is a server of repositories, with large files, that counts what it sends
// and remembers who came with which credentials.
type host struct {
	*httptest.Server
	sent atomic.Int64 // bytes of bodies

	mu     sync.Mutex
	seen   map[string]bool   // values of the header Authorization
	larges map[string]string // large files by their digest
}

// newHost serves the repositories below root to those who bring authorization;
// empty is everybody.
func newHost(t *testing.T, root, authorization string) *host {
	t.Helper()
	path, err := exec.LookPath("git")
	if err != nil {
		t.Fatal(err)
	}
	h := &host{seen: make(map[string]bool), larges: make(map[string]string)}
	backend := &cgi.Handler{Path: path, Args: []string{"http-backend"}, Env: []string{"GIT_PROJECT_ROOT=" + root, "GIT_HTTP_EXPORT_ALL=1"}, InheritEnv: []string{"PATH"}}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &counting{ResponseWriter: w, sent: &h.sent}
		h.mu.Lock()
		h.seen[r.Header.Get("Authorization")] = true
		h.mu.Unlock()
		switch {
		case authorization != "" && r.Header.Get("Authorization") != authorization:
			http.Error(w, "no", http.StatusUnauthorized)
		case strings.HasSuffix(r.URL.Path, "/info/lfs/objects/batch"):
			h.batch(w, r)
		case strings.HasPrefix(r.URL.Path, "/large/"):
			h.large(w, strings.TrimPrefix(r.URL.Path, "/large/"))
		default:
			backend.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h
}

// batch answers where large files are (git-lfs, docs/api/batch.md).
func (h *host) batch(w http.ResponseWriter, r *http.Request) {
	type object struct {
		ID      string         `json:"oid"`
		Size    int            `json:"size"`
		Actions map[string]any `json:"actions,omitempty"`
	}
	var body struct {
		Objects []object `json:"objects"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	for i, o := range body.Objects {
		body.Objects[i].Actions = map[string]any{"download": map[string]any{"href": h.URL + "/large/" + o.ID}}
	}
	w.Header().Set("Content-Type", "application/vnd.git-lfs+json")
	_ = json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": body.Objects}) // the client notices
}

func (h *host) large(w http.ResponseWriter, id string) {
	h.mu.Lock()
	text, ok := h.larges[id]
	h.mu.Unlock()
	if !ok {
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, text) // as in batch
}

// keep stores a large file and returns the pointer that stands for it in a
// repository.
func (h *host) keep(text string) string {
	digest := sha256.Sum256([]byte(text))
	id := hex.EncodeToString(digest[:])
	h.mu.Lock()
	defer h.mu.Unlock()
	h.larges[id] = text
	return fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", id, len(text))
}

func (h *host) saw(authorization string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.seen[authorization]
}

type counting struct {
	http.ResponseWriter
	sent *atomic.Int64
}

func (c *counting) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.sent.Add(int64(n))
	return n, err
}

// from makes the repository one of address, entered with the job's token.
func from(r job.Repository, address string) job.Repository {
	r.Properties["url"] = json.RawMessage(`"` + address + `"`)
	r.Endpoint = &job.EndpointReference{ID: "E"}
	return r
}

// tokenOf returns the endpoint of from.
func tokenOf(token string) []job.Endpoint {
	return []job.Endpoint{{ID: "E", Name: "e", Authorization: job.Authorization{Scheme: "OAuth", Parameters: map[string]string{"AccessToken": token}}}}
}
