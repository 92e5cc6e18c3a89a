// Package registryauth finds credentials for registries: for BuildKit during a
// solve, for our own requests to a registry, and for what Podman pulls. It talks to the credential
// helpers of Docker, to the registries of Azure and to Google's metadata
// service.
//
// One use flows like this: [Load] or [Read] takes a Docker configuration,
// [Auth.With] adds the identities of a cloud, and BuildKit ([Auth.Attachable])
// and go-containerregistry ([Auth.Resolve]) ask it whenever they need a token,
// Podman's pulls once each ([Auth.Login]). All get the same answer: the first of a login, a credential helper and, for
// the registries that the operator named, an identity of the machine.
package registryauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Auth finds credentials for registries as the docker CLI does: in the
// config.json of one directory and with the credential helpers it names; then
// with the identities that [Auth.With] adds. A nil *Auth has none. It may be
// used concurrently.
type Auth struct {
	auths   *configfile.ConfigFile // names no helpers; nil: nobody is logged in
	helpers *configfile.ConfigFile // asked for what auths has not; nil: nobody is
	cloud   *Cloud                 // asked last; nil: nobody is
	seed    []byte

	mu    sync.Mutex
	asked map[string]*kept // by helper and registry
}

// Load reads the Docker configuration in dir. A directory without one has no
// credentials. Beside dir, docker/cli's own reader looks at DOCKER_AUTH_CONFIG.
func Load(dir string) (*Auth, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no directory is no credentials
	}
	file, err := load(dir)
	if err != nil {
		return nil, err
	}
	helpers := helpersOf(file)
	file.CredentialsStore, file.CredentialHelpers = "", nil
	for registry := range helpers.CredentialHelpers {
		delete(file.AuthConfigs, registry) // within one file docker asks the helper instead
	}
	return newAuth(file, helpers)
}

// Read takes the registries in auths from the text of a config.json, and
// nothing else: who wrote it could name a program of his own as a credential
// helper. The helpers are those of the configuration in the directory trusted, for
// registries that auths has nothing for; empty names none.
func Read(text []byte, trusted string) (*Auth, error) {
	var written struct {
		Auths json.RawMessage `json:"auths"`
	}
	file := configfile.New("")
	err := json.Unmarshal(text, &written)
	if err == nil && written.Auths != nil {
		var auths []byte
		if auths, err = json.Marshal(written); err == nil {
			err = file.LoadFromReader(bytes.NewReader(auths))
		}
	}
	if err != nil {
		// The content may be credentials, so the parser's message is not quoted.
		return nil, errors.New("reading the Docker configuration: config.json is no JSON, or its auths cannot be read")
	}
	if trusted == "" {
		return newAuth(file, nil)
	}
	operators, err := load(trusted)
	if err != nil {
		return nil, err
	}
	helpers := helpersOf(operators)
	for _, name := range append(slices.Collect(maps.Values(helpers.CredentialHelpers)), helpers.CredentialsStore) {
		if strings.ContainsAny(name, `/\`) || strings.Contains(name, "..") {
			return nil, hint.With(fmt.Errorf("the credential helper %q of the Docker configuration is a path", name),
				"put docker-credential-<name> on PATH, and that name into config.json in %s", trusted)
		}
	}
	return newAuth(file, helpers)
}

func load(dir string) (*configfile.ConfigFile, error) {
	file, err := config.Load(dir)
	if err != nil {
		return nil, hint.With(fmt.Errorf("reading the Docker configuration: %w", err), "repair config.json in %s, or set DOCKER_CONFIG to another directory", dir)
	}
	return file, nil
}

// helpersOf returns a configuration with the helpers of file and nothing else.
func helpersOf(file *configfile.ConfigFile) *configfile.ConfigFile {
	helpers := configfile.New("")
	helpers.CredentialsStore, helpers.CredentialHelpers = file.CredentialsStore, file.CredentialHelpers
	return helpers
}

func newAuth(auths, helpers *configfile.ConfigFile) (*Auth, error) {
	a := &Auth{auths: auths, helpers: helpers, seed: make([]byte, 32), asked: make(map[string]*kept)}
	if _, err := rand.Read(a.seed); err != nil {
		return nil, fmt.Errorf("drawing a seed: %w", err)
	}
	return a, nil
}

// With returns credentials as a has them that ask c for registries a has nothing
// for. A nil a has nothing for any, a nil c leaves a as it is.
func (a *Auth) With(c *Cloud) (*Auth, error) {
	if c == nil {
		return a, nil
	}
	if a == nil {
		a = &Auth{}
	}
	with, err := newAuth(a.auths, a.helpers)
	if err != nil {
		return nil, err
	}
	with.cloud = c
	return with, nil
}

// Resolve returns the credentials for a registry, for go-containerregistry. They
// are looked up each time that it asks for a token, so a push outlives a token.
func (a *Auth) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if a == nil {
		return authn.Anonymous, nil
	}
	return &resolved{auth: a, registry: target.RegistryStr()}, nil
}

// Basic returns the user and password for a registry, for programs that take no
// other credentials; both are empty when there are none.
func (a *Auth) Basic(ctx context.Context, registry string) (user string, password mask.Secret, err error) {
	found, err := a.lookup(ctx, registry)
	if err != nil {
		return "", mask.Secret{}, err
	}
	if c := found.conf; c.IdentityToken != "" {
		return TokenUser, mask.NewSecret(c.IdentityToken), nil
	}
	return found.conf.Username, mask.NewSecret(found.conf.Password), nil
}

// Login returns the credentials for a registry as Podman takes them: a user with a
// password or with an identity token; empty when there are none. It may wait for a
// credential helper or a cloud.
func (a *Auth) Login(ctx context.Context, registry string) (user, password, identityToken string, err error) {
	found, err := a.lookup(ctx, registry)
	return found.conf.Username, found.conf.Password, found.conf.IdentityToken, err
}

// resolved are the credentials for one registry.
type resolved struct {
	auth     *Auth
	registry string
}

// AuthorizationContext implements [authn.ContextAuthenticator].
func (r *resolved) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	found, err := r.auth.lookup(ctx, r.registry)
	if err != nil {
		return nil, err
	}
	c := found.conf
	return &authn.AuthConfig{
		Username: c.Username, Password: c.Password, Auth: c.Auth,
		IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	}, nil
}

// Authorization implements [authn.Authenticator]. Nobody calls it: all of
// go-containerregistry prefers the method above.
func (r *resolved) Authorization() (*authn.AuthConfig, error) {
	return nil, fmt.Errorf("finding credentials for %s: there is no context to do it in", r.registry)
}
