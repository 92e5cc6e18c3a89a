package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// systemSocket is where Podman's packages put the socket of the system service.
const systemSocket = "/run/podman/podman.sock"

// Client speaks to one Podman service. Its methods may be called concurrently.
// [Client.Close] ends it.
type Client struct {
	api   *libpod.Client
	child *child // the private service, nil when the service is somebody else's
	log   *slog.Logger

	warmDir  string // where fixtures are kept; empty is beside Podman's volumes
	warmSize int64  // bytes; zero keeps nothing
}

// StatusError is a refusal by the Podman service.
type StatusError = libpod.StatusError

// connect reaches the service at host.
func connect(ctx context.Context, host string, log *slog.Logger) (*Client, error) {
	api, err := libpod.Connect(ctx, host, log)
	if err != nil {
		return nil, err
	}
	return &Client{api: api, log: log}, nil
}

// Open connects to the Podman service that cfg names. Without cfg.Host it tries
// the sockets of the system's and the user's service and then starts a private
// service, which ends with [Client.Close]. Open takes at most
// cfg.ConnectTimeout and its errors carry a hint that names CONTAINER_HOST.
func Open(ctx context.Context, cfg Config, log *slog.Logger) (*Client, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c, err := open(ctx, cfg, log)
	if err != nil {
		return nil, err
	}
	c.warmDir = cfg.WarmDir
	c.warmSize, err = cfg.warmSize()
	return c, err
}

func open(ctx context.Context, cfg Config, log *slog.Logger) (*Client, error) {
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

// Version returns the version of the Podman service, as in "5.8.3", as it was
// when [Open] reached it. It is the Libpod-API-Version of its answers, which
// Podman sets to its own (podman, version/version.go: APIVersion, Libpod,
// CurrentAPI).
func (c *Client) Version() string { return c.api.Version }

// Host returns the address of the service as CONTAINER_HOST would name it.
func (c *Client) Host() string { return c.api.URI.String() }

// Close releases the connections and ends a private service. Containers keep running.
func (c *Client) Close() error {
	c.api.Close()
	if c.child == nil {
		return nil
	}
	return c.child.stop()
}

// Transport carries other requests to the service than this package makes. It
// goes there whatever host a request names, and belongs to c.
func (c *Client) Transport() http.RoundTripper { return c.api.Transport() }

// Log is where c logs, for what works beside it.
func (c *Client) Log() *slog.Logger { return c.log }

// PublishedHost returns the host under which the steps reach published ports.
func (c *Client) PublishedHost() string {
	if c.api.URI.Scheme != "unix" && c.api.URI.Hostname() != "" {
		return c.api.URI.Hostname()
	}
	return "127.0.0.1"
}

// local reports whether the service most likely shares our file system.
func (c *Client) local() bool { return c.api.URI.Scheme == "unix" }

// Ping asks the service whether it answers. It transfers a few bytes and takes
// no lock in Podman, so it may be called often.
func (c *Client) Ping(ctx context.Context) error { return c.api.Ping(ctx) }

// ImageExists reports whether the Podman service has the image, without asking
// a registry.
func (c *Client) ImageExists(ctx context.Context, image string) (bool, error) {
	return c.api.ImageExists(ctx, image)
}

// LoadImage reads an image archive, as "docker save" or a BuildKit exporter
// writes it, into Podman's storage and returns the names of its images.
func (c *Client) LoadImage(ctx context.Context, archive io.Reader) ([]string, error) {
	return c.api.LoadImage(ctx, archive)
}
