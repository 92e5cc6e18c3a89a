package podmanrun

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// Config says how a Podman service is reached.
type Config struct {
	Host           string        `envconfig:"CONTAINER_HOST" desc:"address of the Podman service, for example unix:///run/podman/podman.sock; empty tries the usual sockets, then starts a private service"`
	RuntimeDir     string        `envconfig:"XDG_RUNTIME_DIR" desc:"directory that holds the socket of a rootless Podman service and a private service's socket"`
	Program        string        `envconfig:"DOCKLESS_PODMAN" default:"podman" desc:"Podman program that is started as a private service when no service answers"`
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
	return errors.Join(errs...)
}
