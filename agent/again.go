package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

// maxLives is how many registrations in a row may be lost within a minute each.
// Somebody or something that deletes the agent that persistently means it.
const maxLives = 5

// registerPatiently registers, and tries again while the server has trouble of
// its own. An operator who starts an agent hears of it after three attempts
// (protocol §2.6); an agent that was at work already waits as long as for a
// session, because the settings were good a moment ago.
func (a *Agent) registerPatiently(ctx context.Context, connections, pollConnections http.RoundTripper, life int) (r *registered, err error) {
	ctx = ado.Attended(ctx, a.deps.Health.poll)
	policy := a.patience()
	if life == 1 {
		policy.Attempts, policy.Total, policy.Retryable = 3, 0, troubled
	}
	err = retry.Do(ctx, policy, func(ctx context.Context) (err error) {
		a.deps.Health.poll()
		r, err = a.register(ctx, connections, pollConnections)
		return err
	})
	return r, err
}

// patience is that of an agent that was at work already.
func (a *Agent) patience() retry.Policy {
	return retry.Policy{
		First: a.timings.registerPause, Max: a.timings.sessionPause, Total: a.timings.sessionPatience, Retryable: ado.IsOutage,
		Notify: func(err error, attempt int, pause time.Duration) {
			a.log.Warn("the server does not answer as it should, trying again", "error", err, "attempt", attempt, "pause", pause)
		},
	}
}

// troubled reports whether the server failed, rather than refused. Connections
// that break are tried again below this already.
func troubled(err error) bool {
	status, ok := errors.AsType[*ado.StatusError](err)
	return ok && (status.Code >= http.StatusInternalServerError || status.Code == http.StatusTooManyRequests)
}

// again decides what follows the loss of a registration, which cause tells. It
// asks the server with the registration credential what became of the agent:
//
//   - gone: somebody deleted it. It registers again, after a random pause, when
//     the settings allow it and it is not an agent for one job that it already has.
//   - there, with another key: another process took its name. That one stays.
//   - there and ours: it was refused on purpose.
//
// In the last two cases, and whenever it cannot find out, again returns cause,
// advised.
func (a *Agent) again(ctx context.Context, r *registered, cause error, life int) (bool, error) {
	lost := errors.Is(cause, ado.ErrRevoked) || errors.Is(cause, ado.ErrAgentNotFound) || errors.Is(cause, ado.ErrUnauthorized)
	if !lost || ctx.Err() != nil {
		return false, cause
	}
	ctx = ado.Attended(ctx, a.deps.Health.poll)
	var found ado.TaskAgent
	err := retry.Do(ctx, a.patience(), func(ctx context.Context) (err error) {
		a.deps.Health.poll()
		found, err = r.admin.FindAgent(ctx, r.pool.ID, r.agent.Name)
		return err
	})
	switch {
	case ctx.Err() != nil:
		return false, nil // told to stop: there is nothing left to leave
	case err == nil && (found.ID != r.agent.ID || !r.holds(found)):
		return false, hint.With(fmt.Errorf("another process registered as %q: %w", r.agent.Name, ado.ErrUnauthorized),
			"set AZP_AGENT_NAME to a name of its own")
	case err == nil:
		return false, cause
	case !errors.Is(err, ado.ErrAgentNotFound):
		return false, fmt.Errorf("asking what became of the agent after %q: %w", cause, err) //nolint:errorlint // what the cause stands for is not known
	case !a.config.Reregister || a.config.Once && r.tookJob:
		return false, cause
	case life >= maxLives:
		return false, hint.With(fmt.Errorf("the agent was deleted %d times in a row: %w", life, cause),
			"find out who deletes it, or set DOCKLESS_REREGISTER to false")
	}
	pause := retry.Between(a.timings.again.low, a.timings.again.high)
	a.log.WarnContext(ctx, "the agent was deleted on the server and registers again", "agent", r.agent.Name, "agent_id", r.agent.ID, "pause", pause)
	if err := retry.Wait(ctx, pause); err != nil {
		return false, nil // told to stop: there is nothing left to leave
	}
	return true, nil
}

// leaveHalfRegistered removes the agent when the order to stop came while it was
// being registered: the request may have been carried out all the same. It is
// ours only if it has our key.
func (a *Agent) leaveHalfRegistered(ctx context.Context, connections http.RoundTripper) {
	if !a.config.Ephemeral {
		return
	}
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), a.timings.unregister,
		fmt.Errorf("looking for a half registered agent took longer than %s", a.timings.unregister))
	defer cancel()
	r := &registered{options: a.requestOptions(connections)}
	err := func() (err error) {
		if r.key, err = a.state.key(); err != nil {
			return err
		}
		if r.admin, err = a.admin(r.options); err != nil {
			return err
		}
		if r.pool, err = a.findPool(ctx, r.admin); err != nil {
			return err
		}
		r.agent, err = r.admin.FindAgent(ctx, r.pool.ID, a.config.Name)
		return err
	}()
	switch {
	case errors.Is(err, ado.ErrAgentNotFound):
	case err != nil:
		a.log.WarnContext(ctx, "the agent may stay behind half registered", "agent", a.config.Name, "error", err)
	case r.agent.Authorization != nil && r.agent.Authorization.PublicKey != nil && r.holds(r.agent):
		a.unregister(ctx, r)
	}
}

// holds reports whether found is registered with our key. A server that does not
// show the key is believed.
func (r *registered) holds(found ado.TaskAgent) bool {
	if found.Authorization == nil || found.Authorization.PublicKey == nil {
		return true
	}
	return bytes.Equal(found.Authorization.PublicKey.Modulus, ado.PublicKeyOf(r.key).Modulus)
}
