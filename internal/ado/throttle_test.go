package ado_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// inMemory carries requests to a handler without a socket, which bubbles of
// synctest do not hold.
type inMemory struct{ to http.Handler }

func (c inMemory) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	c.to.ServeHTTP(w, r)
	_ = r.Body.Close()
	return w.Result(), nil
}

// arrival is a request and when it came.
type arrival struct {
	at   time.Duration
	path string
}

// throttled runs test in a bubble with a client of a job and one of an agent,
// whose server answers with what head sets. arrivals returns what came.
func throttled(t *testing.T, head func(n int, h http.Header) int, test func(t *testing.T, c *ado.JobClient, o ado.Options, arrivals func() []arrival, log func() string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var all []arrival
		started := time.Now()
		srv := &service{handle: func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			all = append(all, arrival{time.Since(started), r.URL.Path})
			n := len(all)
			mu.Unlock()
			status := head(n, w.Header())
			if status != http.StatusOK {
				refuse(w, status, "")
				return
			}
			answer(w, status, ado.Log{ID: 1})
		}}
		var text bytes.Buffer
		o := ado.Options{
			HTTP: inMemory{srv}, Log: slog.New(slog.NewTextHandler(&text, nil)), UserAgent: "dockless/test",
			Timeout: ado.DefaultTimeout, Retries: ado.DefaultRetries, RetryPause: ado.DefaultRetryPause,
		}
		client, err := ado.NewJobClient(message("http://throttled.example"), o)
		if err != nil {
			t.Fatal(err)
		}
		test(t, client, o, func() []arrival {
			mu.Lock()
			defer mu.Unlock()
			return append([]arrival(nil), all...)
		}, text.String)
	})
}

func TestRequestsThatCanWaitHoldBackWhileTheServiceAsksForIt(t *testing.T) {
	start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // of every bubble
	for name, c := range map[string]struct {
		head      map[string]string
		low, high time.Duration
	}{
		"Retry-After in seconds":      {map[string]string{"Retry-After": "40"}, 40 * time.Second, 50 * time.Second},
		"Retry-After as a date":       {map[string]string{"Retry-After": start.Add(40 * time.Second).Format(http.TimeFormat)}, 40 * time.Second, 50 * time.Second},
		"the budget is used up":       {map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": fmt.Sprint(start.Add(40 * time.Second).Unix())}, 40 * time.Second, 50 * time.Second},
		"by another clock than ours":  {map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1040", "Date": time.Unix(1000, 0).UTC().Format(http.TimeFormat)}, 40 * time.Second, 50 * time.Second},
		"a request that was delayed":  {map[string]string{"X-RateLimit-Delay": "4.0"}, 4 * time.Second, 5 * time.Second},
		"longer than anybody waits":   {map[string]string{"Retry-After": "500"}, 2 * time.Minute, 2 * time.Minute},
		"there is budget left":        {map[string]string{"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": fmt.Sprint(start.Add(40 * time.Second).Unix())}, 0, 0},
		"words that nobody reads":     {map[string]string{"Retry-After": "soon", "X-RateLimit-Delay": "NaN", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "never"}, 0, 0},
		"nothing out of the ordinary": {nil, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			throttled(t, func(n int, h http.Header) int {
				if n == 1 {
					for k, v := range c.head {
						h.Set(k, v)
					}
				}
				return http.StatusOK
			}, func(t *testing.T, client *ado.JobClient, _ ado.Options, arrivals func() []arrival, _ func() string) {
				waits := map[string]func() error{
					"/records":     func() error { return client.UpdateRecords(t.Context(), []job.Record{{ID: "S"}}) },
					"/feed":        func() error { return client.SendLines(t.Context(), "S", 1, []string{"x"}) },
					"/logs":        func() error { _, err := client.CreateLog(t.Context(), "S"); return err },
					"/logs/1":      func() error { return client.AppendLog(t.Context(), 1, strings.NewReader("x")) },
					"/attachments": func() error { return client.Attach(t.Context(), "S", "t", "n", strings.NewReader("x")) },
				}
				if err := client.UpdateRecords(t.Context(), []job.Record{{ID: "S"}}); err != nil {
					t.Fatal(err)
				}
				if err := client.Complete(t.Context(), job.Succeeded, false); err != nil {
					t.Fatal(err)
				}
				var done sync.WaitGroup
				for name, send := range waits {
					done.Go(func() {
						if err := send(); err != nil {
							t.Errorf("%s: %v", name, err)
						}
					})
				}
				done.Wait()
				got := arrivals()
				if got[1].at != 0 || !strings.HasSuffix(got[1].path, "/events") {
					t.Errorf("second request = %+v, want the end of the job at once", got[1])
				}
				for _, a := range got[2:] {
					if a.at < c.low || a.at > c.high {
						t.Errorf("%s came after %s, want it between %s and %s", a.path, a.at, c.low, c.high)
					}
				}
				if len(got) != 7 {
					t.Errorf("%d requests, want 7", len(got))
				}
			})
		})
	}
}

// Locks, polls and the rest of what the agent asks for itself go on.
func TestTheAgentsOwnRequestsNeverHoldBack(t *testing.T) {
	throttled(t, func(_ int, h http.Header) int {
		h.Set("Retry-After", "100")
		return http.StatusOK
	}, func(t *testing.T, _ *ado.JobClient, o ado.Options, arrivals func() []arrival, _ func() string) {
		r, err := ado.NewRegistration("http://throttled.example", mask.NewSecret(secret), o)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := r.DeleteAgent(t.Context(), 1, 2); err != nil {
				t.Fatal(err)
			}
		}
		for _, a := range arrivals() {
			if a.at != 0 {
				t.Errorf("a request came after %s, want it at once", a.at)
			}
		}
	})
}

// A thousand agents that were told the same must not return in the same second.
func TestEveryRequestComesBackAfter429WhenItWasToldTo(t *testing.T) {
	for name, send := range map[string]func(t *testing.T, o ado.Options) error{
		"an agent's": func(t *testing.T, o ado.Options) error {
			t.Helper()
			r, err := ado.NewRegistration("http://throttled.example", mask.NewSecret(secret), o)
			if err != nil {
				t.Fatal(err)
			}
			return r.DeleteAgent(t.Context(), 1, 2)
		},
		"a job's": func(t *testing.T, o ado.Options) error {
			t.Helper()
			m := message("http://throttled.example")
			client, err := ado.NewJobClient(m, o)
			if err != nil {
				t.Fatal(err)
			}
			r := openReporter(t, client, m)
			defer r.Close()
			return r.Complete(t.Context(), job.Succeeded)
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[time.Duration]bool{}
			for range 5 {
				throttled(t, func(n int, h http.Header) int {
					if n == 1 {
						h.Set("Retry-After", "100")
						return http.StatusTooManyRequests
					}
					return http.StatusOK
				}, func(t *testing.T, _ *ado.JobClient, o ado.Options, arrivals func() []arrival, _ func() string) {
					if err := send(t, o); err != nil {
						t.Fatal(err)
					}
					got := arrivals()
					// An agent's client adds the first of its own pauses.
					if len(got) != 2 || got[1].at < 100*time.Second || got[1].at > 125*time.Second+2*ado.DefaultRetryPause {
						t.Errorf("requests = %v, want a second after 100 s and up to a quarter more", got)
					}
					seen[got[1].at] = true
				})
			}
			if len(seen) < 2 {
				t.Errorf("five clients returned at the same moment: %v", seen)
			}
		})
	}
}

func TestAThrottledStretchIsSaidOnceAndSummedUp(t *testing.T) {
	slow := true
	throttled(t, func(_ int, h http.Header) int {
		if slow {
			h.Set("X-RateLimit-Delay", "2.5")
			h.Set("X-RateLimit-Resource", "AzureDevOps")
		}
		return http.StatusOK
	}, func(t *testing.T, client *ado.JobClient, _ ado.Options, _ func() []arrival, log func() string) {
		send := func() {
			if err := client.UpdateRecords(t.Context(), []job.Record{{ID: "S"}}); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			send()
			time.Sleep(time.Minute)
		}
		slow = false
		send()
		time.Sleep(10 * time.Minute)
		send()
		slow = true
		send()
		const warning = `msg="the service slows this agent down" delayed_seconds=2.5 pause_seconds=2.5 resource=AzureDevOps`
		if text := log(); strings.Count(text, warning) != 2 || strings.Count(text, "level=WARN") != 2 ||
			strings.Count(text, `msg="the service no longer slows this agent down" delayed_seconds=10`) != 1 {
			t.Errorf("log = %s\nwant a warning for each of two stretches, and a sum after the first", text)
		}
	})
}
