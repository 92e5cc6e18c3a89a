package ado

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

// sent keeps what a queue sends, and when.
type sent struct {
	mu      sync.Mutex
	started time.Time
	at      []time.Duration
	batches [][]job.Record
	err     error
}

func (s *sent) send(_ context.Context, batch []job.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Since(s.started))
	s.batches = append(s.batches, slices.Clone(batch))
	return s.err
}

func (s *sent) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// bubble runs test with a record queue in a synctest bubble.
func bubble(t *testing.T, test func(q *recordQueue, s *sent)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &sent{started: time.Now()}
		q := newRecordQueue(s.send, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go q.run(ctx)
		test(q, s)
		cancel()
		synctest.Wait()
	})
}

func ids(batch []job.Record) (out []string) {
	for _, r := range batch {
		out = append(out, string(r.ID))
	}
	return out
}

// Protocol §7.3.
func TestChangesOfARecordAreMergedAndSentEveryHalfSecond(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		q.add(job.Record{ID: "job", State: job.InProgress})
		q.add(job.Record{ID: "init", State: job.InProgress, Name: "Initialize job"})
		time.Sleep(100 * time.Millisecond)
		q.add(job.Record{ID: "init", State: job.Completed, Result: job.Succeeded})
		q.add(job.Record{ID: "init", ErrorCount: 2})
		time.Sleep(time.Second)
		synctest.Wait()
		if diff := cmp.Diff([]time.Duration{recordPause, recordPeriod + recordPause}, s.at); diff != "" {
			t.Errorf("times of batches (-want +got):\n%s", diff)
		}
		want := [][]job.Record{
			{{ID: "job", State: job.InProgress}, {ID: "init", State: job.InProgress, Name: "Initialize job"}},
			{{ID: "init", State: job.Completed, Result: job.Succeeded, ErrorCount: 2}},
		}
		if diff := cmp.Diff(want, s.batches); diff != "" {
			t.Errorf("batches (-want +got):\n%s", diff)
		}
	})
}

func TestABatchHoldsAtMost25Records(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		for i := range 60 {
			q.add(job.Record{ID: job.RecordID(fmt.Sprint(i))})
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		var sizes []int
		for _, b := range s.batches {
			sizes = append(sizes, len(b))
		}
		if !slices.Equal(sizes, []int{25, 25, 10}) || s.batches[2][9].ID != "59" {
			t.Errorf("batch sizes = %v, want 25, 25, 10 in order", sizes)
		}
	})
}

func TestAFailedBatchGoesInFrontOfTheNext(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		s.fail(errors.New("503"))
		q.add(job.Record{ID: "a", Name: "old", ErrorCount: 1})
		q.add(job.Record{ID: "b"})
		time.Sleep(100 * time.Millisecond)
		q.add(job.Record{ID: "c"})
		q.add(job.Record{ID: "a", Name: "new"})
		s.fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		last := s.batches[len(s.batches)-1]
		if got := ids(last); !slices.Equal(got, []string{"a", "b", "c"}) || last[0].Name != "new" || last[0].ErrorCount != 1 {
			t.Errorf("second batch = %+v, want a (merged), b, c", last)
		}
	})
}

func TestDrainingSendsEverythingOrTellsOfLostOutputs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sent{started: time.Now()}
		q := newRecordQueue(s.send, slog.New(slog.DiscardHandler))
		drain := func() error {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errLate)
			defer cancel()
			return q.drain(ctx)
		}
		for i := range 30 {
			q.add(job.Record{ID: job.RecordID(fmt.Sprint(i))})
		}
		if err := drain(); err != nil || len(s.batches) != 2 || q.holdsOutputs() {
			t.Errorf("drain = %v in %d batches, want success in 2", err, len(s.batches))
		}
		s.fail(errBroken)
		q.add(job.Record{ID: "x"})
		if err := drain(); !errors.Is(err, errLate) || !errors.Is(err, errBroken) || q.holdsOutputs() {
			t.Errorf("drain = %v, outputs lost = %t, want both errors without outputs", err, q.holdsOutputs())
		}
		if n := len(s.batches); n < 12 || n > 22 {
			t.Errorf("%d attempts in five minutes, want them until its end with growing pauses", n-2)
		}
		q.add(job.Record{ID: "y", Variables: map[string]job.Variable{"tag": {Value: "1"}}})
		if err := drain(); err == nil || !q.holdsOutputs() {
			t.Errorf("drain = %v, outputs lost = %t, want an error with outputs", err, q.holdsOutputs())
		}
		s.fail(&StatusError{Code: 404, TypeKey: KeyPlanNotFound})
		before := len(s.batches)
		if err := drain(); !errors.Is(err, ErrPlanGone) || len(s.batches) != before+1 {
			t.Errorf("drain = %v after %d attempts, want one: the plan is over", err, len(s.batches)-before)
		}
	})
}

var (
	errLate   = errors.New("too late")
	errBroken = &connectionError{errors.New("connection refused")}
)

// wantPauses checks that the times of attempts are first apart, and twice as far
// each time up to longest, a quarter more or less.
func wantPauses(t *testing.T, at []time.Duration, first, longest time.Duration) {
	t.Helper()
	for i := 1; i < len(at); i++ {
		got := at[i] - at[i-1]
		if want := min(first<<(i-1), longest); got < want-want/4 || got > want+want/4 {
			t.Errorf("pause %d = %s, want about %s; all attempts: %v", i, got, want, at)
		}
	}
}

func TestFailedBatchesAreRepeatedWithGrowingPauses(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		s.fail(errBroken)
		q.add(job.Record{ID: "a"})
		time.Sleep(3 * time.Minute)
		s.mu.Lock()
		at := slices.Clone(s.at)
		s.mu.Unlock()
		if len(at) < 9 {
			t.Errorf("%d attempts in three minutes: %v", len(at), at)
		}
		for i := range at {
			at[i] -= time.Duration(i) * recordPause
		}
		wantPauses(t, at, recordPeriod, recordPauseMax)
		s.fail(nil)
		time.Sleep(time.Minute)
		q.add(job.Record{ID: "b"})
		time.Sleep(time.Second)
		s.mu.Lock()
		defer s.mu.Unlock()
		if last := s.batches[len(s.batches)-1]; !slices.Equal(ids(last), []string{"b"}) {
			t.Errorf("last batch = %v, want b alone: a was taken, and the rhythm is the usual one again", ids(last))
		}
	})
}

func TestWhatTheServerAsksForWinsOverTheRhythm(t *testing.T) {
	bubble(t, func(q *recordQueue, s *sent) {
		s.fail(&StatusError{Code: 429, RetryAfter: 100 * time.Second})
		q.add(job.Record{ID: "a"})
		time.Sleep(5 * time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := 1; i < len(s.at); i++ {
			if pause := s.at[i] - s.at[i-1]; pause < 100*time.Second || pause > 126*time.Second {
				t.Errorf("pause %d = %s, want 100 s and up to a quarter more", i, pause)
			}
		}
		if len(s.at) < 3 {
			t.Errorf("attempts at %v, want three or more", s.at)
		}
	})
}

func TestARefusedRecordDoesNotHoldUpTheOthers(t *testing.T) {
	var accepted []string
	q := newRecordQueue(func(_ context.Context, batch []job.Record) error {
		if slices.Contains(ids(batch), "bad") {
			return &StatusError{Code: 400}
		}
		accepted = append(accepted, ids(batch)...)
		return nil
	}, slog.New(slog.DiscardHandler))
	for _, id := range []job.RecordID{"a", "bad", "b"} {
		q.add(job.Record{ID: id})
	}
	if err := q.drain(t.Context()); err != nil || !slices.Equal(accepted, []string{"a", "b"}) || q.holdsOutputs() {
		t.Errorf("drain = %v, accepted %v, want a and b", err, accepted)
	}
	q.add(job.Record{ID: "bad", Variables: map[string]job.Variable{"tag": {Value: "1"}}})
	if err := q.drain(t.Context()); err != nil || !q.holdsOutputs() {
		t.Errorf("drain = %v, outputs lost = %t, want them lost", err, q.holdsOutputs())
	}
}

// post is one request of a feed.
type post struct {
	At    time.Duration
	Step  job.RecordID
	Start int64
	Lines int
	First string
}

func feedBubble(t *testing.T, test func(f *feed, posts func() []post)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var all []post
		started := time.Now()
		f := newFeed(func(_ context.Context, step job.RecordID, start int64, lines []string) error {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, post{time.Since(started), step, start, len(lines), lines[0]})
			return errors.New("errors are ignored")
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go f.run(ctx)
		synctest.Wait()
		test(f, func() []post {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(all)
		})
		cancel()
		synctest.Wait()
	})
}

// Protocol §7.5, and feedBurst.
func TestTheFirstLinesAreSentAtOnceAndLaterOnesWithTheTick(t *testing.T) {
	feedBubble(t, func(f *feed, posts func() []post) {
		for i := range 1000 { // one line every 10 ms for ten seconds
			f.add("step", int64(i+1), []byte("line"))
			time.Sleep(10 * time.Millisecond)
		}
		got := posts()
		if got[0] != (post{0, "step", 1, 1, "line"}) {
			t.Errorf("first request = %+v, want line 1 at once", got[0])
		}
		if early := slices.IndexFunc(got, func(p post) bool { return p.At > time.Second }); early < 5 || early > feedBurst+3 {
			t.Errorf("%d requests in the first second, want a burst of about %d", early, feedBurst)
		}
		late := slices.DeleteFunc(slices.Clone(got), func(p post) bool { return p.At < 5*time.Second })
		if n := len(late); n < 9 || n > 11 {
			t.Errorf("%d requests in the last five seconds, want one every half second", n)
		}
		next := int64(1)
		for _, p := range got {
			if p.Start != next {
				t.Errorf("request starts at line %d, want %d", p.Start, next)
			}
			next += int64(p.Lines)
		}
	})
}

func TestAMetadataMessageChangesTheInterval(t *testing.T) {
	feedBubble(t, func(f *feed, posts func() []post) {
		f.setInterval(2 * time.Second)
		for i := range 1200 {
			f.add("step", int64(i+1), []byte("line"))
			time.Sleep(50 * time.Millisecond)
		}
		late := slices.DeleteFunc(posts(), func(p post) bool { return p.At < 50*time.Second })
		if n := len(late); n < 4 || n > 6 {
			t.Errorf("%d requests in the last ten seconds, want one every two seconds", n)
		}
	})
}

func TestA19LiveLinesAreBatchedAndNumbered(t *testing.T) {
	feedBubble(t, func(f *feed, posts func() []post) {
		for i := range 150 {
			f.add("a", int64(i+1), []byte("a"))
		}
		f.add("b", 1, []byte("b"))
		time.Sleep(time.Second)
		got := posts()
		for i := range got {
			got[i].At = 0
		}
		if diff := cmp.Diff([]post{{0, "a", 1, 100, "a"}, {0, "a", 101, 50, "a"}, {0, "b", 1, 1, "b"}}, got); diff != "" {
			t.Errorf("requests (-want +got):\n%s", diff)
		}
	})
}

func TestAFeedThatCannotKeepUpDropsTheOldestLines(t *testing.T) {
	f := newFeed(nil, slog.New(slog.DiscardHandler))
	for i := range 10_000 {
		f.add("a", int64(i+1), []byte(fmt.Sprint("line ", i+1)))
	}
	groups := f.take()
	if len(groups) != 1 || len(groups[0].lines) != feedLines || groups[0].start != 10_001-feedLines || groups[0].lines[feedLines-1] != "line 10000" {
		t.Errorf("kept %d groups, the first from line %d with %d lines, want the last %d", len(groups), groups[0].start, len(groups[0].lines), feedLines)
	}
}

func TestAtTheEndOnlyTheLastTwoBatchesAreSent(t *testing.T) {
	var starts []int64
	f := newFeed(func(_ context.Context, _ job.RecordID, start int64, _ []string) error {
		starts = append(starts, start)
		return nil
	}, slog.New(slog.DiscardHandler))
	for i := range 450 {
		f.add("a", int64(i+1), []byte("x"))
	}
	f.drain(t.Context())
	if !slices.Equal(starts, []int64{251, 351}) {
		t.Errorf("batches start at %v, want 251 and 351", starts)
	}
}

func TestA19LiveLinesAreCutAt1024Characters(t *testing.T) {
	f := newFeed(nil, slog.New(slog.DiscardHandler))
	long := strings.Repeat("é", 1025)
	f.add("a", 1, []byte(long))
	f.add("a", 2, []byte(long[:2048]))
	got := f.take()[0].lines
	if want := []string{long[:2048] + "...", long[:2048]}; !slices.Equal(got, want) {
		t.Errorf("lines of %d and %d bytes, want the first cut with dots and the second whole", len(got[0]), len(got[1]))
	}
}

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
	p.attach("step", job.Attachment{Type: "t", Name: "n", Content: []byte("c")})
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
