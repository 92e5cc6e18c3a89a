package libpod

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// StopContainer stops a container, with SIGKILL when it has not ended within
// grace. One that does not run is no error.
func (c *Client) StopContainer(ctx context.Context, id, name string, grace time.Duration) error {
	return c.act(ctx, id, "stop", "stopping container "+name, url.Values{"timeout": {wholeSeconds(grace)}}, grace+requestTimeout)
}

// RestartContainer stops a container and starts it again; one that does not run is
// started.
func (c *Client) RestartContainer(ctx context.Context, id, name string, grace time.Duration) error {
	// Podman reads one of the names or the other, by release.
	query := url.Values{"t": {wholeSeconds(grace)}, "timeout": {wholeSeconds(grace)}}
	return c.act(ctx, id, "restart", "restarting container "+name, query, grace+requestTimeout)
}

// KillContainer sends a signal to the process of a container. One that does not
// run is an error with status 409.
func (c *Client) KillContainer(ctx context.Context, id, name, signal string) error {
	return c.act(ctx, id, "kill", "sending "+signal+" to container "+name, url.Values{"signal": {signal}}, 0)
}

// PauseContainer freezes the processes of a container.
func (c *Client) PauseContainer(ctx context.Context, id, name string) error {
	return c.act(ctx, id, "pause", "pausing container "+name, nil, 0)
}

// UnpauseContainer lets the processes of a container go on.
func (c *Client) UnpauseContainer(ctx context.Context, id, name string) error {
	return c.act(ctx, id, "unpause", "unpausing container "+name, nil, 0)
}

func (c *Client) act(ctx context.Context, id, action, what string, query url.Values, bound time.Duration) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/containers/" + id + "/" + action, query: query, bound: bound, what: what}, nil)
}

// Top lists the processes of a container as ps does on Podman's machine: a line
// of titles and one of values for each.
func (c *Client) Top(ctx context.Context, id, name string) (titles []string, processes [][]string, err error) {
	var answer struct {
		Titles    []string
		Processes [][]string
	}
	err = c.call(ctx, request{
		method: http.MethodGet, path: "/containers/" + id + "/top", query: url.Values{"stream": {"false"}}, what: "listing the processes of container " + name,
	}, &answer)
	return answer.Titles, answer.Processes, err
}

// RemoveImage removes an image that no container uses. One that is gone already
// is no error.
func (c *Client) RemoveImage(ctx context.Context, image string) error {
	return c.remove(ctx, "/images/"+url.PathEscape(image), "removing image "+image, false, nil)
}

// wholeSeconds rounds up, because Podman takes no parts.
func wholeSeconds(d time.Duration) string {
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}
