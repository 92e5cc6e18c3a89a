package ado

import (
	"sync"
	"time"
)

// MaxReportSilence is how far apart the beats of [ReporterConfig.Beat] are at most:
// one attempt of one request is given up after [DefaultTimeout], 100 s; waits are cut
// into ten seconds. The rest is for a machine that is busy.
const MaxReportSilence = DefaultTimeout + 20*time.Second

// rounds makes one beat of the turns of several loops: it beats when each of them has
// come round since the beat before. So the beat stops with the first loop that stands
// still, whatever the others do, and comes no later than the slowest one's round. Its
// methods, and those of its laps, may be called concurrently.
type rounds struct {
	mu     sync.Mutex
	beat   func(open bool)
	over   bool
	number int // of the round
	loops  int // that take part
	behind int // those that have not come round in this one
}

// newRounds begins with a beat. It is called from the loops, with locks of theirs
// held, so it must not block; nil is nobody who wants to know.
func newRounds(beat func(open bool)) *rounds {
	if beat == nil {
		beat = func(bool) {}
	}
	beat(true)
	return &rounds{beat: beat}
}

// lap is one loop's part in the rounds.
type lap struct {
	of *rounds
	in int // the round in which the loop came round last
}

// join adds a loop, which counts as having just come round; it leaves at its end.
func (r *rounds) join() *lap {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loops++
	return &lap{of: r, in: r.number}
}

// turn says that the loop has come round.
func (l *lap) turn() {
	r := l.of
	r.mu.Lock()
	defer r.mu.Unlock()
	l.arrive()
	if r.behind == 0 && !r.over {
		r.beat(true)
		r.number++
		r.behind = r.loops
	}
}

// leave says that the loop has ended.
func (l *lap) leave() {
	r := l.of
	r.mu.Lock()
	defer r.mu.Unlock()
	l.arrive()
	r.loops--
}

// arrive is called with the lock held.
func (l *lap) arrive() {
	if l.in != l.of.number {
		l.in = l.of.number
		l.of.behind--
	}
}

// end says that nothing is to be expected any more. It may be called more than once.
func (r *rounds) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over = true
		r.beat(false)
	}
}
