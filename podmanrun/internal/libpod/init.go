package libpod

import (
	"context"
	"net/http"
)

// InitContainer lets Podman do everything for the start of a container but run its
// program: its mounts are made and its process waits. One that is so far already is
// no error.
func (c *Client) InitContainer(ctx context.Context, id, name string) error {
	return c.call(ctx, request{method: http.MethodPost, path: "/containers/" + id + "/init", what: "preparing container " + name}, nil)
}
