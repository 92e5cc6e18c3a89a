package podmanrun

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// moment is how a container is when it is looked at.
type moment struct {
	code int
	body string
}

// moments of a container: a refused one in the words of a Podman that is removing it.
var (
	itRuns  = moment{http.StatusOK, `{"Id":"a","Name":"a","State":{"Status":"running","Running":true}}`}
	itEnded = moment{http.StatusOK, `{"Id":"a","Name":"a","State":{"Status":"exited","ExitCode":7}}`}
	itGoes  = moment{http.StatusInternalServerError, `{"cause":"no such container","message":"container a does not exist in database: no such container","response":500}`}
)

// passing plays a Podman service without events. What is asked of a container passes
// through its moments, of which the last one lasts; what is done to it is refused when it
// is. The list has the name "json".
func passing(t *testing.T, containers map[string][]moment) *Client {
	t.Helper()
	var mu sync.Mutex
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		w.Header().Set("Content-Type", "application/json")
		_, rest, _ := strings.Cut(r.URL.Path, "/libpod/containers/")
		name, what, _ := strings.Cut(rest, "/")
		if strings.HasSuffix(r.URL.Path, "/events") {
			http.Error(w, `{"message":"there are no events"}`, http.StatusInternalServerError)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		list := containers[name]
		if len(list) == 0 {
			return
		}
		now := list[0]
		if len(list) > 1 {
			containers[name] = list[1:]
		}
		if name != "json" && what != "json" && now.code == http.StatusOK {
			return
		}
		w.WriteHeader(now.code)
		_, _ = fmt.Fprint(w, now.body) // the test fails by what it reads
	}))
	t.Cleanup(srv.Close)
	c, err := Open(t.Context(), Config{Host: "tcp://" + srv.Listener.Addr().String(), ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it holds connections only
	return c
}

// stackOf is a stack whose services have one running container each, of their name.
func stackOf(c *Client, services ...string) *Stack {
	s := &Stack{client: c, project: "p", containers: make(map[string][]*libpod.Container), kept: make(map[string]bool)}
	for _, name := range services {
		running := &libpod.Container{ID: name, Name: name}
		running.State.Status, running.State.Running = "running", true
		s.containers[name] = []*libpod.Container{running}
	}
	return s
}

func TestAStackGoesOnWhenAContainerIsRemovedFromIt(t *testing.T) {
	t.Parallel()
	c := passing(t, map[string][]moment{"a": {itGoes}, "b": {itRuns, itEnded}})
	var told []Event
	stackOf(c, "a", "b").Watch(t.Context(), func(e Event) { told = append(told, e) })
	if want := []Event{{Service: "b", Kind: EventExited, Text: "7"}}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

func TestAContainerThatPodmanDoesNotAnswerForIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	busy := moment{http.StatusInternalServerError, `{"cause":"database is locked","message":"database is locked","response":500}`}
	c := passing(t, map[string][]moment{"a": {busy, busy, itEnded}, "b": {itRuns, itEnded}})
	var told []Event
	stackOf(c, "a", "b").Watch(t.Context(), func(e Event) { told = append(told, e) })
	slices.SortStableFunc(told, func(a, b Event) int { return strings.Compare(a.Service, b.Service) })
	want := []Event{
		{Service: "a", Kind: EventWarning, Text: "it is looked at again and again until Podman answers: inspecting container a: podman answered 500: database is locked"},
		{Service: "a", Kind: EventExited, Text: "7"},
		{Service: "b", Kind: EventExited, Text: "7"},
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestAFollowedStackOutlivesAPodmanThatIsRestarted(t *testing.T) {
	t.Parallel()
	away := moment{http.StatusServiceUnavailable, `{"message":"the service is about to start"}`}
	c := passing(t, map[string][]moment{"a": {itRuns, away, itEnded, away, itEnded}})
	var told []EventKind
	err := stackOf(c, "a").Follow(t.Context(), FollowOptions{Quiet: []string{"a"}, Changed: func(e Event) { told = append(told, e.Kind) }})
	if want := []EventKind{EventWarning, EventExited, EventWarning}; err != nil || !slices.Equal(told, want) {
		t.Errorf("Follow = %v, told %v, want %v", err, told, want)
	}
}

func TestTheHealthOfAContainerIsKeptTrackOfWhenACheckFails(t *testing.T) {
	t.Parallel()
	var checks atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		switch {
		case strings.HasSuffix(r.URL.Path, "/healthcheck"):
			switch checks.Add(1) {
			case 1, 3:
				_, _ = fmt.Fprint(w, `{"Status":"unhealthy"}`) // the test fails by what it reads
			case 2:
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				_, _ = fmt.Fprint(w, `{"Status":"healthy"}`) // likewise
			}
		case strings.HasSuffix(r.URL.Path, "/events"):
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = fmt.Fprint(w, itRuns.body) // likewise
		}
	}))
	defer srv.Close()
	c, err := Open(t.Context(), Config{Host: "tcp://" + srv.Listener.Addr().String(), ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }() // it holds connections only
	s := stackOf(c, "a")
	s.containers["a"][0].Config.Labels = map[string]string{labelCheck: `{"Test":["CMD","true"],"Interval":1000000,"Retries":2}`}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var told []EventKind
	s.Watch(ctx, func(e Event) {
		if told = append(told, e.Kind); e.Kind == EventHealthy {
			cancel()
		}
	})
	if want := []EventKind{EventWarning, EventUnhealthy, EventHealthy}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v: the failures on both sides of the question that was not answered count", told, want)
	}
}

func TestAContainerThatIsRemovedWhileItsLogsAreAskedForHasNone(t *testing.T) {
	for name, moments := range map[string][]moment{"before it is looked at": {itGoes}, "before its logs are read": {itRuns, itGoes}} {
		c := passing(t, map[string][]moment{"a": moments})
		err := c.logs(t.Context(), []logSource{{id: "a", name: "a", subject: "a"}}, LogsOptions{}, func(_, _ string) {})
		if err != nil {
			t.Errorf("%s: logs = %v, want nil", name, err)
		}
	}
}
