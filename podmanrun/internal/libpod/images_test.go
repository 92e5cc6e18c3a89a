package libpod

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

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
	return clientOf(t, srv), pulls, up
}

// refusing plays a Podman service whose pulls are refused, one after the other, in
// these words, and then succeed.
func refusing(t *testing.T, refusals ...string) (c *Client, pulls *atomic.Int32) {
	t.Helper()
	pulls = &atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		answer := map[string]string{"Id": "i1"}
		if strings.HasSuffix(r.URL.Path, "/images/pull") {
			answer = map[string]string{"id": "i1"}
			if n := int(pulls.Add(1)); n <= len(refusals) {
				answer = map[string]string{"error": refusals[n-1]}
			}
		}
		_ = json.NewEncoder(w).Encode(answer) // the test fails by what it reads
	}))
	c = clientOf(t, srv)
	c.again.First, c.again.Max = time.Millisecond, time.Millisecond
	return c, pulls
}

func TestAPullIsTriedAgainOnlyWhenTheRegistryMayComeToItsSenses(t *testing.T) {
	const (
		busy   = "reading manifest 1 in reg/x: toomanyrequests: slow down"
		broken = "reading manifest 1 in reg/x: received unexpected HTTP status: 503 Service Unavailable"
		reset  = "reading blob sha256:aa: read tcp 1.2.3.4:5: connection reset by peer"
		denied = "reading manifest 1 in reg/x: unauthorized: authentication required"
		absent = "reading manifest 1 in reg/x: manifest unknown"
	)
	for name, c := range map[string]struct {
		refusals []string
		pulls    int32
		want     string
		told     []string
	}{
		"busy, broken, cut off": {[]string{busy, broken, reset}, 4, "", []string{"takes no more requests", "failed (", "failed ("}},
		"busy for good":         {[]string{busy, busy, busy, busy, busy, busy}, 6, "after 6 attempts: reg takes no more requests for now", nil},
		"no such image":         {[]string{absent}, 1, "reg does not have the image", nil},
		"other credentials":     {[]string{denied}, 1, "reg lets nobody have the image with these credentials", nil},
		"an end of patience":    {[]string{busy, denied}, 2, "reg lets nobody", nil},
	} {
		t.Run(name, func(t *testing.T) {
			client, pulls := refusing(t, c.refusals...)
			var told []string
			_, err := client.EnsureImage(t.Context(), Pull{Image: "reg:80/x:1", Policy: "always"}, nil, func(text string) { told = append(told, text) })
			want := strings.ReplaceAll(c.want, "reg ", "reg:80 ")
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || pulls.Load() != c.pulls {
				t.Errorf("after %d pulls: %v, want %d and %q", pulls.Load(), err, c.pulls, want)
			}
			for i, text := range c.told {
				if i >= len(told) || !strings.Contains(told[i], text) || !strings.Contains(told[i], "trying again in ") {
					t.Errorf("the progress is %q, want %q as number %d", told, text, i)
				}
			}
		})
	}
}

func TestAnImageForAnotherMachineIsPulledAnew(t *testing.T) {
	for name, c := range map[string]struct {
		image Image
		pull  Pull
		pulls int32
	}{
		"what is asked for":       {Image{OS: "linux", Architecture: "s390x"}, Pull{Platform: "linux/s390x"}, 0},
		"another than asked for":  {Image{OS: "linux", Architecture: "s390x"}, Pull{Platform: "linux/arm64/v8"}, 1},
		"a variant":               {Image{OS: "linux", Architecture: "arm64", Variant: "v8"}, Pull{Platform: "linux/aarch64"}, 0},
		"one that does not say":   {Image{}, Pull{Platform: "linux/arm64"}, 0},
		"not the machine's":       {Image{OS: "linux", Architecture: "s390x"}, Pull{}, 1},
		"not the machine's, kept": {Image{OS: "linux", Architecture: "s390x"}, Pull{Policy: "never"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var pulls atomic.Int32
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Libpod-API-Version", "4.3.1")
				var answer any = c.image
				switch {
				case strings.HasSuffix(r.URL.Path, "/images/pull"):
					pulls.Add(1)
					answer = map[string]string{"id": "i2"}
				case strings.HasSuffix(r.URL.Path, "/info"):
					answer = map[string]any{"host": map[string]any{"os": "linux", "arch": "amd64"}}
				}
				_ = json.NewEncoder(w).Encode(answer) // the test fails by what it reads
			}))
			client := clientOf(t, srv)
			c.pull.Image = "x"
			if _, err := client.EnsureImage(t.Context(), c.pull, nil, func(string) {}); err != nil || pulls.Load() != c.pulls {
				t.Errorf("EnsureImage = %v after %d pulls, want %d", err, pulls.Load(), c.pulls)
			}
		})
	}
}

func TestAStoredImageDoesNotKeepAServiceFromBeingPulled(t *testing.T) {
	c, pulls, up := imageService(t)
	up.Store(true)
	quiet := func(string) {}
	for policy, want := range map[string]int32{"always": 1, "": 0, "never": 0} {
		pulls.Store(0)
		if _, err := c.EnsureImage(t.Context(), Pull{Image: "x", Policy: policy}, nil, quiet); err != nil || pulls.Load() != want {
			t.Errorf("policy %q: %d pulls, %v, want %d", policy, pulls.Load(), err, want)
		}
	}
	up.Store(false)
	_, err := c.EnsureImage(t.Context(), Pull{Image: "x", Policy: "always"}, nil, quiet)
	hints := strings.Join(hint.All(err), "\n")
	if err == nil || !strings.Contains(err.Error(), "nobody answers); Podman's storage has an image of this name") || !strings.Contains(hints, "localImage: true") {
		t.Errorf("a registry that is down: %v, hints %q; want it to say that the image is there", err, hints)
	}
	_, err = c.EnsureImage(t.Context(), Pull{Image: "absent", Policy: "always"}, nil, quiet)
	if err == nil || strings.Contains(err.Error(), "storage") {
		t.Errorf("an image that is nowhere: %v", err)
	}
}
