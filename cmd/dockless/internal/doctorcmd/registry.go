package doctorcmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/credentials"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/registryhttp"
)

func (x *examination) registryChecks(log *slog.Logger) []doctor.Check {
	repositories := slices.Clone(x.flags.registries)
	cache := buildcache.Policy{Repo: x.Job.CacheRepo}.Repository()
	if cache != "" && x.Job.CacheExport != buildcache.ModeOff && !slices.Contains(repositories, cache) {
		repositories = append([]string{cache}, repositories...)
	}
	switch {
	case x.unusable[groupRegistry]:
		return []doctor.Check{always(groupRegistry, "push", skipped("%v", errUnusable))}
	case len(repositories) == 0 && cache != "":
		return []doctor.Check{always(groupRegistry, "push", skipped("DOCKLESS_CACHE_EXPORT is off: caches are only read"))}
	case len(repositories) == 0:
		return []doctor.Check{always(groupRegistry, "push", skipped("DOCKLESS_CACHE_REPO is not set: builds have no cache in a registry"))}
	}
	var checks []doctor.Check
	for _, repository := range repositories {
		checks = append(checks, doctor.Check{Group: groupRegistry, Topic: "push", Name: "push to " + hostOf(repository), Ask: answers(func(ctx context.Context) doctor.Result {
			return x.push(ctx, repository, log)
		})})
	}
	return checks
}

// hostOf is the registry of a repository, as far as one is named.
func hostOf(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	return host
}

// push asks whether a repository takes pushes.
func (x *examination) push(ctx context.Context, repository string, log *slog.Logger) doctor.Result {
	auth, err := x.registryLogins(log)
	if err != nil {
		return failed(err)
	}
	host := hostOf(repository)
	who := auth.Explain(ctx, host)
	cancelled, err := registryhttp.ProvePush(ctx, repository, auth, x.Job.Insecure)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%s: %w", host, context.Cause(ctx))
	}
	if err != nil {
		return failed(advisedPush(err, host, who))
	}
	text := fmt.Sprintf("%s takes pushes; credentials: %s", repository, who)
	if !cancelled {
		text += "; it did not take the upload back that was begun, and forgets it by itself"
	}
	return ok("%s", text)
}

// registryLogins are the credentials that builds have.
func (x *examination) registryLogins(log *slog.Logger) (*registryauth.Auth, error) {
	auth, err := registryauth.Load(settings.DockerConfigDir())
	if err != nil {
		return nil, err
	}
	cloud, err := credentials.NewCloud(x.Registries, x.Entra, http.DefaultTransport, log)
	if err != nil {
		return nil, err
	}
	return auth.With(cloud)
}

// advisedPush adds what to do about a push that is refused. who are the credentials.
func advisedPush(err error, host, who string) error {
	refusal, refused := errors.AsType[*transport.Error](err)
	if !refused {
		return hint.With(err, "check that %s is a registry and that this machine reaches it; name it in DOCKLESS_INSECURE_REGISTRIES if it speaks plain HTTP or has a certificate of its own", host)
	}
	switch refusal.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return hint.With(fmt.Errorf("%w (credentials: %s)", err, who), "log in to %s, with docker login in the directory of DOCKER_CONFIG, under an account that may push there", host)
	case http.StatusNotFound:
		return hint.With(err, "make the repository at %s, or let the registry make those that are pushed to", host)
	case http.StatusMethodNotAllowed, http.StatusServiceUnavailable, http.StatusInsufficientStorage:
		return hint.With(err, "the registry at %s is read-only: end its maintenance mode, or name one that can be written; with DOCKLESS_CACHE_EXPORT=off caches are only read", host)
	}
	return hint.With(err, "look into the log of the registry at %s", host)
}
