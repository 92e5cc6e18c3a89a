package imagebuild

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
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
	file *configfile.ConfigFile
	seed []byte
}

// LoadAuth reads the Docker configuration in dir. A directory without one has no
// credentials. Beside dir, docker/cli's own reader looks at DOCKER_AUTH_CONFIG.
func LoadAuth(dir string) (*Auth, error) {
	if dir == "" {
		return nil, nil //nolint:nilnil // no directory is no credentials
	}
	file, err := config.Load(dir)
	if err != nil {
		return nil, hint.With(fmt.Errorf("reading the Docker configuration: %w", err), "repair config.json in %s, or set DOCKER_CONFIG to another directory", dir)
	}
	a := &Auth{file: file, seed: make([]byte, 32)}
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

// attachable answers BuildKit's questions for credentials during a solve.
func (a *Auth) attachable() (session.Attachable, error) {
	conf := authprovider.DockerAuthProviderConfig{}
	if a != nil {
		conf.AuthConfigProvider = authprovider.LoadAuthConfig(a.file)
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
