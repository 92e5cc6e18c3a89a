package podmanrun

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	c := passing(t, map[string][]moment{"a": {itRuns, itGoes}, "b": {itRuns, itRuns, itRuns, itEnded}})
	var told []Event
	if err := stackOf(c, "a", "b").Watch(t.Context(), func(e Event) { told = append(told, e) }); err != nil {
		t.Errorf("Watch = %v, want nil: one was removed and the other has ended", err)
	}
	if want := []Event{{Service: "b", Kind: EventExited, Text: "7"}}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
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
