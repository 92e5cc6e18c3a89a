package statuspage_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/internal/statuspage"
)

func filledTail(n int) *statuspage.Tail {
	t := &statuspage.Tail{}
	for i := 1; i <= n; i++ {
		t.Add(fmt.Appendf(nil, "line %d", i))
	}
	return t
}

func TestATailKeepsTheEnd(t *testing.T) {
	tail := filledTail(100_000)
	l := tail.Log(0, 5, true)
	if got := string(bytes.Join(l.Lines, []byte(","))); got != "line 99996,line 99997,line 99998,line 99999,line 100000" || l.First != 99996 || l.Total != 100_000 || !l.Open {
		t.Errorf("the end is %q of %+v", got, l)
	}
	if kept := l.Total - l.Kept + 1; kept < 2000 || kept > 2400 {
		t.Errorf("%d lines are kept, want about two thousand", kept)
	}
	if l := tail.Log(l.Kept, 1, false); string(l.Lines[0]) != fmt.Sprint("line ", l.Kept) {
		t.Errorf("the first line that is kept is %q, want that of %d", l.Lines[0], l.Kept)
	}
	if l := tail.Log(1, 2, false); l.First != l.Kept || len(l.Lines) != 2 {
		t.Errorf("from a line that is gone on: %+v", l)
	}
	if l := tail.Log(100_001, 10, true); l.First != 100_001 || len(l.Lines) != 0 {
		t.Errorf("from the next line on: %+v", l)
	}
	if l := new(statuspage.Tail).Log(0, 10, true); l.First != 1 || l.Kept != 1 || len(l.Lines) != 0 {
		t.Errorf("an empty tail is %+v", l)
	}
}

func TestATailIsBoundedInBytes(t *testing.T) {
	var tail statuspage.Tail
	for range 1000 {
		tail.Add(bytes.Repeat([]byte("x"), 1<<20))
	}
	if size := tail.Size(); size > 600<<10 {
		t.Errorf("a thousand long lines take %d bytes", size)
	}
	if line := tail.Log(0, 1, true).Lines[0]; len(line) > 9<<10 || !strings.HasSuffix(string(line), "in the log)") {
		t.Errorf("a long line is kept as %d bytes that end with %q", len(line), line[len(line)-30:])
	}
}

func TestLinesThatNeverCameAreSaid(t *testing.T) {
	var tail statuspage.Tail
	for _, n := range []int{1, 2, 2, 1, 7, 8} {
		tail.AddAt(n, fmt.Appendf(nil, "line %d", n))
	}
	l := tail.Log(0, 10, true)
	if got, want := fmt.Sprintf("%s %v", bytes.Join(l.Lines, []byte(",")), l.Numbers), "line 1,line 2,line 7,line 8 [1 2 7 8]"; got != want {
		t.Errorf("lines are %s, want %s", got, want)
	}
	if html := statuspage.Lines(l); strings.Count(html, "4 lines not sent live") != 1 || !strings.Contains(html, `id="L8"`) {
		t.Errorf("they are shown as %s", html)
	}
	if l := tail.Log(3, 10, true); l.First != 7 || len(l.Lines) != 2 {
		t.Errorf("from the third on: %+v", l)
	}
	if l := tail.Log(0, 3, true); l.First != 2 || len(l.Lines) != 3 || l.Numbers[2] != 8 {
		t.Errorf("the last three: %+v", l)
	}
}

func TestATailIsReadWhileItGrows(t *testing.T) {
	var tail statuspage.Tail
	var all sync.WaitGroup
	all.Go(func() {
		for i := range 20_000 {
			tail.Add(fmt.Appendf(nil, "line %d", i+1))
		}
	})
	for range 2 {
		all.Go(func() {
			for next := 1; next <= 20_000; {
				l := tail.Log(next, 100, true)
				for i, line := range l.Lines {
					if want := fmt.Sprint("line ", l.First+i); string(line) != want {
						t.Errorf("line %d is %q", l.First+i, line)
						return
					}
				}
				next = l.First + len(l.Lines)
			}
		})
	}
	all.Wait()
}

func BenchmarkTailAdd(b *testing.B) {
	var tail statuspage.Tail
	line := bytes.Repeat([]byte("a line of a log "), 6)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		tail.Add(line)
	}
}

func BenchmarkPageOfALog(b *testing.B) {
	var tail statuspage.Tail
	for i := range 3000 {
		tail.Add(fmt.Appendf(nil, "\x1b[32m%d\x1b[0m of a log that has <colours> and 'quotes' in each of its lines", i))
	}
	for b.Loop() {
		_ = statuspage.Lines(tail.Log(0, statuspage.PageLines, true))
	}
}
