package libpod

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// exitPoll is how often the service looks whether a container has ended; it
	// costs Podman one lock and one stat.
	exitPoll = "100ms"
	// exitLook is how often we look ourselves; it costs Podman about 5 ms.
	exitLook = 500 * time.Millisecond
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

// WaitContainer blocks until the container has ended or ctx ends, and returns
// the exit code.
//
// Podman tells the end of a container when its cleanup process has written it
// down, and only 20 s later when that process could not run. So the container's
// state is looked at as well, less often.
func (c *Client) WaitContainer(ctx context.Context, id, name string) (code int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var told sync.WaitGroup
	defer told.Wait()
	defer cancel()
	type end struct {
		code int
		err  error
	}
	ends := make(chan end, 2)
	for _, wait := range []func(context.Context, string, string) (int, error){c.toldExit, c.seenExit} {
		told.Go(func() {
			code, err := wait(ctx, id, name)
			ends <- end{code, err}
		})
	}
	first := <-ends
	return first.code, first.err
}

// toldExit asks Podman to answer when the container has ended.
func (c *Client) toldExit(ctx context.Context, id, name string) (int, error) {
	var code any // a string or a number, depending on Podman's release
	err := c.call(ctx, request{
		method: http.MethodPost, path: "/containers/" + id + "/wait", bound: -1, what: "waiting for container " + name,
		query: url.Values{"condition": {"exited", "stopped"}, "interval": {exitPoll}},
	}, &code)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(fmt.Sprint(code)))
	if err != nil {
		return 0, fmt.Errorf("waiting for container %s: exit code %v: %w", name, code, err)
	}
	return n, nil
}

// seenExit looks at the container until it no longer runs.
func (c *Client) seenExit(ctx context.Context, id, _ string) (int, error) {
	for {
		if err := retry.Wait(ctx, exitLook); err != nil {
			return 0, err
		}
		answer, err := c.InspectContainer(ctx, id)
		if err != nil {
			return 0, err
		}
		if Ended(answer.State.Status) {
			return answer.State.ExitCode, nil
		}
	}
}

// Ended reports whether a state of Podman's means that the container has ended:
// "stopped" is one that nobody has cleaned up after yet.
func Ended(state string) bool { return state == "exited" || state == "stopped" }

// RemoveContainer stops and removes a container with its anonymous volumes.
// One that is gone already is no error.
func (c *Client) RemoveContainer(ctx context.Context, id, name string, grace time.Duration) error {
	seconds := strconv.Itoa(int((grace + time.Second - 1) / time.Second))
	err := c.call(ctx, request{
		method: http.MethodDelete, path: "/containers/" + id, what: "removing container " + name, bound: grace + requestTimeout,
		query: url.Values{"force": {"true"}, "volumes": {"true"}, "v": {"true"}, "timeout": {seconds}},
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
// and not healthy. A container that does not run is an error with status 409.
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
