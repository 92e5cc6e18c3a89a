package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// poll takes messages until ctx ends, which is no error, or until the service
// refuses for good (protocol §5).
//
// It beats when a poll has ended, well or not, and after whatever follows one. The
// long poll hangs for about 50 s and does not beat meanwhile: a probe that shall tell
// a hanging poll from a dead loop has to be patient for [MaxPollSilence], and a beat
// from anywhere but this loop would say nothing about it. A server that does not
// answer is told apart: the loop lives and nothing can reach it.
func (s *service) poll(ctx context.Context) error {
	var last ado.MessageID
	failures := 0
	for {
		s.deps.Health.poll()
		message, err := s.next(ctx, last)
		s.deps.Health.poll()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ado.ErrSessionExpired):
			if err := s.reopenSession(ctx); err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return err
			}
		case err != nil && final(err):
			return advised(err)
		case err != nil:
			failures++
			if failures == 1 {
				s.deps.Health.answers(false)
			}
			if retry.Wait(ctx, s.afterFailure(ctx, err, failures)) != nil {
				return nil
			}
			continue
		case message != nil:
			last = message.MessageID
			if s.take(ctx, *message) {
				s.acknowledge(ctx, message.MessageID)
			}
		}
		if failures > 0 {
			s.log.InfoContext(ctx, "polling works again", "failures", failures)
			s.deps.Health.answers(true)
			failures = 0
		}
	}
}

func (s *service) pollOnce(ctx context.Context, last ado.MessageID) (*ado.Envelope, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timings.poll, fmt.Errorf("no answer to a poll within %s", s.timings.poll))
	defer cancel()
	return s.polls.NextMessage(ctx, s.session.ID, last)
}

// afterFailure returns how long to wait after a failed poll. The first failure
// of a series is shown.
func (s *service) afterFailure(ctx context.Context, err error, failures int) time.Duration {
	pause := s.timings.pollError
	if failures > 5 {
		pause = s.timings.pollErrorLong
	}
	wait := retry.Between(pause.low, pause.high)
	if status, ok := errors.AsType[*ado.StatusError](err); ok {
		// Spread on top: a service that is back after an outage tells everybody the same.
		wait = min(max(wait, status.RetryAfter+retry.Between(0, status.RetryAfter/4)), s.timings.pollPause)
	}
	if failures == 1 {
		s.log.WarnContext(ctx, "polling failed, trying again", "error", err, "pause", wait)
	} else {
		s.log.DebugContext(ctx, "polling failed again", "error", err, "pause", wait, "failures", failures)
	}
	return wait
}

// reopenSession replaces a session that expired.
func (s *service) reopenSession(ctx context.Context) error {
	pause := retry.Between(s.timings.reopen.low, s.timings.reopen.high)
	s.log.WarnContext(ctx, "session expired, opening another", "session_id", s.session.ID, "pause", pause)
	s.setSession(ado.Session{}) // nothing to delete if this is the end
	s.deps.Health.ready(false)
	if err := retry.Wait(ctx, pause); err != nil {
		return err
	}
	session, err := s.openSession(ctx)
	s.setSession(session)
	s.deps.Health.poll()
	if err != nil {
		return err
	}
	s.deps.Health.ready(true)
	return nil
}

func (s *service) setSession(session ado.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = session
}

// acknowledge deletes a message that was handed over. A failure means at worst
// that it comes again to the next process.
func (s *service) acknowledge(ctx context.Context, id ado.MessageID) {
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), s.timings.ack, fmt.Errorf("deleting message %d took longer than %s", id, s.timings.ack))
	defer cancel()
	s.mu.Lock()
	session := s.session.ID
	s.mu.Unlock()
	if err := s.client.DeleteMessage(ctx, session, id); err != nil {
		s.log.WarnContext(ctx, "message was not deleted", "message_id", id, "error", err)
	}
}

// take hands a message over, and reports whether it is to be deleted. Whatever
// cannot be read is deleted, because it would not get better.
func (s *service) take(ctx context.Context, e ado.Envelope) (handedOver bool) {
	log := s.log.With("message_id", e.MessageID, "message_type", e.MessageType)
	text, err := s.session.Open(e)
	if err != nil {
		log.ErrorContext(ctx, "message is unreadable", "error", err)
		return true
	}
	switch kind := e.MessageType; {
	case strings.EqualFold(kind, ado.MessageJobRequest):
		m, err := job.Decode(text)
		if err != nil {
			log.ErrorContext(ctx, "job message is unreadable", "error", err)
			return true
		}
		return s.accept(ctx, m, e.MessageID)
	case strings.EqualFold(kind, ado.MessageJobCancellation):
		return s.cancelJob(ctx, text)
	case strings.EqualFold(kind, ado.MessageAgentRefresh):
		var update ado.Refresh
		_ = json.Unmarshal(text, &update) // what it asks for is only shown
		log.InfoContext(ctx, "request to update is ignored: the image decides the version", "target_version", update.TargetVersion)
	case s.setFeedInterval(text):
		log.DebugContext(ctx, "live lines change their pace")
	default:
		log.WarnContext(ctx, "message type is unknown")
	}
	return true
}

// accept starts a job, or keeps it until the running one has ended: the service
// assigns the next job as soon as it learns of a result, which is a moment
// before we are done. Jobs that come while the agent is leaving are not ours.
func (s *service) accept(ctx context.Context, m *job.Message, id ado.MessageID) (handedOver bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.isJob(s.running, m.JobID) || s.isJob(s.parked, m.JobID):
		return true // delivered twice
	case s.end.told() || s.taken:
		s.log.InfoContext(ctx, "job is left to another agent", "job_id", m.JobID, "message_id", id)
		return false
	case s.running != nil && s.parked != nil:
		s.log.ErrorContext(ctx, "a third job was assigned and is left in the queue", "job_id", m.JobID, "message_id", id)
		return false
	}
	s.taken = s.config.Once
	w := newWork(m)
	if s.running != nil {
		// Acknowledged when it starts: what a drain makes us drop is for others.
		w.unacknowledged = id
		s.parked = w
		return false
	}
	s.start(ctx, w)
	return true
}

func (*service) isJob(w *work, id job.ID) bool {
	return w != nil && strings.EqualFold(string(w.message.JobID), string(id))
}

// start runs w. It is called with mu held.
func (s *service) start(ctx context.Context, w *work) {
	s.running = w
	s.jobs.Go(func() {
		if w.unacknowledged != 0 {
			s.acknowledge(ctx, w.unacknowledged)
		}
		s.run(ctx, w)
		s.ended(ctx, w)
	})
}

// ended lets go of w, and goes on with what waits or leaves.
func (s *service) ended(ctx context.Context, w *work) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(w.done)
	s.running = nil
	next := s.parked
	s.parked = nil
	switch {
	case s.end.told() || s.fatal != nil || (s.taken && next == nil):
		s.leave(errOver)
	case next != nil:
		s.start(ctx, next)
	}
}

// cancelJob cancels the job that a message names, running or waiting.
func (s *service) cancelJob(ctx context.Context, text []byte) (handedOver bool) {
	var c ado.Cancellation
	if json.Unmarshal(text, &c) != nil {
		s.log.ErrorContext(ctx, "cancellation is unreadable")
		return true
	}
	grace, err := job.ParseSpan(c.Timeout)
	if err != nil || grace < s.timings.cancelLeast {
		grace = s.timings.cancelLeast
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range []*work{s.running, s.parked} {
		if s.isJob(w, c.JobID) {
			s.log.InfoContext(ctx, "job is canceled", "job_id", c.JobID, "grace", grace)
			w.stop(&job.Stop{Reason: job.StopCanceled, Message: "the job was canceled", Grace: grace})
			return true
		}
	}
	s.log.InfoContext(ctx, "cancellation of a job that is not here", "job_id", c.JobID)
	return !s.end.told() && !s.taken
}

// setFeedInterval carries out a job metadata message, which is known by its
// member: the name of its type is not published (protocol §5.4).
func (s *service) setFeedInterval(text []byte) bool {
	var m ado.JobMetadata
	if json.Unmarshal(text, &m) != nil || m.PostLinesFrequencyMillis <= 0 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isJob(s.running, m.JobID) {
		s.running.setFeedInterval(time.Duration(m.PostLinesFrequencyMillis) * time.Millisecond)
	}
	return true
}
