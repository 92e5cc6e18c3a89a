package ado

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// store is the far side of pages: the text of each record, page by page.
type store struct {
	mu    sync.Mutex
	texts map[job.RecordID][]string
	delay time.Duration
	err   error
}

func (s *store) send(ctx context.Context, u *upload) error {
	if s.delay > 0 {
		select {
		case <-time.After(s.delay):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var text []byte
	if u.page != nil {
		var err error
		if text, err = io.ReadAll(u.page.reader(0)); err != nil {
			return err
		}
		if len(text) != u.page.size {
			return fmt.Errorf("read %d bytes of a page of %d", len(text), u.page.size)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.texts == nil {
		s.texts = make(map[job.RecordID][]string)
	}
	s.texts[u.record] = append(s.texts[u.record], string(text))
	return s.err
}

// lines returns the lines of a record without their stamps.
func (s *store) lines(t *testing.T, record job.RecordID) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, text := range s.texts[record] {
		if len(text) > pageSize || !strings.HasSuffix(text, "\n") {
			t.Errorf("a page of %s has %d bytes and ends in %q, want whole lines of at most %d", record, len(text), text[len(text)-1:], pageSize)
		}
		for line := range strings.Lines(text) {
			if _, err := time.Parse("2006-01-02T15:04:05.0000000Z ", line[:stampLength]); err != nil || line[27] != 'Z' {
				t.Fatalf("a line begins with %q, want a date with seven digits", line[:stampLength])
			}
			out = append(out, strings.TrimSuffix(line[stampLength:], "\n"))
		}
	}
	return out
}

func openPages(t *testing.T, s *store) *pages {
	t.Helper()
	p := newPages("job", s.send, spool{}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	for range uploadWorkers {
		done.Go(func() { p.run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		p.close()
		done.Wait()
	})
	return p
}

// Protocol §7.6: pages of 8 MiB, in order; the job's log has every line. The
// writers together write more than fits in memory.
func TestA20NoLineIsLostAndPagesKeepTheirOrder(t *testing.T) {
	s := &store{}
	p := openPages(t, s)
	const writers, each = 4, 30_000
	filler := strings.Repeat("x", 400)
	var done sync.WaitGroup
	for w := range writers {
		done.Go(func() {
			record := job.RecordID(fmt.Sprint("step", w))
			for i := range each {
				if n := p.write(record, fmt.Appendf(nil, "%d %d %s", w, i, filler)); n != int64(i+1) {
					t.Errorf("line %d got number %d", i+1, n)
					return
				}
			}
			p.finish(record)
		})
	}
	done.Wait()
	if err := p.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	next := make(map[string]int)
	for _, line := range s.lines(t, "job") {
		var w string
		var i int
		if _, err := fmt.Sscan(line[:20], &w, &i); err != nil || i != next[w] {
			t.Fatalf("the job's log has line %q where %d is due (%v)", line[:20], next[w], err)
		}
		next[w]++
	}
	for w := range writers {
		if next[fmt.Sprint(w)] != each {
			t.Errorf("the job's log has %d lines of writer %d, want %d", next[fmt.Sprint(w)], w, each)
		}
		if lines := s.lines(t, job.RecordID(fmt.Sprint("step", w))); len(lines) != each || !strings.HasPrefix(lines[each-1], fmt.Sprintf("%d %d ", w, each-1)) {
			t.Errorf("the log of step %d has %d lines, want %d in order", w, len(lines), each)
		}
	}
	if n := len(s.texts["step0"]); n < 2 || n > 8 {
		t.Errorf("13 MB became %d pages, want two, or some more when memory was short", n)
	}
	if p.made > chunkBudget || len(p.free)+1 < p.made {
		t.Errorf("%d chunks were made and %d are free, want at most %d and all but one", p.made, len(p.free), chunkBudget)
	}
}

// Records that never complete must not hold all the memory.
func TestAWriterIsNeverStuckBehindUnfinishedPages(t *testing.T) {
	s := &store{}
	p := openPages(t, s)
	line := bytes.Repeat([]byte("y"), 1000)
	for i := range 60_000 {
		p.write(job.RecordID(fmt.Sprint("step", i%12)), line)
	}
	if err := p.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(s.lines(t, "job")); n != 60_000 {
		t.Errorf("the job's log has %d lines, want 60000", n)
	}
}

func TestARefusedPageIsGivenUp(t *testing.T) {
	s := &store{err: &StatusError{Code: 413}}
	p := openPages(t, s)
	p.write("step", []byte("x"))
	p.attach(t.Context(), "step", job.Attachment{Type: "t", Name: "n", Content: []byte("c")})
	if err := p.drain(t.Context()); err != nil || p.bytes != 0 {
		t.Errorf("drain = %v with %d bytes left, want nil and none: logs never fail a job", err, p.bytes)
	}
}

func TestDrainingIsBounded(t *testing.T) {
	s := &store{delay: time.Hour}
	p := openPages(t, s)
	p.write("step", []byte("x"))
	late := errors.New("too late")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, late)
	defer cancel()
	if err := p.drain(ctx); !errors.Is(err, late) {
		t.Errorf("drain = %v, want the cause of its context", err)
	}
}

func TestAClosedReporterDropsLines(t *testing.T) {
	p := newPages("job", nil, spool{}, slog.New(slog.DiscardHandler))
	p.close()
	if n := p.write("step", []byte("x")); n != 0 {
		t.Errorf("write after close = %d, want 0", n)
	}
}

func TestAPageThatIsDoneIsNotReadAnyMore(t *testing.T) {
	pg := &page{segments: []segment{{&chunk{data: new(buffer)}, 0, 10}}, size: 10, released: true}
	if n, err := pg.reader(0).Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Read = %d, %v, want ErrClosedPipe", n, err)
	}
}

func TestStampsHaveSevenDigits(t *testing.T) {
	var s stamper
	for _, at := range []time.Time{
		time.Date(2026, 8, 22, 9, 11, 7, 402193000, time.UTC), time.Date(2026, 8, 22, 9, 11, 7, 999999999, time.UTC),
		time.Date(2026, 8, 22, 11, 11, 8, 99, time.FixedZone("", 7200)), time.Unix(0, 100),
	} {
		if got, want := string(s.at(at)), at.UTC().Format("2006-01-02T15:04:05.0000000Z "); got != want {
			t.Errorf("stamp of %v = %q, want %q", at, got, want)
		}
	}
}

func BenchmarkWriteLine(b *testing.B) {
	p := newPages("job", func(_ context.Context, u *upload) error {
		_, err := io.Copy(io.Discard, u.page.reader(0))
		return err
	}, spool{}, slog.New(slog.DiscardHandler))
	var done sync.WaitGroup
	for range uploadWorkers {
		done.Go(func() { p.run(b.Context()) })
	}
	f := newFeed(nil, slog.New(slog.DiscardHandler))
	r := &Reporter{pages: p, feed: f}
	line := bytes.Repeat([]byte("z"), 100)
	b.SetBytes(int64(len(line)) + 1)
	b.ReportAllocs()
	for b.Loop() {
		r.WriteLine("step", line)
	}
	p.close()
	done.Wait()
}
