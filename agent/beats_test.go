package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

// pulse collects the beats of one loop.
type pulse struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
	n       int
	ended   bool
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n++; !p.last.IsZero() {
		p.longest = max(p.longest, time.Since(p.last))
	}
	p.last = time.Now()
}

// held is the beat of a loop that ends with its job.
func (p *pulse) held(h bool) {
	p.beat()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = !h
}

// age is that of the last beat.
func (p *pulse) age() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.last)
}

// silence is the longest so far, with the one that lasts.
func (p *pulse) silence() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.longest, time.Since(p.last))
}

// hangs is a request that nobody answers, given up after its bound.
func hangs(ctx context.Context, bound time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, bound, errors.New("no answer"))
	defer cancel()
	<-ctx.Done()
	return context.Cause(ctx)
}

// A server that takes polls and answers none is not a loop that stands still, and the
// agent says which of the two it is.
func TestPollsWithoutAnAnswerBeatAndTell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		var p pulse
		var answers []bool
		s.deps.Health.Poll = p.beat
		s.deps.Health.Answers = func(yes bool) { answers = append(answers, yes) }
		ctx, cancel := context.WithCancel(t.Context())
		polls := 0
		s.next = func(ctx context.Context, _ ado.MessageID) (*ado.Envelope, error) {
			switch polls++; {
			case polls <= 20:
				return nil, hangs(ctx, s.timings.poll)
			case polls == 22:
				cancel()
			}
			return nil, nil
		}
		if err := s.poll(ctx); err != nil {
			t.Errorf("poll = %v, want nil", err)
		}
		if got := p.silence(); got > MaxPollSilence || p.n < 40 {
			t.Errorf("silent for up to %s with %d beats, want at most %s and one after each poll and pause", got, p.n, MaxPollSilence)
		}
		if len(answers) != 2 || answers[0] || !answers[1] {
			t.Errorf("the server answers: %v, want no, then yes", answers)
		}
	})
}

// What stands still does not beat, whatever it was in the middle of.
func TestALoopThatStandsStillDoesNotBeat(t *testing.T) {
	forever := make(chan struct{})
	for name, run := range map[string]func(ctx context.Context, s *service){
		"a poll": func(ctx context.Context, s *service) {
			s.next = func(context.Context, ado.MessageID) (*ado.Envelope, error) { <-forever; return nil, nil }
			_ = s.poll(ctx)
		},
		"a session being opened": func(ctx context.Context, s *service) {
			s.open = func(context.Context) (ado.Session, error) { <-forever; return ado.Session{}, nil }
			_, _ = s.openSession(ctx)
		},
		"a first renewal": func(ctx context.Context, s *service) {
			s.renew = func(context.Context, job.RequestID) (ado.JobRequest, error) { <-forever; return ado.JobRequest{}, nil }
			_, _ = s.firstRenewal(ctx, &job.Message{})
		},
		"a renewal": func(ctx context.Context, s *service) {
			s.renew = func(context.Context, job.RequestID) (ado.JobRequest, error) { <-forever; return ado.JobRequest{}, nil }
			s.keepLocked(ctx, 903, time.Now().Add(10*time.Minute), func(error) {})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				forever = make(chan struct{})
				s := bareService()
				var p pulse
				s.deps.Health.Poll, s.deps.Health.Lock = p.beat, p.held
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					run(ctx, s)
				}()
				time.Sleep(time.Hour)
				if got := p.age(); got < 50*time.Minute {
					t.Errorf("the last beat is %s old after an hour, want none for most of it", got)
				}
				cancel()
				close(forever)
				<-done
			})
		})
	}
}

func TestRenewalsWithoutAnAnswerBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		var p pulse
		s.deps.Health.Lock = p.held
		s.renew = func(ctx context.Context, _ job.RequestID) (ado.JobRequest, error) {
			return ado.JobRequest{}, hangs(ctx, s.timings.request)
		}
		if _, err := s.firstRenewal(t.Context(), &job.Message{}); err == nil || !p.ended {
			t.Errorf("firstRenewal = %v, ended %t, want an error and the last beat", err, p.ended)
		}
		var lost error
		s.keepLocked(t.Context(), 903, time.Now().Add(10*time.Minute), func(err error) { lost = err })
		if got := p.silence(); got > MaxLockSilence || lost == nil || !p.ended {
			t.Errorf("silent for %s, lost %v, ended %t, want at most %s until the lock is lost", got, lost, p.ended, MaxLockSilence)
		}
	})
}

// When the session is lost for good, the one who waits for the job beats, for as long
// as the job and its report may take.
func TestTheWaitForTheJobOfALostSessionBeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareService()
		var p pulse
		w := newWork(&job.Message{JobID: "J"})
		w.begun(func(*job.Stop) { time.AfterFunc(8*time.Minute, func() { close(w.done) }) })
		s.running = w
		s.drain(t.Context(), due{cause: "lost", until: time.Now().Add(3 * time.Hour)}, p.beat)
		if got := p.silence(); got > MaxPollSilence || p.n < 200 {
			t.Errorf("silent for %s with %d beats, want at most %s for three hours", got, p.n, MaxPollSilence)
		}
	})
}
