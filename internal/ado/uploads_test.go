package ado

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// try is one attempt of an upload.
type try struct {
	at     time.Duration
	record job.RecordID
}

// uploads runs test in a bubble with pages whose attempts end as answer says; it
// gets the number of attempts of that record so far. tries returns those of a
// record.
func uploads(t *testing.T, answer func(u *upload, n int) error, test func(t *testing.T, p *pages, tries func(job.RecordID) []time.Duration)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var all []try
		count := map[job.RecordID]int{}
		started := time.Now()
		p := newPages("job", func(ctx context.Context, u *upload) error {
			mu.Lock()
			all = append(all, try{time.Since(started), u.record})
			count[u.record]++
			n := count[u.record]
			mu.Unlock()
			if err := context.Cause(ctx); err != nil {
				return err
			}
			return answer(u, n)
		}, spool{}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancelCause(t.Context())
		var done sync.WaitGroup
		for range uploadWorkers {
			done.Go(func() { p.run(ctx) })
		}
		test(t, p, func(record job.RecordID) (at []time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			for _, one := range all {
				if one.record == record {
					at = append(at, one.at)
				}
			}
			return at
		})
		p.close()
		cancel(errReporterClosed)
		done.Wait()
		mu.Lock()
		before := len(all)
		mu.Unlock()
		time.Sleep(time.Hour)
		mu.Lock()
		defer mu.Unlock()
		if len(all) != before {
			t.Errorf("%d attempts after the end", len(all)-before)
		}
	})
}

func file(ctx context.Context, p *pages, record job.RecordID) {
	p.attach(ctx, record, job.Attachment{Type: "t", Name: "n", Content: []byte("content")})
}

func TestAFailedUploadIsRepeatedWithGrowingPausesUntilItIsTaken(t *testing.T) {
	uploads(t, func(_ *upload, n int) error {
		if n < 10 {
			return errBroken
		}
		return nil
	}, func(t *testing.T, p *pages, tries func(job.RecordID) []time.Duration) {
		file(t.Context(), p, "a")
		time.Sleep(5 * time.Minute)
		if at := tries("a"); len(at) != 10 {
			t.Errorf("attempts at %v, want ten", at)
		} else {
			wantPauses(t, at, uploadPause, uploadPauseMax)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.away != 0 || p.open != 0 || p.bytes != 0 {
			t.Errorf("%d uploads fail, %d are open with %d bytes, want none", p.away, p.open, p.bytes)
		}
	})
}

func TestAnUploadComesBackWhenTheServerSaid(t *testing.T) {
	uploads(t, func(_ *upload, n int) error {
		if n == 1 {
			return &StatusError{Code: 503, RetryAfter: 80 * time.Second}
		}
		return nil
	}, func(t *testing.T, p *pages, tries func(job.RecordID) []time.Duration) {
		file(t.Context(), p, "a")
		time.Sleep(5 * time.Minute)
		if at := tries("a"); len(at) != 2 || at[1] < 80*time.Second || at[1] > 100*time.Second {
			t.Errorf("attempts at %v, want a second after 80 s and up to a quarter more", at)
		}
	})
}

// More records wait than there are workers.
func TestAPageThatWaitsHoldsUpOnlyThoseBehindIt(t *testing.T) {
	var mu sync.Mutex
	var order []string
	uploads(t, func(u *upload, n int) error {
		if strings.HasPrefix(string(u.record), "bad") && n < 4 {
			return errBroken
		}
		text := make([]byte, 200)
		k, _ := u.page.reader(0).Read(text)
		if u.record != "job" {
			mu.Lock()
			order = append(order, string(text[stampLength:k-1]))
			mu.Unlock()
		}
		return nil
	}, func(t *testing.T, p *pages, tries func(job.RecordID) []time.Duration) {
		for i := range 2 * uploadWorkers {
			bad := job.RecordID(fmt.Sprint("bad", i))
			p.write(bad, fmt.Append(nil, bad, " first"))
			p.finish(bad)
			p.write(bad, fmt.Append(nil, bad, " second"))
			p.finish(bad)
			synctest.Wait()
		}
		p.write("good", []byte("good"))
		p.finish("good")
		synctest.Wait()
		if at := tries("good"); len(at) != 1 || at[0] != 0 {
			t.Errorf("attempts at %v, want one at once", at)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		for i := range 2 * uploadWorkers {
			first, second := slices.Index(order, fmt.Sprintf("bad%d first", i)), slices.Index(order, fmt.Sprintf("bad%d second", i))
			if first < 0 || second < first {
				t.Errorf("pages were stored as %q, want both of bad%d, in order", order, i)
			}
		}
	})
}

// The time at the end of a job is short: what waits gets an attempt at once.
func TestDrainingDoesNotWaitForAPause(t *testing.T) {
	var back atomic.Bool
	uploads(t, func(*upload, int) error {
		if back.Load() {
			return nil
		}
		return errBroken
	}, func(t *testing.T, p *pages, tries func(job.RecordID) []time.Duration) {
		file(t.Context(), p, "a")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		back.Store(true)
		started := time.Now()
		if err := p.drain(t.Context()); err != nil || time.Since(started) != 0 {
			t.Errorf("drain = %v after %s, want success at once", err, time.Since(started))
		}
	})
}

func TestClosingEndsEveryWaitAtOnce(t *testing.T) {
	uploads(t, func(*upload, int) error { return errBroken }, func(t *testing.T, p *pages, _ func(job.RecordID) []time.Duration) {
		p.budget.chunks = 20
		line := bytes.Repeat([]byte("x"), 1000)
		ended := make(chan int, 2) // never closed
		go func() {
			n := 0
			for p.write("step", line) > 0 {
				n++
			}
			ended <- n
		}()
		go func() {
			p.attach(t.Context(), "step", job.Attachment{Content: make([]byte, attachmentBudget)})
			p.attach(t.Context(), "step", job.Attachment{Content: []byte("one too many")})
			ended <- 0
		}()
		time.Sleep(time.Minute)
		select {
		case <-ended:
			t.Error("a writer did not wait though nothing was taken")
		default:
		}
		p.close()
		synctest.Wait()
		if len(ended) != 2 {
			t.Errorf("%d of two writers came back", len(ended))
		}
	})
}
