package imagebuild

import (
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestCredentialsComeFromTheGivenDirectory(t *testing.T) {
	a, err := LoadAuth(contextDir(t, map[string]string{"config.json": `{"auths":{
		"reg.example:5000":{"auth":"bWU6c2VjcmV0"},
		"https://index.docker.io/v1/":{"auth":"aHViOnB3"}}}`}))
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"reg.example:5000": "me", "index.docker.io": "hub", "elsewhere.example": ""} {
		reg, err := name.NewRegistry(host)
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.Resolve(reg)
		if err != nil {
			t.Fatal(err)
		}
		conf, err := authn.Authorization(t.Context(), got)
		if err != nil || conf.Username != want {
			t.Errorf("credentials for %s = %q, %v, want %q", host, conf.Username, err, want)
		}
	}
	if a, err := LoadAuth(t.TempDir()); err != nil || a == nil {
		t.Errorf("LoadAuth of an empty directory = %v, %v", a, err)
	}
	if _, err := LoadAuth(contextDir(t, map[string]string{"config.json": "{"})); err == nil || len(hint.All(err)) == 0 {
		t.Errorf("LoadAuth of a broken file = %v, want an error with a hint", err)
	}
}

func TestBuildkitdKnowsTheHolderOfCredentialsAgain(t *testing.T) {
	dir := contextDir(t, map[string]string{"config.json": `{"auths":{"reg.example":{"auth":"bWU6c2VjcmV0"}}}`})
	a, err := LoadAuth(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := LoadAuth(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := func(a *Auth) (*authServer, [32]byte) {
		attachable, err := a.attachable()
		if err != nil {
			t.Fatal(err)
		}
		s := attachable.(*authServer) //nolint:forcetypeassert // as made above
		resp, err := s.GetTokenAuthority(t.Context(), &auth.GetTokenAuthorityRequest{Host: "reg.example", Salt: []byte("salt")})
		if err != nil {
			t.Fatal(err)
		}
		return s, [32]byte(resp.PublicKey)
	}
	server, public := key(a)
	if _, again := key(a); again != public {
		t.Error("the same credentials have two keys")
	}
	if _, foreign := key(other); foreign == public {
		t.Error("another process has the same key")
	}
	resp, err := server.VerifyTokenAuthority(t.Context(), &auth.VerifyTokenAuthorityRequest{Host: "reg.example", Salt: []byte("salt"), Payload: []byte("proof")})
	if err != nil {
		t.Fatal(err)
	}
	if payload, ok := sign.Open(nil, resp.Signed, &public); !ok || string(payload) != "proof" {
		t.Errorf("signature = %q, %t, want one that buildkitd accepts", payload, ok)
	}
}
