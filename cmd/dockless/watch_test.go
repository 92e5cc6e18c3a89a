package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/probe"
)

// hurried is a rhythm for tests. The page's clock is half a second coarse, whatever the
// age.
var hurried = rhythm{every: 20 * time.Millisecond, again: 10 * time.Millisecond, bound: 50 * time.Millisecond, age: 300 * time.Millisecond}

// logBuffer is a log that may be written while it is read.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) count(words string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), words)
}

// watching runs a watch on a page of its own until the test ends, and returns what
// waits for the page's answer.
func watching(t *testing.T, ask func(context.Context) error, log *slog.Logger) (expect func(q probe.Question, ok bool, words string)) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "page")
	page, err := probe.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	slot, err := page.Slot("builder", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		watch{name: "builder", slot: slot, silent: probe.ReasonBuilder, ask: ask, rhythm: hurried}.run(ctx, log)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		if err := page.Close(); err != nil {
			t.Error(err)
		}
	})
	return func(q probe.Question, ok bool, words string) {
		t.Helper()
		said(t, path, q, ok, words)
	}
}

func TestADependencyThatDoesNotAnswerKeepsTheAgentFromBeingReadyUntilItDoes(t *testing.T) {
	var fails atomic.Pointer[error]
	var asks atomic.Int32
	var log logBuffer
	expect := watching(t, func(context.Context) error {
		asks.Add(1)
		if err := fails.Load(); err != nil {
			return *err
		}
		return nil
	}, slog.New(slog.NewTextHandler(&log, nil)))
	expect(probe.IsReady, true, "1 slot")
	for words, err := range map[string]error{
		"builder does not answer": errors.New("refused"),
		"disk full":               errors.Join(errors.New("another node refused"), &buildxsetup.FullError{Node: "n0"}),
	} {
		fails.Store(&err)
		expect(probe.IsReady, false, "slot builder is live ("+words+")")
		expect(probe.IsLive, true, "")
		before := asks.Load()
		if !comes(func() bool { return asks.Load() > before+10 }) { // and nobody is told so
			t.Fatal("it is not asked again")
		}
		fails.Store(nil)
		expect(probe.IsReady, true, "1 slot")
	}
	if !comes(func() bool { return log.count("is there again") == 2 }) || log.count("level=WARN") != 2 {
		t.Errorf("the log has %d warnings and %d words that it is there again, want one of each for each time that it was away",
			log.count("level=WARN"), log.count("is there again"))
	}
}

// A question that minds its bound is the dependency's matter; one that does not, ours.
func TestAQuestionThatHangsIsGivenUpAndAWatchThatHangsIsDead(t *testing.T) {
	t.Run("given up", func(t *testing.T) {
		var asks atomic.Int32
		expect := watching(t, func(ctx context.Context) error {
			asks.Add(1)
			<-ctx.Done()
			return context.Cause(ctx)
		}, slog.New(slog.DiscardHandler))
		expect(probe.IsReady, false, "builder does not answer")
		before := asks.Load()
		if !comes(func() bool { return asks.Load() > before+int32(3*hurried.age/hurried.bound) }) {
			t.Fatal("it is not asked again")
		}
		expect(probe.IsLive, true, "")
	})
	t.Run("dead", func(t *testing.T) {
		free := make(chan struct{})
		expect := watching(t, func(context.Context) error { <-free; return nil }, slog.New(slog.DiscardHandler))
		expect(probe.IsLive, false, "slot builder: last beat")
		close(free)
		expect(probe.IsLive, true, "")
		expect(probe.IsReady, true, "")
	})
}

// It is asked every 20 s, for as long as somebody leaves it in the settings.
func TestANodeThatIsAwayIsToldOnce(t *testing.T) {
	var log logBuffer
	text := slog.New(slog.NewTextHandler(&log, nil))
	away := make(strays)
	refused := errors.New("refused")
	for range 3 { // days
		for range 100 {
			away.tell(t.Context(), "n0", nil, text)
			away.tell(t.Context(), "n1", refused, text)
		}
		for range 100 {
			away.tell(t.Context(), "n1", nil, text)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	away.tell(ended, "n0", context.Canceled, text) // nobody knows
	if warned, back, n0 := log.count("level=WARN"), log.count("takes builds again"), log.count("n0"); warned != 3 || back != 3 || n0 != 0 {
		t.Errorf("%d warnings, %d times back, and %d words of the node that is well; want 3, 3 and 0", warned, back, n0)
	}
}

// The rhythms have to fit into the ages that are allowed: a loop that does all it may
// do is not dead.
func TestAgesAreLongerThanWhatTheyAllowFor(t *testing.T) {
	if r := dependencies; r.every+r.bound >= r.age || r.again > r.every {
		t.Errorf("a watch may be silent for %s and takes up to %s", r.age, r.every+r.bound)
	}
}
