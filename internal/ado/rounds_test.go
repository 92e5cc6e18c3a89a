package ado_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// holding is a server that takes some requests and answers them when it is let go, or
// never: a client that minds the bound of its request leaves, one that does not is stuck.
type holding struct {
	to    inMemory
	path  string        // part of the paths that are held
	deaf  bool          // also when the client wants to leave
	freed chan struct{} // lets everybody go
}

func (h holding) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, h.path) {
		return h.to.RoundTrip(r)
	}
	left := r.Context().Done()
	if h.deaf {
		left = nil
	}
	select {
	case <-left:
		return nil, context.Cause(r.Context())
	case <-h.freed:
		return h.to.RoundTrip(r)
	}
}

// pulse collects beats.
type pulse struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	open    bool
}

func (p *pulse) beat(open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.last.IsZero() {
		p.longest = max(p.longest, time.Since(p.last))
	}
	p.last, p.open = time.Now(), open
}

// age is that of the last beat.
func (p *pulse) age() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.last)
}

// silence is the longest so far, with the one that lasts.
func (p *pulse) silence() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.longest, time.Since(p.last))
}

// reporting opens a reporter at a server that holds requests, in a bubble.
func reporting(t *testing.T, h holding, test func(t *testing.T, r *ado.Reporter, p *pulse, free func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h.freed = make(chan struct{})
		h.to = inMemory{&service{handle: func(w http.ResponseWriter, r *http.Request) { answer(w, http.StatusOK, ado.Log{ID: 1}) }}}
		o := ado.Options{
			HTTP: h, Log: slog.New(slog.DiscardHandler), UserAgent: "dockless/test",
			Timeout: ado.DefaultTimeout, Retries: ado.DefaultRetries, RetryPause: ado.DefaultRetryPause,
		}
		// Routes are kept for the whole process, by address.
		m := message("http://" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name())) + ".example")
		client, err := ado.NewJobClient(m, o)
		if err != nil {
			t.Fatal(err)
		}
		p := &pulse{}
		r := ado.OpenReporter(t.Context(), ado.ReporterConfig{
			Client: client, Message: m, Log: o.Log, ShuttingDown: func() bool { return false }, Beat: p.beat,
		})
		free := sync.OnceFunc(func() { close(h.freed) })
		defer r.Close()
		defer free()
		test(t, r, p, free)
	})
}

// work gives every loop of a reporter something to do.
func work(t *testing.T, r *ado.Reporter, round int) {
	t.Helper()
	r.UpdateRecord(job.Record{ID: "S", State: job.InProgress, Name: fmt.Sprint(round)})
	r.UpdateRecord(job.Record{ID: "D", Timeline: "below", Name: fmt.Sprint(round)})
	r.WriteLine("S", []byte("a line"))
	r.Attach(t.Context(), "S", job.Attachment{Type: "a", Name: fmt.Sprint(round), Content: []byte("b")})
}

func TestAReportBeatsWhileThereIsNothingToReport(t *testing.T) {
	reporting(t, holding{path: "nothing"}, func(t *testing.T, r *ado.Reporter, p *pulse, _ func()) {
		time.Sleep(3 * time.Hour)
		if got := p.silence(); got > ado.MaxReportSilence {
			t.Errorf("a report was silent for %s, want at most %s", got, ado.MaxReportSilence)
		}
		r.Close()
		if r.Close(); p.open {
			t.Error("the last beat of a closed report says that it is open")
		}
	})
}

// heldParts are the requests of each loop.
var heldParts = map[string]string{
	"records": "/timelines/T/records", "records below a step": "/timelines/below", "live lines": "/feed", "log pages": "/logs", "attachments": "/attachments",
}

// A server that does not answer is not a loop that does not come round.
func TestAReportBeatsWhileTheServerAnswersNothing(t *testing.T) {
	parts := map[string]string{"everything": "/"}
	maps.Copy(parts, heldParts)
	for name, path := range parts {
		t.Run(name, func(t *testing.T) {
			reporting(t, holding{path: path}, func(t *testing.T, r *ado.Reporter, p *pulse, free func()) {
				for round := range 30 {
					work(t, r, round)
					r.UpdateRecord(job.Record{ID: "S", State: job.Completed})
					time.Sleep(2 * time.Minute)
				}
				if got := p.silence(); got > ado.MaxReportSilence {
					t.Errorf("the report was silent for %s, want at most %s", got, ado.MaxReportSilence)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				time.AfterFunc(8*time.Minute, free)
				if err := r.Complete(ctx, job.Succeeded); err != nil {
					t.Errorf("Complete = %v, want nil", err)
				}
				if got := p.silence(); got > ado.MaxReportSilence {
					t.Errorf("the report was silent for %s at the end of its job, want at most %s", got, ado.MaxReportSilence)
				}
			})
		})
	}
}

// A request that never returns, whatever its bound, stands for any loop that stands
// still: the others go on, and the beat ends all the same.
func TestAReportOfWhichOneLoopStandsStillDoesNotBeat(t *testing.T) {
	for name, path := range heldParts {
		t.Run(name, func(t *testing.T) {
			reporting(t, holding{path: path, deaf: true}, func(t *testing.T, r *ado.Reporter, p *pulse, free func()) {
				work(t, r, 0)
				r.UpdateRecord(job.Record{ID: "S", State: job.Completed})
				time.Sleep(time.Hour)
				if got := p.silence(); got < 50*time.Minute {
					t.Errorf("the longest silence of an hour was %s, want almost all of it", got)
				}
				free()
				time.Sleep(ado.MaxReportSilence)
				if since := p.age(); since > time.Minute {
					t.Errorf("the last beat is %s old after the loop went on, want it young", since)
				}
			})
		})
	}
}

// What a server asks clients to wait may be longer than a loop may be silent.
func TestAPauseThatTheServerAsksForIsNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &service{handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "600")
			refuse(w, http.StatusServiceUnavailable, "")
		}}
		client, err := ado.NewRegistration("http://unhurried.example", mask.NewSecret("pat"), ado.Options{
			HTTP: inMemory{srv}, Log: slog.New(slog.DiscardHandler), Timeout: ado.DefaultTimeout, Retries: 2, RetryPause: ado.DefaultRetryPause,
		})
		if err != nil {
			t.Fatal(err)
		}
		p := &pulse{}
		began := time.Now()
		if _, err := client.FindPool(ado.Attended(t.Context(), func() { p.beat(true) }), "Default"); err == nil {
			t.Error("a pool was found at a server that has none")
		}
		if took, silence := time.Since(began), p.silence(); took < 20*time.Minute || silence > time.Minute {
			t.Errorf("silent for %s of %s, want at most a minute of twenty and more", silence, took)
		}
	})
}

// What a loop does not know of are the pauses of the transport: with the attempt that
// follows, each is longer than the loop may be silent.
func TestPausesBetweenAttemptsAreNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := ado.NewRegistration("http://swallows.example", mask.NewSecret("pat"), ado.Options{
			HTTP: holding{path: "/"}, Log: slog.New(slog.DiscardHandler),
			Timeout: ado.DefaultTimeout, Retries: ado.DefaultRetries, RetryPause: ado.DefaultRetryPause,
		})
		if err != nil {
			t.Fatal(err)
		}
		p := &pulse{}
		p.beat(true)
		began := time.Now()
		if _, err := client.FindPool(ado.Attended(t.Context(), func() { p.beat(true) }), "Default"); err == nil {
			t.Error("a pool was found at a server that answers nothing")
		}
		const most = ado.DefaultTimeout + time.Second // one attempt
		if took, silence := time.Since(began), p.silence(); took < 4*ado.DefaultTimeout+50*time.Second || silence > most {
			t.Errorf("silent for %s of %s, want at most %s of four attempts and their pauses", silence, took, most)
		}
	})
}
