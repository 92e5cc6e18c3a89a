package ado

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// spooled opens pages with a budget of 24 chunks and a disk, whose uploads fail
// until the server is back, and returns what the server gets and a switch.
func spooled(t *testing.T, disk spool, log *slog.Logger) (p *pages, s *store, back func()) {
	t.Helper()
	s = &store{err: errBroken}
	var away atomic.Bool
	away.Store(true)
	p = newPages("job", func(ctx context.Context, u *upload) error {
		if away.Load() {
			return errBroken
		}
		return s.send(ctx, u)
	}, disk, log)
	p.budget.chunks, p.pause = 24, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	for range uploadWorkers {
		done.Go(func() { p.run(ctx) })
	}
	t.Cleanup(func() {
		p.close()
		cancel()
		done.Wait()
		p.closeSpool()
	})
	return p, s, func() {
		s.err = nil
		away.Store(false)
	}
}

// fill writes numbered lines of half a kilobyte, and ends a page now and then so
// that something is sent.
func fill(p *pages, from, to int) {
	filler := strings.Repeat("f", 500)
	for i := from; i < to; i++ {
		p.write("step", fmt.Appendf(nil, "%d %s", i, filler))
		if i%5000 == 0 {
			p.finish("step")
		}
	}
}

func wantFilled(t *testing.T, s *store, n int) {
	t.Helper()
	for _, record := range []job.RecordID{"step", "job"} {
		lines := s.lines(t, record)
		if len(lines) != n {
			t.Errorf("%s has %d lines, want %d", record, len(lines), n)
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, fmt.Sprint(i, " ")) {
				t.Fatalf("line %d of %s is %.20q", i, record, line)
			}
		}
	}
}

func (p *pages) disk() (chunks int, open, broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spool.used, p.spool.file != nil, !p.spool.broken.IsZero()
}

func TestTextGoesToTheDiskWhileTheServerIsAwayAndLeavesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "spool")
	p, s, back := spooled(t, spool{dir: dir, limit: DefaultSpoolLimit}, slog.New(slog.DiscardHandler))
	for round := range 2 { // the second needs the disk again
		if round == 1 {
			p.mu.Lock()
			p.send = func(context.Context, *upload) error { return errBroken }
			p.mu.Unlock()
		}
		fill(p, 0, 20_000) // 10 MB into 1.5
		chunks, open, _ := p.disk()
		if chunks < 100 || !open || p.made > 24 {
			t.Errorf("%d chunks are on the disk and %d in memory, want most of 160 there", chunks, p.made)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 0 {
			t.Errorf("the directory has %v (%v), want no name in it", files, err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("the directory is %v (%v), want 0700", info.Mode(), err)
		}
		if round == 1 {
			return // closing has to take the file away
		}
		back()
		if err := p.drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantFilled(t, s, 20_000)
		if chunks, open, _ := p.disk(); chunks != 0 || open || len(p.free)+1 < p.made || p.segments != 0 {
			t.Errorf("%d chunks left, file open: %t, %d of %d buffers free, %d segments, want all given back", chunks, open, len(p.free), p.made, p.segments)
		}
	}
}

// An attempt reads a page with many small reads while its chunks move.
func TestAPageMayMoveToTheDiskWhileItIsRead(t *testing.T) {
	reads := make(chan struct{}, 1) // holds one element when a reader is half way; never closed
	var texts sync.Map
	var attempts atomic.Int64
	p := newPages("job", func(_ context.Context, u *upload) error {
		n := attempts.Add(1)
		var text bytes.Buffer
		from := u.page.reader(0)
		for part := make([]byte, 999); ; {
			k, err := from.Read(part)
			text.Write(part[:k])
			if text.Len() > u.page.size/2 {
				select {
				case reads <- struct{}{}:
				default:
				}
			}
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		texts.Store(n, text.String())
		return errBroken
	}, spool{dir: t.TempDir(), limit: DefaultSpoolLimit}, slog.New(slog.DiscardHandler))
	p.budget.chunks, p.pause = 24, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	for range uploadWorkers {
		done.Go(func() { p.run(ctx) })
	}
	fill(p, 0, 10_001)
	<-reads
	fill(p, 10_001, 20_000)
	<-reads
	p.close()
	cancel()
	done.Wait()
	p.closeSpool()
	texts.Range(func(n, text any) bool {
		next := -1
		for line := range strings.Lines(text.(string)) {
			var i int
			if _, err := fmt.Sscan(line[stampLength:], &i); err != nil || (next >= 0 && i != next) || len(line) < stampLength+500 {
				t.Fatalf("attempt %d read %.60q where line %d is due", n, line, next)
			}
			next = i + 1
		}
		return true
	})
}

func TestAStepWaitsWhenTheDiskIsFullToo(t *testing.T) {
	p, s, back := spooled(t, spool{dir: t.TempDir(), limit: 20 * chunkSize}, slog.New(slog.DiscardHandler))
	written := make(chan struct{})
	go func() {
		defer close(written)
		fill(p, 0, 20_000)
	}()
	for chunks := 0; chunks < 20; time.Sleep(time.Millisecond) {
		chunks, _, _ = p.disk()
	}
	select {
	case <-written:
		t.Error("10 MB fit into 24 chunks of memory and 20 of disk")
	default:
	}
	back()
	<-written
	if err := p.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, s, 20_000)
}

// A firewall that drops packets refuses nothing: attempts only time out.
func TestTextGoesToTheDiskWhileNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPages("job", func(ctx context.Context, _ *upload) error {
			<-ctx.Done()
			return context.Cause(ctx)
		}, spool{dir: t.TempDir(), limit: DefaultSpoolLimit}, slog.New(slog.DiscardHandler))
		p.budget.chunks = 24
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		for range uploadWorkers {
			done.Go(func() { p.run(ctx) })
		}
		started := time.Now()
		fill(p, 0, 20_000)
		if took := time.Since(started); took != stallAfter {
			t.Errorf("a step waited %s, want it to wait %s once", took, stallAfter)
		}
		p.close()
		cancel()
		done.Wait()
		p.closeSpool()
	})
}

func TestADiskThatCannotBeWrittenIsSaidOnceAndStepsWait(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&lockedWriter{mu: &mu, to: &text}, nil))
	p, s, back := spooled(t, spool{dir: dir, limit: DefaultSpoolLimit}, log)
	written := make(chan struct{})
	go func() {
		defer close(written)
		fill(p, 0, 20_000)
	}()
	for broken := false; !broken; time.Sleep(time.Millisecond) {
		_, _, broken = p.disk()
	}
	back()
	<-written
	if err := p.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFilled(t, s, 20_000)
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(text.String(), "log text cannot be kept on disk"); n != 1 {
		t.Errorf("%d warnings, want one:\n%s", n, &text)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	to io.Writer
}

func (w *lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

// Records that speak in turn need a segment for each line.
func TestWhatFindsTheTextAgainIsBoundedToo(t *testing.T) {
	p, s, back := spooled(t, spool{dir: t.TempDir(), limit: DefaultSpoolLimit}, slog.New(slog.DiscardHandler))
	p.mu.Lock()
	p.budget.segments = 10_000
	p.mu.Unlock()
	written := make(chan struct{})
	go func() {
		defer close(written)
		for i := range 20_000 {
			p.write(job.RecordID(fmt.Sprint("step", i%2)), []byte("x"))
		}
	}()
	for full := false; !full; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		full = p.segments >= p.budget.segments
		p.mu.Unlock()
	}
	select {
	case <-written:
		t.Error("20,000 lines in turn fit into 10,000 segments")
	default:
	}
	back()
	<-written
	if err := p.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.lines(t, "job")); n != 20_000 {
		t.Errorf("the job's log has %d lines, want 20000", n)
	}
}
