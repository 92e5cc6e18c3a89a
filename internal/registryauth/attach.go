package registryauth

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"errors"

	"github.com/docker/cli/cli/config/types"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"
	"github.com/moby/buildkit/session/auth/authprovider"
	"google.golang.org/grpc"
)

// Attachable answers BuildKit's questions for credentials during a solve.
func (a *Auth) Attachable() (session.Attachable, error) {
	conf := authprovider.DockerAuthProviderConfig{AuthConfigProvider: a.provide}
	inner, ok := authprovider.NewDockerAuthProvider(conf).(auth.AuthServer)
	if !ok {
		return nil, errors.New("BuildKit's registry credentials have another interface than this program was built for")
	}
	return &authServer{AuthServer: inner, auth: a}, nil
}

// provide finds credentials for BuildKit, which asks for every token.
func (a *Auth) provide(ctx context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
	found, err := a.lookup(ctx, host)
	return found.conf, err
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

// key derives the key from the salt and, where there are credentials, from their
// holder and the seed. Without credentials everybody has the same key: there is
// nothing to keep apart. A token that was renewed has the same holder.
func (s *authServer) key(ctx context.Context, host string, salt []byte) (ed25519.PrivateKey, error) {
	found, err := s.auth.lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	mac := hmac.New(sha256.New, salt)
	if !found.empty() {
		mac.Write(s.auth.seed)
		mac.Write([]byte(found.source + "\x00" + found.conf.Username))
	}
	return ed25519.NewKeyFromSeed(mac.Sum(nil)[:ed25519.SeedSize]), nil
}
