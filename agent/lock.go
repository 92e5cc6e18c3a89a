package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// firstRenewals is how often the first renewal is tried (protocol §7.1).
const firstRenewals = 6

// firstRenewal proves that a request is still ours, before any of its code runs,
// and returns it. It also compares the request with the message, which might be a
// stale or a foreign one.
func (s *service) firstRenewal(ctx context.Context, m *job.Message) (_ ado.JobRequest, err error) {
	defer func() {
		if err != nil {
			s.deps.Health.lock(false)
		}
	}()
	for attempt := 1; ; attempt++ {
		s.deps.Health.lock(true)
		request, err := s.renew(ctx, m.RequestID)
		s.deps.Health.lock(true)
		switch {
		case err == nil && !matches(request, m):
			return ado.JobRequest{}, fmt.Errorf("request %d belongs to another job: %w", m.RequestID, ado.ErrLockLost)
		case err == nil:
			return request, nil
		case ctx.Err() != nil:
			return ado.JobRequest{}, context.Cause(ctx)
		case errors.Is(err, ado.ErrLockLost), attempt == firstRenewals:
			return ado.JobRequest{}, err
		}
		s.log.WarnContext(ctx, "first renewal failed, trying again", "request_id", m.RequestID, "error", err, "attempt", attempt)
		if err := retry.Wait(ctx, retry.Between(s.timings.firstRenewal.low, s.timings.firstRenewal.high)); err != nil {
			return ado.JobRequest{}, err
		}
	}
}

// matches reports whether request does not contradict m. A server may leave
// either id out.
func matches(request ado.JobRequest, m *job.Message) bool {
	same := func(a, b string) bool { return a == "" || strings.EqualFold(a, b) }
	return same(string(request.JobID), string(m.JobID)) && same(string(request.PlanID), string(m.Plan.PlanID))
}

func (s *service) renewOnce(ctx context.Context, id job.RequestID) (ado.JobRequest, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.timings.request, fmt.Errorf("renewing request %d took longer than %s", id, s.timings.request))
	defer cancel()
	return s.client.RenewRequest(ctx, id)
}

// heldUntil returns the end of a lock by our clock. The date is by the server's:
// one that makes no sense even so is a wrong clock on either side, and then the
// usual length is assumed.
func (s *service) heldUntil(r ado.JobRequest) time.Time {
	now := time.Now()
	if held := r.LockedUntil.Sub(s.options.Clock.At(s.config.URL)); held > 0 && held <= s.timings.lockPlausible {
		return now.Add(held)
	}
	return now.Add(s.timings.lockAssumed)
}

// waited returns how a job waited, when the server tells. Its dates are by its clock,
// of which ours is known to some seconds; nothing of a job is later than now.
func (s *service) waited(r ado.JobRequest) job.Wait {
	if r.QueueTime.IsZero() || r.AssignTime.Before(r.QueueTime.Time) {
		return job.Wait{}
	}
	now := time.Now()
	ours := func(t job.Time) time.Time {
		if t := t.Add(now.Sub(s.options.Clock.At(s.config.URL)).Round(time.Millisecond)); t.Before(now) {
			return t
		}
		return now
	}
	return job.Wait{Queued: ours(r.QueueTime), Assigned: ours(r.AssignTime)}
}

// keepLocked renews a request that is held until a time, until ctx ends. When
// the lock is lost it calls lose with a *[job.Stop] and returns (protocol §7.1).
func (s *service) keepLocked(ctx context.Context, id job.RequestID, held time.Time, lose context.CancelCauseFunc) {
	defer s.deps.Health.lock(false)
	failures := 0
	for {
		if retry.Wait(ctx, s.untilRenewal(held, failures)) != nil {
			return
		}
		s.deps.Health.lock(true)
		request, err := s.renew(ctx, id)
		s.deps.Health.lock(true)
		switch {
		case err == nil:
			held, failures = s.heldUntil(request), 0
			s.log.DebugContext(ctx, "request lock renewed", "request_id", id, "locked_until", held)
		case ctx.Err() != nil:
			return
		case errors.Is(err, ado.ErrLockLost):
			s.log.WarnContext(ctx, "request lock lost", "request_id", id, "error", err)
			lose(&job.Stop{Reason: job.StopLockLost, Message: "the server no longer counts this job as ours: its lock was lost"})
			return
		case time.Now().After(held.Add(s.timings.lockAfter)):
			s.log.WarnContext(ctx, "request lock expired", "request_id", id, "error", err, "failures", failures)
			lose(&job.Stop{Reason: job.StopLockLost, Message: fmt.Sprintf("the job's lock could not be renewed and expired at %s", held.UTC().Format(time.RFC3339))})
			return
		default:
			failures++
			s.log.WarnContext(ctx, "renewing failed, trying again", "request_id", id, "error", err, "failures", failures)
		}
	}
}

// untilRenewal returns how long to wait before the next renewal: the usual
// period, or less for a lock that is short.
func (s *service) untilRenewal(held time.Time, failures int) time.Duration {
	wait := s.timings.renewal
	if failures > 0 {
		pause := s.timings.renewError
		if failures > 5 {
			pause = s.timings.renewErrLong
		}
		wait = retry.Between(pause.low, pause.high)
	}
	if left := time.Until(held); left > 0 {
		wait = min(wait, max(left/2, s.timings.renewError.low/10))
	}
	return wait
}

// isLost reports whether a lock's context ended because the lock is lost.
func isLost(lock context.Context) bool {
	reason, ok := errors.AsType[*job.Stop](context.Cause(lock))
	return ok && reason.Reason == job.StopLockLost
}
