package podmanrun

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/docker/go-units"
)

// Config says how a Podman service is reached.
type Config struct {
	Host           string        `envconfig:"CONTAINER_HOST" desc:"address of the Podman service, for example unix:///run/podman/podman.sock; empty tries the usual sockets, then starts a private service"`
	RuntimeDir     string        `envconfig:"XDG_RUNTIME_DIR" desc:"directory that holds the socket of a rootless Podman service and a private service's socket"`
	Program        string        `envconfig:"DOCKLESS_PODMAN" default:"podman" desc:"Podman program that is started as a private service when no service answers"`
	WarmDir        string        `envconfig:"DOCKLESS_WARM_DIR" desc:"directory of the volumes that services with warm in a compose file are started from, which agents of one machine may share; on one file system with Podman's volumes they are copied by reference where it can. Empty is dockless-warm beside Podman's volumes where they can be written, else nothing is kept"`
	WarmSize       string        `envconfig:"DOCKLESS_WARM_SIZE" default:"5GiB" desc:"what everything in DOCKLESS_WARM_DIR may take, for example 500MiB; what was not used for longest is removed first. 0 keeps nothing"`
	ConnectTimeout time.Duration `envconfig:"DOCKLESS_PODMAN_TIMEOUT" default:"10s" desc:"longest wait for the Podman service to answer"`
}

// Validate reports every setting that cannot be used.
func (c Config) Validate() error {
	var errs []error
	if c.Host != "" {
		u, err := url.Parse(c.Host)
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("CONTAINER_HOST is not an address: %w", err))
		case !slices.Contains([]string{"unix", "tcp", "ssh"}, u.Scheme):
			errs = append(errs, fmt.Errorf("CONTAINER_HOST %q: the scheme is none of unix, tcp, ssh", c.Host))
		}
	}
	if c.Host == "" && c.Program == "" {
		errs = append(errs, errors.New("CONTAINER_HOST and DOCKLESS_PODMAN are both empty"))
	}
	if c.ConnectTimeout <= 0 {
		errs = append(errs, fmt.Errorf("DOCKLESS_PODMAN_TIMEOUT is %s, not a positive duration", c.ConnectTimeout))
	}
	if _, err := c.warmSize(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// warmSize is WarmSize in bytes; empty is 0.
func (c Config) warmSize() (int64, error) {
	if c.WarmSize == "" {
		return 0, nil
	}
	n, err := units.RAMInBytes(c.WarmSize)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("DOCKLESS_WARM_SIZE %q is no size like 5GiB", c.WarmSize)
	}
	return n, nil
}
