package podmanrun

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// healthService plays the Podman service of one container. Each check takes the
// next letter of the script: + passes, - fails, x finds the container ended, and
// after the last one it is gone.
func healthService(t *testing.T, config map[string]any, script string) *Client {
	t.Helper()
	var over bool
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		answer := any(map[string]any{"Id": "c1", "Name": "c", "State": map[string]any{"Running": true}, "Config": config})
		if strings.HasSuffix(r.URL.Path, "/healthcheck") {
			step := byte('x')
			if over = script == ""; !over {
				step, script = script[0], script[1:]
			}
			switch step {
			case '+':
				answer = map[string]string{"Status": "healthy"}
			case '-':
				answer = map[string]string{"Status": "unhealthy"}
			default:
				w.WriteHeader(http.StatusConflict)
				answer = map[string]string{"message": "the container does not run"}
			}
		} else if over {
			w.WriteHeader(http.StatusNotFound)
			answer = map[string]string{"message": "no such container"}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			_, _ = io.WriteString(w, err.Error()) // the test fails by what it reads
		}
	}))
	c := clientOf(t, srv)
	return c
}

func TestTheHealthOfAContainerIsFollowedUntilItIsGone(t *testing.T) {
	check := map[string]any{"Test": []string{"CMD", "true"}, "Interval": time.Millisecond, "Retries": 2}
	const s, h, u = HealthStarting, HealthHealthy, HealthUnhealthy
	for name, test := range map[string]struct {
		config map[string]any
		script string
		want   []Health
	}{
		"healthy at once":           {map[string]any{"Healthcheck": check}, "+", []Health{s, h}},
		"one failure is forgiven":   {map[string]any{"Healthcheck": check}, "+-+", []Health{s, h}},
		"it turns and turns back":   {map[string]any{"Healthcheck": check}, "+--+", []Health{s, h, u, h}},
		"never healthy at first":    {map[string]any{"Healthcheck": check}, "-----+", []Health{s, u, h}},
		"started again":             {map[string]any{"Healthcheck": check}, "+x+", []Health{s, h, s, h}},
		"without a check":           {map[string]any{}, "", nil},
		"with the check turned off": {map[string]any{"Healthcheck": map[string]any{"Test": []string{"NONE"}}}, "", nil},
		"of a stack":                {map[string]any{"Healthcheck": check, "Labels": map[string]string{labelCheck: "{}"}}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []Health
			err := healthService(t, test.config, test.script).FollowHealth(t.Context(), "c1", func(h Health) { got = append(got, h) })
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("FollowHealth = %v; turns (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestFollowingTheHealthEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	config := map[string]any{"Healthcheck": map[string]any{"Test": []string{"CMD", "true"}, "Interval": time.Hour}}
	err := healthService(t, config, "+").FollowHealth(ctx, "c1", func(h Health) {
		if h == HealthHealthy {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("FollowHealth after the end of its context = %v, want canceled", err)
	}
}
