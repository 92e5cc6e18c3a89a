package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/dockless-ci/dockless/internal/hint"
)

// ErrNoService says that no Podman service was named and none of the usual sockets
// is there.
var ErrNoService = errors.New("no Podman service runs at the usual sockets")

// Connect is [Open] that starts no service: without cfg.Host, a usual socket that
// is there has to answer. It returns [ErrNoService] when there is none.
func Connect(ctx context.Context, cfg Config, log *slog.Logger) (*Client, error) {
	host := cfg.Host
	if host == "" {
		for _, socket := range usualSockets(cfg.RuntimeDir) {
			if _, err := os.Lstat(socket); err == nil {
				host = "unix://" + socket
				break
			}
		}
	}
	if host == "" {
		return nil, hint.With(ErrNoService, "set CONTAINER_HOST to the address of a Podman service, or install podman, which jobs then start for themselves")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.ConnectTimeout, fmt.Errorf("the Podman service did not answer within %s", cfg.ConnectTimeout))
	defer cancel()
	c, err := connect(ctx, host, log)
	return c, hint.With(err, "start the service with \"podman system service --time=0 %s\" or set CONTAINER_HOST to the one that runs", host)
}

// Engine is what a Podman service says about itself.
type Engine struct {
	Rootless       bool
	Arch           string // in Go's words
	Runtime        string // the OCI runtime that starts containers
	CgroupVersion  string // v1 or v2
	NetworkBackend string // netavark or cni
	Storage        string // driver: overlay, vfs, …
	Root           string // directory of its images and containers
	Size, Used     int64  // bytes of the disk that this is on; zero when it does not say
}

// Engine asks the service.
func (c *Client) Engine(ctx context.Context) (Engine, error) {
	i, err := c.api.Info(ctx)
	if err != nil {
		return Engine{}, err
	}
	return Engine{
		Rootless: i.Host.Security.Rootless, Arch: i.Host.Arch, Runtime: i.Host.OCIRuntime.Name, CgroupVersion: i.Host.CgroupVersion,
		NetworkBackend: i.Host.NetworkBackend, Storage: i.Store.Driver, Root: i.Store.Root, Size: i.Store.Allocated, Used: i.Store.Used,
	}, nil
}
