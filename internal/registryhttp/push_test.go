package registryhttp

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// keychain has one user for every registry.
type keychain struct{}

func (keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "somebody", Password: "else"}, nil
}

func TestAPushIsProvedByAnUploadThatIsTakenBack(t *testing.T) {
	for name, c := range map[string]struct {
		begin     http.HandlerFunc
		end       int
		status    int // of the refusal; zero: none
		cancelled bool
	}{
		"it takes pushes": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v2/team/cache/blobs/uploads/1?state=x")
			w.WriteHeader(http.StatusAccepted)
		}, http.StatusNoContent, 0, true},
		"it does not take uploads back": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "/v2/team/cache/blobs/uploads/1?state=x")
			w.WriteHeader(http.StatusAccepted)
		}, http.StatusMethodNotAllowed, 0, false},
		"it is read-only": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusMethodNotAllowed) }, 0, http.StatusMethodNotAllowed, false},
		"it wants somebody else": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"errors":[{"code":"DENIED"}]}`, http.StatusForbidden)
		}, 0, http.StatusForbidden, false},
		"it sends elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.example/", http.StatusTemporaryRedirect)
		}, 0, http.StatusTemporaryRedirect, false},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []string
			mux := http.NewServeMux()
			mux.HandleFunc("GET /v2/", func(w http.ResponseWriter, r *http.Request) {
				if _, _, ok := r.BasicAuth(); !ok {
					w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			mux.HandleFunc("POST /v2/team/cache/blobs/uploads/", func(w http.ResponseWriter, r *http.Request) {
				if user, password, _ := r.BasicAuth(); user != "somebody" || password != "else" {
					t.Errorf("an upload is begun by %q", user)
				}
				calls = append(calls, "begin")
				c.begin(w, r)
			})
			mux.HandleFunc("DELETE /v2/team/cache/blobs/uploads/1", func(w http.ResponseWriter, r *http.Request) {
				calls = append(calls, "end "+r.URL.RawQuery)
				w.WriteHeader(c.end)
			})
			srv := httptest.NewServer(mux)
			t.Cleanup(srv.Close)
			cancelled, err := ProvePush(t.Context(), strings.TrimPrefix(srv.URL, "http://")+"/team/cache", keychain{}, nil)
			status := 0
			if refusal, ok := errors.AsType[*transport.Error](err); ok {
				status = refusal.StatusCode
			}
			if cancelled != c.cancelled || status != c.status || (err == nil) != (c.status == 0) {
				t.Errorf("ProvePush() = %v, %v, want %v and a refusal with %d", cancelled, err, c.cancelled, c.status)
			}
			want := "begin"
			if c.end != 0 {
				want += ", end state=x"
			}
			if got := strings.Join(calls, ", "); got != want {
				t.Errorf("calls are %q, want %q", got, want)
			}
		})
	}
}
