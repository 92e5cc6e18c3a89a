package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/podman/v4/pkg/bindings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// systemSocket is where Podman's packages put the socket of the system service.
const systemSocket = "/run/podman/podman.sock"

// Client speaks to one Podman service. Its methods may be called concurrently.
// [Client.Close] ends it.
type Client struct {
	http  *http.Client
	uri   *url.URL
	child *child // the private service, nil when the service is somebody else's
	log   *slog.Logger

	version string // of the service
}

// Open connects to the Podman service that cfg names. Without cfg.Host it tries
// the sockets of the system's and the user's service and then starts a private
// service, which ends with [Client.Close]. Open takes at most
// cfg.ConnectTimeout and its errors carry a hint that names CONTAINER_HOST.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.ConnectTimeout,
		fmt.Errorf("the Podman service did not answer within %s", cfg.ConnectTimeout))
	defer cancel()
	if cfg.Host != "" {
		c, err := connect(ctx, cfg.Host, log)
		return c, hint.With(err, "start the service with \"podman system service --time=0 %s\" or set CONTAINER_HOST to the one that runs", cfg.Host)
	}
	for _, socket := range usualSockets(cfg.RuntimeDir) {
		if _, err := os.Stat(socket); err != nil {
			continue
		}
		c, err := connect(ctx, "unix://"+socket, log)
		if err == nil {
			return c, nil
		}
		log.DebugContext(ctx, "podman socket does not answer", "socket", socket, "error", err)
	}
	c, err := openPrivate(ctx, cfg, log)
	return c, hint.With(err, "install podman, or set CONTAINER_HOST to the address of a Podman service")
}

func usualSockets(runtimeDir string) []string {
	sockets := []string{systemSocket}
	if runtimeDir != "" {
		sockets = append(sockets, filepath.Join(runtimeDir, "podman", "podman.sock"))
	}
	return sockets
}

func openPrivate(ctx context.Context, cfg Config, log *slog.Logger) (*Client, error) {
	ch, err := startChild(ctx, cfg, log)
	if err != nil {
		return nil, fmt.Errorf("starting a private Podman service: %w", err)
	}
	c, err := connect(ctx, "unix://"+ch.socket, log)
	if err != nil {
		return nil, errors.Join(err, ch.stop())
	}
	c.child = ch
	return c, nil
}

// connect opens a connection to host and checks that the service there speaks
// an API this package knows.
func connect(ctx context.Context, host string, log *slog.Logger) (*Client, error) {
	if path, isUnix := strings.CutPrefix(host, "unix://"); isUnix {
		// The bindings try a missing socket three times; a look is enough.
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("connecting to Podman at %s: %w", host, err)
		}
	}
	connCtx, err := bindings.NewConnection(ctx, host)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return nil, fmt.Errorf("connecting to Podman at %s: %w", host, err)
	}
	conn, err := bindings.GetClient(connCtx)
	if err != nil {
		return nil, fmt.Errorf("connecting to Podman at %s: %w", host, err)
	}
	if t, ok := conn.Client.Transport.(*http.Transport); ok {
		// A stack of ten services asks ten questions at once.
		t.MaxIdleConnsPerHost = 32
	}
	version := bindings.ServiceVersion(connCtx).String()
	log.DebugContext(ctx, "podman service reached", "host", host, "version", version)
	return &Client{http: conn.Client, uri: conn.URI, log: log, version: version}, nil
}

// Version returns the version of the Podman service, as in "5.8.3", as it was
// when [Open] reached it. It is the Libpod-API-Version of its answers, which
// Podman sets to its own (podman, version/version.go: APIVersion, Libpod,
// CurrentAPI).
func (c *Client) Version() string { return c.version }

// Host returns the address of the service as CONTAINER_HOST would name it.
func (c *Client) Host() string { return c.uri.String() }

// Close releases the connections and ends a private service. Containers keep running.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	if c.child == nil {
		return nil
	}
	return c.child.stop()
}

// Transport carries other requests to the service than this package makes. It
// goes there whatever host a request names, and belongs to c.
func (c *Client) Transport() http.RoundTripper { return c.http.Transport }

// PublishedHost returns the host under which the steps reach published ports.
func (c *Client) PublishedHost() string {
	if c.uri.Scheme != "unix" && c.uri.Hostname() != "" {
		return c.uri.Hostname()
	}
	return "127.0.0.1"
}

// local reports whether the service most likely shares our file system.
func (c *Client) local() bool { return c.uri.Scheme == "unix" }
