// Package registryauth finds credentials for registries: for BuildKit during a
// solve, and for our own requests to a registry.
package registryauth

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/auth/authprovider"
	"google.golang.org/grpc"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Auth finds credentials for registries as the docker CLI does: in the
// config.json of one directory and with the credential helpers it names. A nil
// *Auth has none. It may be used concurrently.
type Auth struct {
	file    *configfile.ConfigFile
	helpers *configfile.ConfigFile // asked for what file has not; nil: nobody is
	seed    []byte
}

// Load reads the Docker configuration in dir. A directory without one has no
// credentials. Beside dir, docker/cli's own reader looks at DOCKER_AUTH_CONFIG.
func Load(dir string) (*Auth, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no directory is no credentials
	}
	file, err := config.Load(dir)
	if err != nil {
		return nil, hint.With(fmt.Errorf("reading the Docker configuration: %w", err), "repair config.json in %s, or set DOCKER_CONFIG to another directory", dir)
	}
	return newAuth(file, nil)
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
	operators, err := config.Load(trusted)
	if err != nil {
		return nil, hint.With(fmt.Errorf("reading the Docker configuration: %w", err), "repair config.json in %s, or set DOCKER_CONFIG to another directory", trusted)
	}
	helpers := configfile.New("")
	helpers.CredentialsStore, helpers.CredentialHelpers = operators.CredentialsStore, operators.CredentialHelpers
	for _, name := range append(slices.Collect(maps.Values(helpers.CredentialHelpers)), helpers.CredentialsStore) {
		if strings.ContainsAny(name, `/\`) || strings.Contains(name, "..") {
			return nil, hint.With(fmt.Errorf("the credential helper %q of the Docker configuration is a path", name),
				"put docker-credential-<name> on PATH, and that name into config.json in %s", trusted)
		}
	}
	return newAuth(file, helpers)
}

func newAuth(file, helpers *configfile.ConfigFile) (*Auth, error) {
	a := &Auth{file: file, helpers: helpers, seed: make([]byte, 32)}
	if _, err := rand.Read(a.seed); err != nil {
		return nil, fmt.Errorf("drawing a seed: %w", err)
	}
	return a, nil
}

// Resolve returns the credentials for a registry, for go-containerregistry.
func (a *Auth) Resolve(target authn.Resource) (authn.Authenticator, error) {
	if a == nil {
		return authn.Anonymous, nil
	}
	host := target.RegistryStr()
	if host == authn.DefaultAuthKey || host == "index.docker.io" {
		host = authprovider.DockerHubConfigfileKey
	}
	c, err := a.file.GetAuthConfig(host)
	if err == nil && a.helpers != nil && !holds(c) {
		c, err = a.helpers.GetAuthConfig(host)
	}
	if err != nil {
		return nil, fmt.Errorf("finding credentials for %s: %w", target.RegistryStr(), err)
	}
	conf := authn.AuthConfig{
		Username: c.Username, Password: c.Password, Auth: c.Auth,
		IdentityToken: c.IdentityToken, RegistryToken: c.RegistryToken,
	}
	if conf == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(conf), nil
}

// holds reports whether there are credentials in c.
func holds(c types.AuthConfig) bool {
	return c.Username+c.Password+c.Auth+c.IdentityToken+c.RegistryToken != ""
}

// provider finds credentials for BuildKit.
func (a *Auth) provider() authprovider.AuthConfigProvider {
	written := authprovider.LoadAuthConfig(a.file)
	if a.helpers == nil {
		return written
	}
	helped := authprovider.LoadAuthConfig(a.helpers)
	return func(ctx context.Context, host string, scopes []string, expired authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
		c, err := written(ctx, host, scopes, expired)
		if err != nil || holds(c) {
			return c, err
		}
		return helped(ctx, host, scopes, expired)
	}
}

// Attachable answers BuildKit's questions for credentials during a solve.
func (a *Auth) Attachable() (session.Attachable, error) {
	conf := authprovider.DockerAuthProviderConfig{}
	if a != nil {
		conf.AuthConfigProvider = a.provider()
	}
	inner, ok := authprovider.NewDockerAuthProvider(conf).(auth.AuthServer)
	if !ok {
		return nil, errors.New("BuildKit's registry credentials have another interface than this program was built for")
	}
	return &authServer{AuthServer: inner, auth: a}, nil
}

// authServer is BuildKit's provider except for the key by which buildkitd knows
// the holder of the same credentials again, to share tokens between sessions.
// BuildKit keeps a seed for it in the process's default Docker configuration; we
// keep one in memory, so the build writes no file there.
type authServer struct {
	auth.AuthServer
	auth *Auth
}

// Register makes the server part of a session.
func (s *authServer) Register(server *grpc.Server) { auth.RegisterAuthServer(server, s) }

// GetTokenAuthority returns the public key for a host and a salt.
func (s *authServer) GetTokenAuthority(ctx context.Context, req *auth.GetTokenAuthorityRequest) (*auth.GetTokenAuthorityResponse, error) {
	key, err := s.key(ctx, req.Host, req.Salt)
	if err != nil {
		return nil, err
	}
	return &auth.GetTokenAuthorityResponse{PublicKey: key[32:]}, nil
}

// VerifyTokenAuthority signs the payload with that key, in the form of NaCl's
// sign: signature, then payload.
func (s *authServer) VerifyTokenAuthority(ctx context.Context, req *auth.VerifyTokenAuthorityRequest) (*auth.VerifyTokenAuthorityResponse, error) {
	key, err := s.key(ctx, req.Host, req.Salt)
	if err != nil {
		return nil, err
	}
	return &auth.VerifyTokenAuthorityResponse{Signed: append(ed25519.Sign(key, req.Payload), req.Payload...)}, nil
}

// key derives the key from the salt and, where there are credentials, from them
// and the seed. Without credentials everybody has the same key: there is nothing
// to keep apart.
func (s *authServer) key(ctx context.Context, host string, salt []byte) (ed25519.PrivateKey, error) {
	creds, err := s.Credentials(ctx, &auth.CredentialsRequest{Host: host})
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, salt)
	if creds.Secret != "" {
		mac.Write(s.auth.seed)
		mac.Write([]byte(creds.Secret))
	}
	return ed25519.NewKeyFromSeed(mac.Sum(nil)[:ed25519.SeedSize]), nil
}
