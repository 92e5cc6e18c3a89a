package podmanrun

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
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
// is. The list has the name "json", and what has moments of its own one as "a/logs".
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
		if containers[name+"/"+what] != nil {
			name += "/" + what
		}
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
	c := clientOf(t, srv)
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

// restarting plays a Podman service without events and with one container, a. It is
// restarted before that writes its second line, and again when it has ended. Streams
// of lines are cut off then, or end.
func restarting(t *testing.T, cut bool) *Client {
	t.Helper()
	var (
		mu            sync.Mutex
		refuse        int // the next looks
		streams, ends int
	)
	frame := func(w io.Writer, text string) {
		_, _ = fmt.Fprintf(w, "\x01\x00\x00\x00\x00\x00\x00%c%s\n", len(text)+1, text) // the test fails by what it reads
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		mu.Lock()
		defer mu.Unlock()
		switch path.Base(r.URL.Path) {
		case "events":
			w.WriteHeader(http.StatusInternalServerError)
		case "logs":
			streams++
			frame(w, "2026-01-02T15:04:05Z one")
			if streams == 1 {
				refuse = 2
				if !cut {
					return
				}
				_ = http.NewResponseController(w).Flush() // likewise
				panic(http.ErrAbortHandler)
			}
			frame(w, "2026-01-02T15:04:05Z two")
		case "json":
			switch {
			case refuse > 0:
				refuse--
				http.Error(w, `{"message":"the service is about to start"}`, http.StatusServiceUnavailable)
			case streams < 2:
				_, _ = fmt.Fprint(w, itRuns.body) // likewise
			default:
				if ends++; ends == 1 {
					refuse = 1
				}
				_, _ = fmt.Fprint(w, itEnded.body) // likewise
			}
		}
	}))
	c := clientOf(t, srv)
	return c
}

func TestAFollowedStackOutlivesAPodmanThatIsRestarted(t *testing.T) {
	for name, cut := range map[string]bool{"and cuts off what it sends": true, "and ends what it sends": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			followOverRestarts(t, restarting(t, cut), cut)
		})
	}
}

// followOverRestarts follows the container of [restarting]. One whose stream was cut off
// has a note; the watch may be the only one that a restart refuses, otherwise.
func followOverRestarts(t *testing.T, c *Client, cut bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var lines, ended, ofOutput []string
	err := stackOf(c, "a").Follow(ctx, FollowOptions{
		Line: func(_, line string) { lines = append(lines, line) },
		Changed: func(e Event) {
			switch {
			case e.Kind == EventExited:
				ended = append(ended, e.Text)
			case strings.Contains(e.Text, "output"):
				ofOutput = append(ofOutput, e.Text)
			}
		},
	})
	if err != nil || ctx.Err() != nil {
		t.Errorf("Follow = %v, and its context says %v, want neither: the container has ended", err, ctx.Err())
	}
	if diff := cmp.Diff([]string{"one", "two"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if !slices.Equal(ended, []string{"7"}) {
		t.Errorf("ended with %q, want 7 once", ended)
	}
	if len(ofOutput) > 1 || cut && len(ofOutput) == 0 {
		t.Errorf("notes of its output = %q, want one when it was cut off, and at most one", ofOutput)
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
	s := stackOf(clientOf(t, srv), "a")
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

func TestTheOutputOfAContainerThatHasEndedIsAskedForOnceMore(t *testing.T) {
	busy, there := moment{http.StatusInternalServerError, `{"message":"database is locked"}`}, moment{code: http.StatusOK}
	for name, tc := range map[string]struct {
		logs []moment
		want string // the error; empty is none
	}{
		"and is read":        {[]moment{busy, there}, ""},
		"and cannot be read": {[]moment{busy}, "database is locked"},
		"and goes meanwhile": {[]moment{busy, itGoes}, ""},
		"unless it was read": {[]moment{there, busy}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := passing(t, map[string][]moment{"a": {itEnded}, "a/logs": tc.logs})
			notes := 0
			err := c.logs(t.Context(), []logSource{{id: "a", name: "a", subject: "a"}}, LogsOptions{Follow: true, Note: func(_, _ string) { notes++ }}, func(_, _ string) {})
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("logs = %v, want %q", err, tc.want)
			}
			if told := notes == 1; notes > 1 || told != (tc.logs[0] == busy) {
				t.Errorf("%d notes, want one when it could not be read at first", notes)
			}
		})
	}
}
