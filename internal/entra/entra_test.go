package entra_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func options(srv *entratest.Server) entra.Options {
	return entra.Options{HTTP: srv.Transport(), Log: slog.New(slog.DiscardHandler), Scope: entra.AzureDevOps, Retries: 1, RetryPause: time.Millisecond}
}

func source(t *testing.T, srv *entratest.Server, c entra.Config) *entra.Source {
	t.Helper()
	s, err := entra.New(c, options(srv))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func application(srv *entratest.Server) entra.Config {
	return entra.Config{TenantID: entratest.Tenant, ClientID: entratest.ClientID, AuthorityHost: srv.URL}
}

func withSecret(srv *entratest.Server) entra.Config {
	c := application(srv)
	c.ClientSecret = mask.NewSecret(srv.Secret)
	return c
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newCertificate registers a certificate and returns its file.
func newCertificate(t *testing.T, srv *entratest.Server) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "dockless"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	srv.SetCertificate(&key.PublicKey)
	return write(t, "client.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

// fakeAz puts an az on PATH that prints what the given script does.
func fakeAz(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
}

func TestEveryWayToSignInGivesATokenForAzureDevOps(t *testing.T) {
	for name, config := range map[string]func(*testing.T, *entratest.Server) entra.Config{
		"a federated token": func(t *testing.T, srv *entratest.Server) entra.Config {
			c := application(srv)
			c.FederatedTokenFile = write(t, "token", srv.FederatedToken())
			return c
		},
		"a certificate": func(t *testing.T, srv *entratest.Server) entra.Config {
			c := application(srv)
			c.CertificatePath = newCertificate(t, srv)
			return c
		},
		"a secret": func(_ *testing.T, srv *entratest.Server) entra.Config { return withSecret(srv) },
		"a secret, named as the environment's": func(_ *testing.T, srv *entratest.Server) entra.Config {
			c := withSecret(srv)
			c.Credential = "environmentcredential"
			return c
		},
		"the machine's identity": func(*testing.T, *entratest.Server) entra.Config { return entra.Config{} },
		"one identity of the machine": func(*testing.T, *entratest.Server) entra.Config {
			return entra.Config{Credential: "ManagedIdentityCredential", ClientID: entratest.ClientID}
		},
		"the Azure CLI": func(t *testing.T, srv *entratest.Server) entra.Config {
			token, life := srv.Issue()
			fakeAz(t, fmt.Sprintf(`case "$*" in *"--resource 499b84ac-1321-427f-aa17-267ca6975798"*) ;; *) exit 3 ;; esac
echo '{"accessToken":"%s","expires_on":%d}'`, token, time.Now().Add(life).Unix()))
			return entra.Config{Credential: "AzureCLICredential"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := entratest.New(t)
			token, err := source(t, srv, config(t, srv)).Token(t.Context())
			if err != nil || !srv.Accepts(token.Reveal()) {
				t.Errorf("Token = %v, %v, want one that the tenant issued", token, err)
			}
		})
	}
}

func TestATokenIsKeptUntilMostOfItsLifeIsOver(t *testing.T) {
	srv := entratest.New(t)
	s := source(t, srv, withSecret(srv))
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := s.Token(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := srv.Asked(); got != 1 {
		t.Errorf("sign-ins for twenty callers = %d, want one", got)
	}
	srv.SetLife(time.Second)
	renewed := source(t, srv, withSecret(srv))
	first, err := renewed.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(900 * time.Millisecond)
	if later, err := renewed.Token(t.Context()); err != nil || later.Equal(first) {
		t.Errorf("after 90 %% of its life the token is the same (%v), want another", err)
	}
}

func TestARefusedTokenIsForgotten(t *testing.T) {
	for name, config := range map[string]func(*entratest.Server) entra.Config{
		"of a service principal": withSecret,
		"of the machine":         func(*entratest.Server) entra.Config { return entra.Config{Credential: "ManagedIdentityCredential"} },
	} {
		t.Run(name, func(t *testing.T) {
			srv := entratest.New(t)
			s := source(t, srv, config(srv))
			first, err := s.Token(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			srv.Revoke()
			s.Refuse(first)
			second, err := s.Token(t.Context())
			if err != nil || second.Equal(first) || !srv.Accepts(second.Reveal()) {
				t.Errorf("after a refusal Token = the same or %v, want a new one", err)
			}
			s.Refuse(first)
			if third, err := s.Token(t.Context()); err != nil || !third.Equal(second) {
				t.Errorf("refusing an old token dropped the new one (%v)", err)
			}
		})
	}
}

// A service account's token and a certificate are replaced in the life of an agent.
func TestFilesAreReadAnewForEveryToken(t *testing.T) {
	srv := entratest.New(t)
	c := application(srv)
	c.FederatedTokenFile = write(t, "token", "eyJhbGciOiJub25lIn0.e30.")
	s := source(t, srv, c)
	if _, err := s.Token(t.Context()); err == nil {
		t.Fatal("a token that nobody signed was accepted")
	}
	if err := os.WriteFile(c.FederatedTokenFile, []byte(srv.FederatedToken()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Token(t.Context()); err != nil {
		t.Errorf("with the renewed file Token = %v, want a token", err)
	}
}

func TestATokenThatCannotBeRenewedIsUsedToItsEnd(t *testing.T) {
	srv := entratest.New(t)
	srv.SetLife(31 * time.Second) // the last half minute does not count
	s := source(t, srv, withSecret(srv))
	first, err := s.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	srv.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	if again, err := s.Token(t.Context()); err != nil || !again.Equal(first) {
		t.Errorf("Token = another, %v, want the one that is still good", err)
	}
}

// One law: whatever goes wrong, the error is one line with a hint that names a
// setting, and shows neither a secret nor a token.
func TestEveryFailureIsOneLineWithAHintAndWithoutSecrets(t *testing.T) {
	wrong := "wr0ng-s3cret-value"
	for name, c := range map[string]struct {
		change func(*testing.T, *entratest.Server, *entra.Config)
		want   string // in the error
		hint   string // in a hint
	}{
		"a wrong secret":         {func(_ *testing.T, _ *entratest.Server, c *entra.Config) { c.ClientSecret = mask.NewSecret(wrong) }, "invalid_client, AADSTS7000215", "AZURE_CLIENT_SECRET"},
		"an unknown application": {func(_ *testing.T, _ *entratest.Server, c *entra.Config) { c.ClientID = "other" }, "AADSTS700016", "AZURE_CLIENT_ID"},
		"an unknown tenant":      {func(_ *testing.T, _ *entratest.Server, c *entra.Config) { c.TenantID = "other" }, "AADSTS90002", "AZURE_TENANT_ID"},
		"a stranger's federated token": {func(t *testing.T, _ *entratest.Server, c *entra.Config) {
			c.FederatedTokenFile = write(t, "token", entratest.New(t).FederatedToken())
		}, "AADSTS700211", "federated credential"},
		"a certificate that nobody added": {func(t *testing.T, srv *entratest.Server, c *entra.Config) {
			c.CertificatePath = newCertificate(t, srv)
			srv.SetCertificate(nil)
		}, "AADSTS700027", "AZURE_CLIENT_CERTIFICATE_PATH"},
		"a file that is gone": {func(t *testing.T, srv *entratest.Server, c *entra.Config) {
			c.FederatedTokenFile = write(t, "token", srv.FederatedToken())
		}, "no such file", "AZURE_FEDERATED_TOKEN_FILE"},
		"no managed identity": {func(_ *testing.T, _ *entratest.Server, c *entra.Config) {
			*c = entra.Config{Credential: "ManagedIdentityCredential", ClientID: "other"}
		}, "169.254.169.254 refused with status 400", "managed identity"},
		"no az": {func(t *testing.T, _ *entratest.Server, c *entra.Config) {
			t.Setenv("PATH", t.TempDir())
			*c = entra.Config{Credential: "AzureCLICredential"}
		}, "not found on path", "az login"},
		"an az that quotes a token": {func(t *testing.T, srv *entratest.Server, c *entra.Config) {
			fakeAz(t, "echo 'ERROR: "+srv.FederatedToken()+" is no good' >&2; echo more >&2; exit 1")
			*c = entra.Config{Credential: "AzureCLICredential"}
		}, "*** is no good", "az login"},
		"an authority that is not there": {func(_ *testing.T, _ *entratest.Server, c *entra.Config) { c.AuthorityHost = "https://127.0.0.1:9/" }, "asking 127.0.0.1:9: ", "HTTPS_PROXY"},
		"an answer without sense": {func(_ *testing.T, srv *entratest.Server, c *entra.Config) {
			srv.Answer(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				_, _ = fmt.Fprintf(w, "\n{%q\nmore", r.Form.Get("client_secret"))
			})
		}, "", "AZURE_CLIENT_SECRET"},
		"a server error that repeats the request": {func(_ *testing.T, srv *entratest.Server, c *entra.Config) {
			srv.Answer(func(w http.ResponseWriter, r *http.Request) {
				_ = r.ParseForm()
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = fmt.Fprint(w, r.Form.Get("client_secret"))
			})
		}, "refused with status 500", "later"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := entratest.New(t)
			config := withSecret(srv)
			c.change(t, srv, &config)
			s := source(t, srv, config)
			if strings.HasSuffix(name, "gone") {
				if err := os.Remove(config.FederatedTokenFile); err != nil {
					t.Fatal(err)
				}
			}
			_, err := s.Token(t.Context())
			if err == nil {
				t.Fatal("Token succeeded, want an error")
			}
			text := err.Error() + strings.Join(hint.All(err), "; ")
			for _, secret := range []string{wrong, srv.Secret, "eyJ", "client_assertion"} {
				if strings.Contains(text, secret) {
					t.Errorf("the error shows %q: %s", secret, text)
				}
			}
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error = %q, want one line with %q", err, c.want)
			}
			if !strings.Contains(strings.Join(hint.All(err), "; "), c.hint) {
				t.Errorf("hints = %q, want one with %q", hint.All(err), c.hint)
			}
		})
	}
}

func TestSigningInWithNothingSetTriesTheMachineThenTheCLI(t *testing.T) {
	srv := entratest.New(t)
	token, life := srv.Issue()
	fakeAz(t, fmt.Sprintf(`echo '{"accessToken":"%s","expires_on":%d}'`, token, time.Now().Add(life).Unix()))
	o := options(srv)
	o.HTTP = nowhere{}
	s, err := entra.New(entra.Config{}, o)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Token(t.Context()); err != nil || got.Reveal() != token {
		t.Errorf("Token = %v, %v, want the CLI's", got, err)
	}
	t.Setenv("PATH", t.TempDir())
	s, err = entra.New(entra.Config{}, o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Token(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no metadata service") || !strings.Contains(err.Error(), "not found on path") {
		t.Errorf("error = %v, want one that says why neither works", err)
	}
}

// nowhere is a machine without a network.
type nowhere struct{}

func (nowhere) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("network is unreachable")
}

func TestAWaitForATokenEndsWithTheCauseOfTheContext(t *testing.T) {
	srv := entratest.New(t)
	release := make(chan struct{})
	defer close(release)
	asked := make(chan struct{}, 8)
	srv.Answer(func(_ http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	s := source(t, srv, withSecret(srv))
	power := errors.New("power failed")
	ctx, cancel := context.WithCancelCause(t.Context())
	results := make(chan error, 2)
	for range 2 {
		go func() { _, err := s.Token(ctx); results <- err }()
	}
	<-asked
	cancel(power)
	for range 2 {
		if err := <-results; !errors.Is(err, power) {
			t.Errorf("Token = %v, want the cause", err)
		}
	}
}
