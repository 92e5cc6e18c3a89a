package podmanrun

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// endingService plays a Podman service with one container that runs until ended
// is set. Its events are what events writes; nil refuses them.
func endingService(t *testing.T, ended *atomic.Bool, events func(http.ResponseWriter, *http.Request)) (client *libpod.Client, looks *atomic.Int32) {
	t.Helper()
	looks = &atomic.Int32{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		switch {
		case strings.HasSuffix(r.URL.Path, "/events"):
			if events == nil {
				http.Error(w, `{"message":"there are no events"}`, http.StatusInternalServerError)
				return
			}
			events(w, r)
		case strings.HasSuffix(r.URL.Path, "/containers/a/json"):
			looks.Add(1)
			status := "running"
			if ended.Load() {
				status = "exited"
			}
			_, _ = fmt.Fprintf(w, `{"Id":"a","State":{"Status":%q,"ExitCode":7}}`, status) // the test fails by what it reads
		}
	}))
	t.Cleanup(srv.Close)
	client, err := libpod.Connect(t.Context(), "tcp://"+srv.Listener.Addr().String(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, looks
}

// listening starts e and ends it with the test.
func listening(t *testing.T, e *exits) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.listen(ctx, map[string]string{LabelProject: "p"})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

func TestTheEndOfAContainerIsToldByAnEvent(t *testing.T) {
	var ended atomic.Bool
	open := make(chan struct{})
	client, looks := endingService(t, &ended, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		close(open)
		for !ended.Load() {
			select {
			case <-time.After(time.Millisecond):
			case <-r.Context().Done():
				return
			}
		}
		_, _ = fmt.Fprintf(w, `{"Action":"died","Actor":{"ID":"a","Attributes":{%q:"p"}}}`, LabelProject) // likewise
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	e := newExits(client)
	listening(t, e)
	<-open
	for !e.listening.Load() {
		time.Sleep(time.Millisecond)
	}
	time.AfterFunc(100*time.Millisecond, func() { ended.Store(true) })
	began := time.Now()
	answer, err := e.wait(t.Context(), "a")
	if err != nil || answer.State.ExitCode != 7 {
		t.Fatalf("wait = %+v, %v, want exit code 7", answer, err)
	}
	if took := time.Since(began); took > rareLook {
		t.Errorf("the end was noticed after %s, want the event to tell it", took)
	}
	if n := looks.Load(); n > 3 {
		t.Errorf("the container was looked at %d times, want one look before and one after the event", n)
	}
}

func TestWithoutEventsTheEndOfAContainerIsSeen(t *testing.T) {
	var ended atomic.Bool
	client, _ := endingService(t, &ended, nil)
	e := newExits(client)
	listening(t, e)
	time.AfterFunc(50*time.Millisecond, func() { ended.Store(true) })
	if answer, err := e.wait(t.Context(), "a"); err != nil || answer.State.ExitCode != 7 {
		t.Errorf("wait = %+v, %v, want exit code 7", answer, err)
	}
}

func TestWaitingForAnEndEndsWithItsContext(t *testing.T) {
	var ended atomic.Bool
	client, _ := endingService(t, &ended, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := fmt.Errorf("enough")
	time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
	if _, err := newExits(client).wait(ctx, "a"); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("wait = %v, want the cause of its context", err)
	}
}
