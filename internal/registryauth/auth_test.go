package registryauth

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/moby/buildkit/session/auth"
	"golang.org/x/crypto/nacl/sign"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestCredentialsComeFromTheGivenDirectory(t *testing.T) {
	a, err := Load(configDir(t, `{"auths":{
		"reg.example:5000":{"auth":"bWU6c2VjcmV0"},
		"https://index.docker.io/v1/":{"auth":"aHViOnB3"}}}`))
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
	if a, err := Load(t.TempDir()); err != nil || a == nil {
		t.Errorf("Load of an empty directory = %v, %v", a, err)
	}
	if _, err := Load(configDir(t, "{")); err == nil || len(hint.All(err)) == 0 {
		t.Errorf("Load of a broken file = %v, want an error with a hint", err)
	}
}

// helper puts a credential helper on PATH that notes that it ran.
func helper(t *testing.T, name string) (ran string) {
	t.Helper()
	dir := t.TempDir()
	ran = filepath.Join(dir, "ran")
	text := "#!/bin/sh\n: > " + ran + "\necho '{\"Username\":\"" + name + "\",\"Secret\":\"s\"}'\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-"+name), []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return ran
}

func TestOnlyATrustedConfigurationNamesHelpers(t *testing.T) {
	evil, good := helper(t, "evil"), helper(t, "good")
	trusted := configDir(t, `{"auths":{"reg.example":{"auth":"b2xkOm9sZA=="}},"credsStore":"good"}`)
	slashed := strings.Repeat("../", 20) + filepath.Dir(evil)[1:] + "/docker-credential-evil"
	for what, c := range map[string]struct{ text, trusted, host, want string }{
		"a helper of the job's":      {`{"credsStore":"evil","credHelpers":{"reg.example":"evil"}}`, "", "reg.example", ""},
		"one beside the operator's":  {`{"credsStore":"evil","credHelpers":{"reg.example":"evil"}}`, trusted, "reg.example", "good"},
		"credentials of the job's":   {`{"auths":{"reg.example":{"auth":"bWU6c2VjcmV0"}},"credsStore":"evil"}`, trusted, "reg.example", "me"},
		"a path":                     {`{"credsStore":"` + slashed + `"}`, "", "reg.example", ""},
		"no file of the operator's":  {`{"credsStore":"evil"}`, t.TempDir(), "reg.example", ""},
		"Docker Hub by its old name": {`{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnB3"}}}`, trusted, "index.docker.io", "hub"},
	} {
		a, err := Read([]byte(c.text), c.trusted)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		reg, err := name.NewRegistry(c.host)
		if err != nil {
			t.Fatal(err)
		}
		found, err := a.Resolve(reg)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		conf, err := authn.Authorization(t.Context(), found)
		if err != nil || conf.Username != c.want {
			t.Errorf("%s: %s is entered by %q, %v, want %q", what, c.host, conf.Username, err, c.want)
		}
		if c.host != "reg.example" {
			continue
		}
		if given, err := a.provide(t.Context(), c.host, nil, nil); err != nil || given.Username != c.want {
			t.Errorf("%s: BuildKit gets %q, %v, want %q", what, given.Username, err, c.want)
		}
	}
	if _, err := os.Stat(evil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the planted helper ran: %v", err)
	}
	if _, err := os.Stat(good); err != nil {
		t.Errorf("the operator's helper did not run: %v", err)
	}
	if _, err := Read([]byte(`{}`), configDir(t, `{"credHelpers":{"a":"x/../../y"}}`)); err == nil || len(hint.All(err)) == 0 {
		t.Errorf("a helper that is a path = %v, want an error with a hint", err)
	}
	for _, text := range []string{"", "{", `{"auths":"se-cret"}`, `{"auths":{"a":{"auth":"se-cret"}}}`} {
		if _, err := Read([]byte(text), ""); err == nil || strings.Contains(err.Error(), "se-cret") {
			t.Errorf("Read(%q) = %v, want an error that quotes nothing", text, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"auths":{"reg.example":{"auth":"bWU6c2VjcmV0"}},"credsStore":"evil"}`))
	f.Add([]byte(`{"auths":null,"credHelpers":{"a":"b"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := Read(text, "")
		if err == nil && (a.auths.CredentialsStore != "" || len(a.auths.CredentialHelpers) > 0 || a.helpers != nil) {
			t.Errorf("%q names a helper", text)
		}
	})
}

func TestBuildkitdKnowsTheHolderOfCredentialsAgain(t *testing.T) {
	dir := configDir(t, `{"auths":{"reg.example":{"auth":"bWU6c2VjcmV0"}}}`)
	a, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	key := func(a *Auth) (*authServer, [32]byte) {
		attachable, err := a.Attachable()
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

// configDir is a Docker configuration directory with one file.
func configDir(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
