package agent

import (
	"context"
	"net/http"

	"github.com/dockless-ci/dockless/internal/ado"
)

// requestOptions are those of every client of this agent; connections may be shared.
func (a *Agent) requestOptions(connections http.RoundTripper) ado.Options {
	return ado.Options{
		HTTP: connections, Log: a.log, UserAgent: a.deps.Product,
		Timeout: ado.DefaultTimeout, Retries: ado.DefaultRetries, RetryPause: a.timings.retryPause, Clock: &ado.Clock{},
	}
}

// admin returns a client with the administrator's credential that the settings
// name. It is the one place that knows which kinds there are.
func (a *Agent) admin(o ado.Options) (*ado.Registration, error) {
	if a.config.UsesAzure() {
		return ado.NewAzureRegistration(a.config.URL, a.deps.Tokens, o)
	}
	return ado.NewRegistration(a.config.URL, a.config.Token, o)
}

// put adds agent to the pool, or replaces existing with it, and sees to its user
// capabilities. For an agent that exists those come first: what is to be removed
// is remembered in what the replacement overwrites, and an attempt that fails in
// between must leave it there for the next one.
func (a *Agent) put(ctx context.Context, admin *ado.Registration, pool ado.PoolID, agent, existing ado.TaskAgent) (ado.TaskAgent, error) {
	if existing.ID != 0 {
		if err := a.putUserCapabilities(ctx, admin, pool, existing.ID, existing); err != nil {
			return ado.TaskAgent{}, err
		}
		return admin.ReplaceAgent(ctx, pool, agent)
	}
	stored, err := admin.AddAgent(ctx, pool, agent)
	if err != nil {
		return ado.TaskAgent{}, err
	}
	return stored, a.putUserCapabilities(ctx, admin, pool, stored.ID, existing)
}

// Tasks returns a client for the packages of tasks that is entered with the
// registration credential, so that packages can be kept before the first job. It
// does not connect; close gives its connections back.
func (a *Agent) Tasks() (tasks *ado.TaskClient, closeIdle func(), err error) {
	connections := a.deps.Network.NewHTTP()
	admin, err := a.admin(a.requestOptions(connections))
	if err != nil {
		return nil, nil, err
	}
	return admin.Tasks(), connections.CloseIdleConnections, nil
}
