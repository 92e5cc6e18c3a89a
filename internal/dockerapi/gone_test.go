package dockerapi_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

// goneWords is Podman's refusal of a request that waited for the lock of a container
// while that was removed.
const goneWords = `{"cause":"no such container","message":"container 4e2b does not exist in database: no such container","response":500}`

func refuseAsGone(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusInternalServerError)
	_, _ = w.Write([]byte(goneWords)) // a client that is gone needs no answer
}

func TestAContainerThatIsBeingRemovedDoesNotExist(t *testing.T) {
	for name, refused := range map[string][]string{
		"when it is looked for": {"GET /v4.0.0/libpod/containers/{name}/json"},
		"a moment later":        {"GET /v1.41/containers/{name}/json", "POST /v1.41/containers/{name}/stop", "DELETE /v1.41/containers/{name}"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUpstream()
			for _, pattern := range refused {
				u.mux.HandleFunc(pattern, refuseAsGone)
			}
			c := open(t, u)
			for _, request := range [][2]string{
				{http.MethodGet, "/v1.41/containers/web/json"}, {http.MethodPost, "/v1.41/containers/web/stop"}, {http.MethodDelete, "/v1.41/containers/web"},
			} {
				code, answer := c.do(t, request[0], request[1], "")
				var says struct{ Message string }
				if err := json.Unmarshal([]byte(answer), &says); err != nil {
					t.Errorf("%v is answered %q: %v", request, answer, err)
				}
				if code != http.StatusNotFound || says.Message != "No such container: web" && says.Message != "No such container: "+id("web") {
					t.Errorf("%v is answered %d: %s, want Docker's 404", request, code, answer)
				}
			}
		})
	}
}
