// Package libpod speaks to the API of one Podman service: requests, answers and
// what has to be known of both. It decides nothing about stacks.
package libpod

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/containers/podman/v4/pkg/bindings"

	"github.com/dockless-ci/dockless/internal/retry"
)

// Client speaks to one Podman service. Its methods may be called concurrently.
type Client struct {
	URI     *url.URL // address of the service
	Version string   // of the service, as it was when [Connect] reached it

	http  *http.Client
	log   *slog.Logger
	again retry.Policy // for pulls

	asked   sync.Mutex
	machine Machine // zero until the service has told
}

// Connect opens a connection to host and checks that the service there speaks
// an API this package knows. One that is too old is named with what it has and
// what is needed.
func Connect(ctx context.Context, host string, log *slog.Logger) (*Client, error) {
	c, err := connect(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("connecting to Podman at %s: %w", host, err)
	}
	c.log, c.again = log, pullAgain
	if t, ok := c.http.Transport.(*http.Transport); ok {
		// A stack of ten services asks ten questions at once.
		t.MaxIdleConnsPerHost = 32
	}
	c.http = &http.Client{Transport: answers{c.http.Transport}}
	log.DebugContext(ctx, "podman service reached", "host", host, "version", c.Version)
	return c, nil
}

func connect(ctx context.Context, host string) (*Client, error) {
	address, err := url.Parse(host)
	if err != nil {
		return nil, err
	}
	network, at := address.Scheme, address.Host
	switch address.Scheme {
	case "tcp":
	case "unix":
		at = address.Path
	default:
		return connectThrough(ctx, host)
	}
	c := &Client{URI: address, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, at)
		},
		DisableCompression: true,
	}}}
	if c.Version, err = negotiate(ctx, c.http); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// connectThrough connects by way of a tunnel, which the bindings open.
func connectThrough(ctx context.Context, host string) (*Client, error) {
	connCtx, err := bindings.NewConnection(ctx, host)
	if err != nil {
		return nil, withCause(ctx, err)
	}
	conn, err := bindings.GetClient(connCtx)
	if err != nil {
		return nil, err
	}
	return &Client{http: conn.Client, URI: conn.URI, Version: bindings.ServiceVersion(connCtx).String()}, nil
}

// Close releases the connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Transport carries other requests to the service, whatever host they name. What
// others remove meanwhile does not disturb it, as it does not disturb c: see [answers].
func (c *Client) Transport() http.RoundTripper { return c.http.Transport }

// Ping asks the service whether it answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.call(ctx, request{method: http.MethodGet, path: "/_ping", what: "asking Podman whether it answers"}, nil)
}

// IDMap are the ranges of one kind of ids; without any, nothing is mapped.
type IDMap []struct {
	Container int `json:"container_id"`
	Host      int `json:"host_id"`
	Size      int `json:"size"`
}

// IDMappings asks the service which users of its host are which in its containers.
func (c *Client) IDMappings(ctx context.Context) (uids, gids IDMap, err error) {
	var answer struct {
		Host struct {
			IDMappings struct {
				UIDs IDMap `json:"uidmap"`
				GIDs IDMap `json:"gidmap"`
			} `json:"idMappings"`
		} `json:"host"`
	}
	err = c.call(ctx, request{method: http.MethodGet, path: "/info", what: "asking podman for its users"}, &answer)
	return answer.Host.IDMappings.UIDs, answer.Host.IDMappings.GIDs, err
}
