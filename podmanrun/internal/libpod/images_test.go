package libpod

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
)

// imageService plays a Podman service that has every image but absent; pulls
// succeed while up is true.
func imageService(t *testing.T) (c *Client, pulls *atomic.Int32, up *atomic.Bool) {
	t.Helper()
	pulls, up = &atomic.Int32{}, &atomic.Bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		var answer any = map[string]string{"Id": "i1"}
		switch {
		case strings.HasSuffix(r.URL.Path, "/images/pull"):
			pulls.Add(1)
			if answer = map[string]string{"id": "i2"}; !up.Load() {
				answer = map[string]string{"error": "nobody answers"}
			}
		case strings.Contains(r.URL.Path, "absent"):
			w.WriteHeader(http.StatusNotFound)
			answer = map[string]string{"message": "no such image"}
		}
		_ = json.NewEncoder(w).Encode(answer) // the test fails by what it reads
	}))
	t.Cleanup(srv.Close)
	c, err := Connect(t.Context(), "tcp://"+srv.Listener.Addr().String(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, pulls, up
}

func TestAStoredImageDoesNotKeepAServiceFromBeingPulled(t *testing.T) {
	c, pulls, up := imageService(t)
	up.Store(true)
	quiet := func(string) {}
	for policy, want := range map[string]int32{"always": 1, "": 0, "never": 0} {
		pulls.Store(0)
		if _, err := c.EnsureImage(t.Context(), Pull{Image: "x", Policy: policy}, "", quiet); err != nil || pulls.Load() != want {
			t.Errorf("policy %q: %d pulls, %v, want %d", policy, pulls.Load(), err, want)
		}
	}
	up.Store(false)
	_, err := c.EnsureImage(t.Context(), Pull{Image: "x", Policy: "always"}, "", quiet)
	hints := strings.Join(hint.All(err), "\n")
	if err == nil || !strings.Contains(err.Error(), "nobody answers; Podman's storage has an image of this name") || !strings.Contains(hints, "localImage: true") {
		t.Errorf("a registry that is down: %v, hints %q; want it to say that the image is there", err, hints)
	}
	_, err = c.EnsureImage(t.Context(), Pull{Image: "absent", Policy: "always"}, "", quiet)
	if err == nil || strings.Contains(err.Error(), "storage") {
		t.Errorf("an image that is nowhere: %v", err)
	}
}
