package podmanrun

import (
	"context"
	"net/http"
)

// Ping asks the service whether it answers. It transfers a few bytes and takes
// no lock in Podman, so it may be called often.
func (c *Client) Ping(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodGet, path: "/_ping", what: "asking Podman whether it answers"}, nil)
}
