package ado_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

// unreliable is a server that can leave its port and come back to it.
type unreliable struct {
	t       *testing.T
	address string
	handler http.Handler
	server  *http.Server
	done    sync.WaitGroup
}

func (u *unreliable) start() {
	u.t.Helper()
	address := u.address
	if address == "" {
		address = "127.0.0.1:0"
	}
	ln, err := (&net.ListenConfig{}).Listen(u.t.Context(), "tcp", address)
	if err != nil {
		u.t.Fatal(err)
	}
	u.address = ln.Addr().String()
	u.server = &http.Server{Handler: u.handler}
	u.done.Go(func() { _ = u.server.Serve(ln) })
}

// stop breaks every connection and refuses new ones.
func (u *unreliable) stop() {
	_ = u.server.Close()
	u.done.Wait()
}

// digest is the hash and number of a record's lines.
type digest struct {
	hash hash.Hash
	n    int
}

func (d *digest) add(line string) {
	d.n++
	_, _ = fmt.Fprintln(d.hash, line)
}

// The server is away while a step prints a hundred thousand lines, of which two
// mebibytes fit in memory.
func TestAnOutageInTheMiddleOfAJobLosesNothing(t *testing.T) {
	store := &logStore{fault: func(string, int) string { return "" }, count: map[string]int{}}
	var completed atomic.Int64
	routes := &service{handle: func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") {
			completed.Add(1)
		}
		store.serve(w, r)
	}}
	srv := &unreliable{t: t, handler: routes}
	srv.start()
	defer func() { srv.stop() }()
	dir := filepath.Join(t.TempDir(), "spool")
	m := message("http://" + srv.address)
	client, err := ado.NewJobClient(m, options(t))
	if err != nil {
		t.Fatal(err)
	}
	r := ado.OpenReporter(t.Context(), ado.ReporterConfig{
		Client: client, Message: m, Log: slog.New(slog.DiscardHandler), ShuttingDown: func() bool { return false },
		SpoolDir: dir, SpoolLimit: ado.DefaultSpoolLimit,
	})
	defer r.Close()
	r.SetUploadPause(20 * time.Millisecond)
	r.LimitMemory(32)
	want := digest{hash: sha256.New()}
	filler := strings.Repeat("f", 80)
	var most int64
	for i := range 100_000 {
		switch i {
		case 20_000:
			srv.stop()
		case 80_000:
			most, _ = r.Spooled()
			srv.start()
		}
		line := fmt.Sprint("line ", i, " ", filler)
		want.add(line)
		r.WriteLine("S", []byte(line))
		if i%10_000 == 0 {
			r.UpdateRecord(job.Record{ID: "S", State: job.Completed})
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := r.Complete(ctx, job.Succeeded); err != nil || completed.Load() != 1 {
		t.Fatalf("Complete = %v with %d events, want success with one", err, completed.Load())
	}
	for _, record := range []string{"S", "J"} {
		got := digest{hash: sha256.New()}
		for _, line := range store.lines(record) {
			got.add(line)
		}
		if string(got.hash.Sum(nil)) != string(want.hash.Sum(nil)) {
			t.Errorf("%s has %d lines, want the %d that were written, in order", record, got.n, want.n)
		}
	}
	if most < 2<<20 {
		t.Errorf("%d bytes were on the disk when the server came back, want most of 6 MB", most)
	}
	if left, open := r.Spooled(); left != 0 || open {
		t.Errorf("%d bytes are on the disk, file open: %t, want nothing left", left, open)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
		t.Errorf("the directory has %v (%v), want nothing", files, err)
	}
}

// A job whose lock is lost is not reported: whatever waits, in memory, on disk or
// in a pause, is dropped at once.
func TestNothingLeavesAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n atomic.Int64
		srv := &service{discard: true, handle: func(w http.ResponseWriter, _ *http.Request) {
			n.Add(1)
			w.Header().Set("X-RateLimit-Delay", "3") // some wait for that
			w.WriteHeader(http.StatusServiceUnavailable)
		}}
		o := options(t)
		o.HTTP = inMemory{srv}
		m := message("http://closed.example")
		client, err := ado.NewJobClient(m, o)
		if err != nil {
			t.Fatal(err)
		}
		r := openReporter(t, client, m)
		r.LimitMemory(20)
		line := []byte(strings.Repeat("x", 10_000))
		for i := range 1000 {
			r.WriteLine(job.RecordID(fmt.Sprint("step", i%9)), line)
		}
		for i := range 9 {
			r.UpdateRecord(job.Record{ID: job.RecordID(fmt.Sprint("step", i)), State: job.Completed})
		}
		r.Attach(t.Context(), "step1", job.Attachment{Type: "t", Name: "n", Content: line})
		time.Sleep(time.Minute)
		if onDisk, _ := r.Spooled(); onDisk == 0 || n.Load() == 0 {
			t.Fatalf("%d bytes are on the disk after %d requests, want some of both", onDisk, n.Load())
		}
		started := time.Now()
		r.Close()
		before := n.Load()
		if took := time.Since(started); took != 0 {
			t.Errorf("closing took %s, want no wait", took)
		}
		r.WriteLine("step1", line)
		r.UpdateRecord(job.Record{ID: "step1"})
		time.Sleep(time.Hour)
		if n.Load() != before {
			t.Errorf("%d requests came after Close returned", n.Load()-before)
		}
		if left, open := r.Spooled(); open {
			t.Errorf("%d bytes are on the disk and the file is open", left)
		}
	})
}

// completions runs Complete against a server that answers the nth event with
// answerTo, and returns when the events came.
func completions(t *testing.T, bound time.Duration, answerTo func(n int, w http.ResponseWriter)) (at []time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		started := time.Now()
		srv := &service{handle: func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/events") {
				at = append(at, time.Since(started))
				answerTo(len(at), w)
				return
			}
			answer(w, http.StatusOK, struct{}{})
		}}
		o := options(t)
		o.HTTP = inMemory{srv}
		m := message("http://completing.example")
		client, cerr := ado.NewJobClient(m, o)
		if cerr != nil {
			t.Fatal(cerr)
		}
		r := openReporter(t, client, m)
		defer r.Close()
		ctx, cancel := context.WithTimeoutCause(t.Context(), bound, errBound)
		defer cancel()
		err = r.Complete(ctx, job.Succeeded)
	})
	return at, err
}

var errBound = errors.New("the bound of the test")

// Protocol §7.10: five attempts, five seconds apart. The lock is still renewed, so
// a server that is away is waited for.
func TestCompletingGoesOnWhileTheServerIsAway(t *testing.T) {
	at, err := completions(t, 10*time.Minute, func(n int, w http.ResponseWriter) {
		if n <= 12 {
			w.WriteHeader(http.StatusBadGateway)
		}
	})
	if err != nil || len(at) != 13 {
		t.Fatalf("Complete = %v after attempts at %v, want success at the thirteenth", err, at)
	}
	for i := 1; i < len(at); i++ {
		want := 5 * time.Second
		if i > 4 {
			want = min(10*time.Second<<(i-5), 30*time.Second)
		}
		if pause := at[i] - at[i-1]; pause < want*3/4 || pause > want*5/4 {
			t.Errorf("pause %d = %s, want about %s", i, pause, want)
		}
	}
}

func TestCompletingEndsWithItsBound(t *testing.T) {
	at, err := completions(t, 3*time.Minute, func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })
	if !errors.Is(err, errBound) || len(at) < 8 {
		t.Errorf("Complete = %v after attempts at %v, want them until the bound", err, at)
	}
}

func TestCompletingIsTriedFiveTimesWhenTheServerRefuses(t *testing.T) {
	at, err := completions(t, 10*time.Minute, func(_ int, w http.ResponseWriter) { refuse(w, http.StatusBadRequest, "") })
	if status, ok := errors.AsType[*ado.StatusError](err); !ok || status.Code != http.StatusBadRequest || len(at) != 5 {
		t.Errorf("Complete = %v after attempts at %v, want the refusal after five", err, at)
	}
}
