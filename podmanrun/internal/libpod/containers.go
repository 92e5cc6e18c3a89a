package libpod

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// CreateContainer makes a container and returns its ID.
func (c *Client) CreateContainer(ctx context.Context, r *CreateRequest) (id string, err error) {
	var answer struct {
		ID string `json:"Id"`
	}
	err = c.call(ctx, request{method: http.MethodPost, path: "/containers/create", body: r, what: "creating container " + r.Name}, &answer)
	return answer.ID, err
}

// StartContainer starts a container.
func (c *Client) StartContainer(ctx context.Context, id, name string) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/containers/" + id + "/start", what: "starting container " + name}, nil)
}

// InspectContainer returns what is known of a container. One that is not there is
// a [*StatusError] with code 404.
func (c *Client) InspectContainer(ctx context.Context, id string) (*Container, error) {
	var answer Container
	err := c.call(ctx, request{method: http.MethodGet, path: "/containers/" + url.PathEscape(id) + "/json", what: "inspecting container " + id}, &answer)
	if err != nil {
		return nil, err
	}
	return &answer, nil
}

// Ended reports whether a state of Podman's means that the container has ended:
// "stopped" is one that nobody has cleaned up after yet.
func Ended(state string) bool { return state == "exited" || state == "stopped" }

// StopSignal is the signal that asks the container to end.
func (c *Container) StopSignal() string {
	switch signal := c.Config.StopSignal.(type) {
	case string:
		if signal != "" {
			return signal
		}
	case float64:
		if signal > 0 {
			return strconv.Itoa(int(signal))
		}
	}
	return "SIGTERM"
}

// OutputSince is a time before the first output of the container's last run, and
// after that of the one before; zero when there was none. It is not the start: that
// is noted when the process already writes.
func (c *Container) OutputSince() time.Time {
	if c.State.Finished.Before(c.State.StartedAt) && c.State.Finished.Unix() > 0 {
		return c.State.Finished
	}
	return time.Time{}
}

// StartsAgain reports whether the restart policy of a container that has ended wants
// it to be started again. Before Podman 5 nobody tells that it was stopped on purpose.
func (c *Container) StartsAgain() bool {
	policy := c.HostConfig.RestartPolicy
	switch policy.Name {
	case "always", "unless-stopped":
		return !c.State.Stopped
	case "on-failure":
		return !c.State.Stopped && c.State.ExitCode != 0 && (policy.MaximumRetryCount == 0 || c.Restarts < policy.MaximumRetryCount)
	}
	return false
}

// RemoveContainer stops and removes a container with its anonymous volumes.
// One that is gone already is no error.
func (c *Client) RemoveContainer(ctx context.Context, id, name string, grace time.Duration) error {
	return c.removeContainer(ctx, id, name, grace, false)
}

// RemoveWithDependents is [Client.RemoveContainer] for one in whose namespaces others
// may live: Podman removes them as well.
func (c *Client) RemoveWithDependents(ctx context.Context, id, name string, grace time.Duration) error {
	return c.removeContainer(ctx, id, name, grace, true)
}

func (c *Client) removeContainer(ctx context.Context, id, name string, grace time.Duration, depend bool) error {
	err := c.call(ctx, request{
		method: http.MethodDelete, path: "/containers/" + id, what: "removing container " + name, bound: grace + requestTimeout,
		query: url.Values{"force": {"true"}, "volumes": {"true"}, "v": {"true"}, "timeout": {wholeSeconds(grace)}, "depend": {strconv.FormatBool(depend)}},
	}, nil)
	if HasStatus(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// ListContainers returns the containers, running or not, that carry all labels.
func (c *Client) ListContainers(ctx context.Context, labels map[string]string) ([]Listed, error) {
	query := filters(labels)
	query.Set("all", "true")
	var list []Listed
	err := c.call(ctx, request{method: http.MethodGet, path: "/containers/json", query: query, what: "listing containers"}, &list)
	list = slices.DeleteFunc(list, func(l Listed) bool { return !Carries(l.Labels, labels) })
	return list, err
}

// CheckContainer runs the container's healthcheck once. Podman does not bound
// the command's time, so a check that exceeds timeout is given up: it is slow
// and not healthy, and its command goes on by itself. A container that does not
// run is an error with status 409.
func (c *Client) CheckContainer(ctx context.Context, id, name string, timeout time.Duration) (healthy, slow bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var answer struct{ Status string }
	err = c.call(bounded, request{method: http.MethodGet, path: "/containers/" + id + "/healthcheck", bound: -1, what: "checking the health of container " + name}, &answer)
	switch {
	case err == nil:
		return answer.Status == "healthy", false, nil
	case ctx.Err() == nil && bounded.Err() != nil:
		return false, true, nil
	case HasStatus(err, http.StatusInternalServerError):
		return false, false, nil // the command could not be run
	}
	return false, false, err
}
