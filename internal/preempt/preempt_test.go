package preempt_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/preempt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watch waits for a notice of the server that handle is.
func watch(t *testing.T, cloud string, handle http.HandlerFunc) (preempt.Notice, error) {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	connections := &http.Transport{}
	t.Cleanup(connections.CloseIdleConnections)
	w := preempt.New(preempt.Config{Cloud: cloud, GCEHost: strings.TrimPrefix(server.URL, "http://"), AzureURL: server.URL}, connections, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Second, errors.New("no notice within 20s"))
	defer cancel()
	return w.Wait(ctx)
}

func TestAPreemptedMachineOfGoogleIsToldWithinHalfAMinute(t *testing.T) {
	var asked atomic.Int32
	got, err := watch(t, "gce", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/preempted" {
			t.Errorf("asked %s with %v", r.URL, r.Header)
		}
		w.Header().Set("Metadata-Flavor", "Google")
		w.Header().Set("ETag", fmt.Sprintf("etag-%d", asked.Add(1)))
		switch q := r.URL.Query(); asked.Load() {
		case 1:
			if q.Has("wait_for_change") {
				t.Error("the first question waits for a change of what is not known yet")
			}
			_, _ = w.Write([]byte("FALSE"))
		case 2:
			if q.Get("wait_for_change") != "true" || q.Get("last_etag") != "etag-1" {
				t.Errorf("second question: %v, want one that waits for a change of etag-1", q)
			}
			time.Sleep(1100 * time.Millisecond) // the hold is over
			_, _ = w.Write([]byte("FALSE"))
		default:
			_, _ = w.Write([]byte("TRUE\n"))
		}
	})
	if err != nil || got.Within != 30*time.Second || !strings.Contains(got.Reason, "preempted") || asked.Load() != 3 {
		t.Errorf("notice = %+v, %v after %d questions, want 30 s after three", got, err, asked.Load())
	}
}

func TestAScheduledEventOfAzureForThisMachineIsTold(t *testing.T) {
	at := time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
	for name, c := range map[string]struct {
		event, resource, notBefore string
		least, most                time.Duration
	}{
		"preempted":           {"Preempt", "aks-spot_7", at, 80 * time.Second, 90 * time.Second},
		"terminated, begun":   {"Terminate", "AKS-SPOT_7", "", time.Second, time.Second},
		"moved, strange date": {"Redeploy", "aks-spot_7", "soon", time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := watch(t, "azure", func(w http.ResponseWriter, r *http.Request) {
				switch {
				case r.Header.Get("Metadata") != "true":
					t.Error("the header that proves a real question is missing")
				case strings.HasSuffix(r.URL.Path, "/compute/name"):
					_, _ = w.Write([]byte("aks-spot_7"))
				default:
					_, _ = fmt.Fprintf(w, `{"DocumentIncarnation":2,"Events":[
						{"EventType":"Freeze","Resources":["aks-spot_7"],"NotBefore":""},
						{"EventType":"Preempt","Resources":["aks-spot_8"],"NotBefore":""},
						{"EventType":%q,"Resources":["other",%q],"NotBefore":%q}]}`, c.event, c.resource, c.notBefore)
				}
			})
			if err != nil || got.Within < c.least || got.Within > c.most || got.Reason == "" {
				t.Errorf("notice = %+v, %v, want one within %s to %s", got, err, c.least, c.most)
			}
		})
	}
}

func TestAServerThatDoesNotAnswerIsAskedAgain(t *testing.T) {
	var asked atomic.Int32
	began := time.Now()
	got, err := watch(t, "gce", func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			http.Error(w, "not here", http.StatusNotFound)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		w.Header().Set("ETag", "e")
		_, _ = w.Write([]byte("TRUE"))
	})
	if err != nil || got.Within == 0 || time.Since(began) < 5*time.Second {
		t.Errorf("notice = %+v, %v after %s, want one after a pause of five seconds", got, err, time.Since(began))
	}
}

func TestWaitingEndsWithItsContext(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	connections := &http.Transport{}
	defer connections.CloseIdleConnections()
	w := preempt.New(preempt.Config{Cloud: "azure", AzureURL: server.URL}, connections, slog.New(slog.DiscardHandler))
	over := errors.New("over")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, over)
	defer cancel()
	if _, err := w.Wait(ctx); !errors.Is(err, over) {
		t.Errorf("Wait = %v, want the cause of its context", err)
	}
}

func TestOnlyKnownCloudsAreHeard(t *testing.T) {
	if w := preempt.New(preempt.Config{}, http.DefaultTransport, slog.New(slog.DiscardHandler)); w != nil {
		t.Error("without a cloud there is a watcher, want none")
	}
	if err := (preempt.Config{Cloud: "aws"}).Validate(); err == nil || len(hint.All(err)) == 0 {
		t.Errorf("Validate = %v, want an error with a hint", err)
	}
}
