package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

func TestPodmanIsLostWhenNoLookSucceeds(t *testing.T) {
	away, removed := errors.New("connection refused"), &libpod.StatusError{Code: http.StatusNotFound}
	for name, c := range map[string]struct {
		answer func(id string, after time.Duration) error
		want   time.Duration // zero: it is not
	}{
		"it answers":                 {func(string, time.Duration) error { return nil }, 0},
		"it is gone":                 {func(string, time.Duration) error { return away }, 5 * time.Minute},
		"it knows no container":      {func(string, time.Duration) error { return removed }, 0},
		"it answers for one of them": {func(id string, _ time.Duration) error { return map[string]error{"a": away}[id] }, 0},
		"it is upgraded, then lost": {func(_ string, after time.Duration) error {
			if after == 4*time.Minute {
				return nil
			}
			return away
		}, 9 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				begun := time.Now()
				err := untilLost(ctx, []string{"a", "b"}, func(_ context.Context, id string) error { return c.answer(id, time.Since(begun)) })
				if c.want == 0 {
					if err != nil || ctx.Err() == nil {
						t.Errorf("untilLost = %v after %s, want nil when its context ends", err, time.Since(begun))
					}
					return
				}
				if !errors.Is(err, away) || !strings.Contains(err.Error(), "5m0s") || time.Since(begun) != c.want {
					t.Errorf("untilLost = %v after %s, want the last error after %s", err, time.Since(begun), c.want)
				}
			})
		})
	}
}

// leaving plays a Podman service with one container, a, that is gone for good once leave
// has been called. Nothing listens then, so a bubble of synctest has no socket to wait for.
func leaving(t *testing.T) (c *Client, leave func()) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		if strings.HasSuffix(r.URL.Path, "/containers/json") {
			_, _ = fmt.Fprintf(w, `[{"Id":"a","Names":["a"],"Labels":{%q:"p",%q:"a"}}]`, LabelProject, LabelService) // the test fails by what it reads
		}
	}))
	c = clientOf(t, srv)
	return c, srv.Close
}

func TestNobodyFollowsAPodmanThatIsGoneForGood(t *testing.T) {
	for name, follow := range map[string]func(ctx context.Context, c *Client, leave func()) error{
		"a stack that runs": func(ctx context.Context, c *Client, leave func()) error {
			leave()
			return stackOf(c, "a", "b").Follow(ctx, FollowOptions{Line: func(_, _ string) {}, Changed: func(Event) {}})
		},
		"a stack that has ended": func(ctx context.Context, c *Client, leave func()) error {
			leave()
			s := stackOf(c, "a")
			s.containers["a"][0].State.Status, s.containers["a"][0].State.Running = "exited", false
			return s.Follow(ctx, FollowOptions{Quiet: []string{"a"}, Changed: func(Event) {}})
		},
		"lines": func(ctx context.Context, c *Client, leave func()) error {
			return c.Logs(ctx, "p", LogsOptions{Follow: true, Names: func([]string) { leave() }}, func(_, _ string) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				c, leave := leaving(t)
				err := follow(ctx, c, leave)
				if err == nil {
					t.Fatal("it ended without an error, want that Podman did not answer")
				}
				for _, want := range []string{"project p", "for 5m0s", "connection refused"} {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("it ended with %v, want %q in it", err, want)
					}
				}
			})
		})
	}
}

func TestAStackIsWatchedAsLongAsItsUserWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		c, leave := leaving(t)
		leave()
		begun := time.Now()
		stackOf(c, "a").Watch(ctx, func(Event) {})
		if watched := time.Since(begun); watched != 20*time.Minute {
			t.Errorf("it was watched for %s, want as long as its context", watched)
		}
	})
}
