package registryauth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/session/auth/authprovider"
)

// answer are the credentials of one source. The zero answer is none.
type answer struct {
	conf   types.AuthConfig
	source string    // where they come from, in words for an operator
	ends   time.Time // when they stop to be good; zero is not known
}

// String leaves the secret out, for whoever prints an answer by accident.
func (a answer) String() string { return a.source }

func (a answer) empty() bool {
	c := a.conf
	return c.Username+c.Password+c.Auth+c.IdentityToken+c.RegistryToken == ""
}

// lookup returns the first answer for a registry, as it is named in images or by
// BuildKit; an empty one when no source has any.
func (a *Auth) lookup(ctx context.Context, registry string) (answer, error) {
	if a == nil {
		return answer{}, nil
	}
	key := configKey(registry)
	var found answer
	var err error
	if a.auths != nil {
		found.conf, err = a.auths.GetAuthConfig(key)
		found.source = "config.json"
	}
	if err == nil && found.empty() && a.helpers != nil {
		found, err = a.help(ctx, key)
	}
	if err == nil && found.empty() && a.cloud != nil {
		found, err = a.cloud.lookup(ctx, registry)
	}
	if err != nil {
		return answer{}, fmt.Errorf("finding credentials for %s: %w", registry, err)
	}
	return found, nil
}

// help asks the credential helper for a registry, if there is one.
func (a *Auth) help(ctx context.Context, key string) (answer, error) {
	name, named := a.helpers.CredentialHelpers[key]
	if !named {
		name = a.helpers.CredentialsStore
	}
	if name == "" {
		return answer{}, nil
	}
	a.mu.Lock()
	slot := slotFor(a.asked, name+" "+key)
	a.mu.Unlock()
	return slot.get(ctx, func(ctx context.Context) (answer, error) { return askHelper(ctx, name, key, helperTimeout) })
}

// configKey is the name that config.json and helpers have for a registry. Docker
// Hub has three for three kinds of clients.
func configKey(registry string) string {
	switch registry {
	case authn.DefaultAuthKey, "index.docker.io", "docker.io", authprovider.DockerHubRegistryHost:
		return authprovider.DockerHubConfigfileKey
	}
	return registry
}

// Explain says in a few words which source has credentials for a registry, and
// why one could not be asked; nothing in it is secret. It may wait for a
// credential helper or a cloud.
func (a *Auth) Explain(ctx context.Context, registry string) string {
	found, err := a.lookup(ctx, registry)
	switch {
	case err != nil:
		return oneLine(err.Error())
	case !found.empty():
		return found.source
	case a != nil && a.cloud != nil:
		if why := a.cloud.absence(ctx, registry); why != "" {
			return "none: " + oneLine(why)
		}
	}
	return "none"
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// How long an answer is kept, and a failure.
const (
	// unknownLife is how long credentials are kept whose end is not known. Google's
	// tokens may live for five minutes only.
	unknownLife = 4*time.Minute + 30*time.Second
	// renewalShare is the share of a known life after which new ones are fetched.
	renewalShare = 0.8
	// lastUse is how long before their end credentials are not given any more when
	// there are no new ones: the request they go with has to arrive.
	lastUse = 30 * time.Second
	// failurePause is how long a failure stands. One build asks for the same
	// registry several times, and each would wait as long as the first.
	failurePause = 20 * time.Second
)

// kept is an answer that is fetched again when its time has come. Concurrent
// callers wait for one fetch.
type kept struct {
	busy chan struct{} // holds one element while somebody reads or changes what follows
	// Guarded by busy:
	answer  answer
	err     error
	renewAt time.Time
}

// slotFor returns the slot of that name, a new one if need be. The caller guards
// slots.
func slotFor(slots map[string]*kept, name string) *kept {
	k, ok := slots[name]
	if !ok {
		k = &kept{busy: make(chan struct{}, 1)}
		slots[name] = k
	}
	return k
}

// get returns what was fetched, and fetches it if that was never done, or is too
// long ago. An answer outlives a failure to renew it until it ends.
func (k *kept) get(ctx context.Context, fetch func(context.Context) (answer, error)) (answer, error) {
	select {
	case k.busy <- struct{}{}:
		defer func() { <-k.busy }()
	case <-ctx.Done():
		return answer{}, context.Cause(ctx)
	}
	now := time.Now()
	if now.Before(k.renewAt) {
		return k.answer, k.err
	}
	fresh, err := fetch(ctx)
	now = time.Now()
	switch {
	case err != nil && ctx.Err() != nil:
		return answer{}, err // says nothing about the next caller's
	case err != nil && !k.answer.empty() && now.Before(k.answer.ends.Add(-lastUse)):
		k.renewAt = now.Add(failurePause)
	case err != nil:
		k.answer, k.err, k.renewAt = answer{}, err, now.Add(failurePause)
		if _, absent := errors.AsType[*absentError](err); absent {
			k.renewAt = now.Add(absencePause)
		}
	default:
		k.answer, k.err, k.renewAt = fresh, nil, now.Add(unknownLife)
		if !fresh.ends.IsZero() {
			k.renewAt = now.Add(time.Duration(float64(fresh.ends.Sub(now)) * renewalShare))
		}
	}
	return k.answer, k.err
}
