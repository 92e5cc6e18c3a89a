package ado

import (
	"context"
	"errors"
	"fmt"
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
		f.busy <- struct{}{} // nothing is taken before all is there
		for i := range 150 {
			f.add("a", int64(i+1), []byte("a"))
		}
		f.add("b", 1, []byte("b"))
		<-f.busy
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
