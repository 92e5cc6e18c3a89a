// Package credentials knows with which credentials a command enters registries: those
// of the Docker configuration, and the identities of this machine and its user.
package credentials

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/podmanrun"
)

// OpenCloud prepares what enters registries with an identity of this machine
// or of its user, for commands that have no other way to Microsoft Entra. It
// connects to nobody yet.
func OpenCloud(log *slog.Logger) (*registryauth.Cloud, error) {
	var (
		registries registryauth.Config
		identity   entra.Config
	)
	if err := settings.Load(&registries); err != nil {
		return nil, err
	}
	if registries.NeedsEntra() { // else what is set of an identity is for something else
		if err := settings.Load(&identity); err != nil {
			return nil, err
		}
	}
	return NewCloud(registries, identity, http.DefaultTransport, log)
}

// ForBuilds are those of the Docker configuration and of this machine.
func ForBuilds(log *slog.Logger) (*registryauth.Auth, error) {
	auth, err := registryauth.Load(settings.DockerConfigDir())
	if err != nil {
		return nil, err
	}
	clouds, err := OpenCloud(log)
	if err != nil {
		return nil, err
	}
	return auth.With(clouds)
}

// ForPulls are those of [ForBuilds], for what Podman pulls. They are opened when the first registry is asked for.
func ForPulls(log *slog.Logger) podmanrun.Credentials {
	open := sync.OnceValues(func() (*registryauth.Auth, error) { return ForBuilds(log) })
	return func(ctx context.Context, registry string) (user, password, identityToken string, err error) {
		auth, err := open()
		if err != nil {
			return "", "", "", err
		}
		return auth.Login(ctx, registry)
	}
}

// NewCloud is [registryauth.NewCloud] with connections of its own to Google's
// metadata service: no proxy leads to the machine that this one runs on.
func NewCloud(c registryauth.Config, identity entra.Config, connections http.RoundTripper, log *slog.Logger) (*registryauth.Cloud, error) {
	cloud, err := registryauth.NewCloud(c, registryauth.CloudOptions{
		HTTP: connections, Entra: identity, Log: log,
		Metadata: &http.Transport{
			DialContext:       (&net.Dialer{Timeout: 2 * time.Second}).DialContext, // it is on this machine
			DisableKeepAlives: true,                                                // one token in an hour
		},
	})
	if err != nil {
		return nil, cmdline.Unusable(err)
	}
	return cloud, nil
}
