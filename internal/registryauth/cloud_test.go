package registryauth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/docker/cli/cli/config/types"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nobody is a machine without a metadata service.
var nobody = tripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") })

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// cloudOf returns what may enter the registries, and what it logs.
func cloudOf(t *testing.T, o CloudOptions, registries ...string) (*Cloud, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if o.Metadata == nil {
		o.Metadata = nobody
	}
	c, err := NewCloud(Config{Identity: registries}, o)
	if err != nil {
		t.Fatal(err)
	}
	return c, &log
}

// tenantOf are the options of a machine that is an application of the tenant.
func tenantOf(srv *entratest.Server) CloudOptions {
	return CloudOptions{HTTP: srv.Transport(), Entra: entra.Config{
		TenantID: entratest.Tenant, ClientID: entratest.ClientID, ClientSecret: mask.NewSecret(srv.Secret), AuthorityHost: srv.URL,
	}}
}

func with(t *testing.T, a *Auth, c *Cloud) *Auth {
	t.Helper()
	a, err := a.With(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ask returns what BuildKit and go-containerregistry are told, which is the same.
func ask(t *testing.T, a *Auth, host string) (types.AuthConfig, error) {
	t.Helper()
	told, err := a.provide(t.Context(), host, nil, nil)
	reg, rerr := name.NewRegistry(host)
	if rerr != nil {
		t.Fatal(rerr)
	}
	found, rerr := a.Resolve(reg)
	if rerr != nil {
		t.Fatal(rerr)
	}
	conf, rerr := authn.Authorization(t.Context(), found)
	if (err == nil) != (rerr == nil) || err == nil && (conf.Password != told.Password || conf.IdentityToken != told.IdentityToken || conf.Username != told.Username) {
		t.Errorf("for %s BuildKit is told %v, %v and go-containerregistry %v, %v", host, told, err, conf, rerr)
	}
	return told, err
}

func TestARegistryOfAzureIsEnteredWithTheAgentsIdentity(t *testing.T) {
	federated := filepath.Join(t.TempDir(), "token")
	for what, c := range map[string]struct {
		change func(*entratest.Server, *CloudOptions)
		source string
	}{
		"a secret": {func(*entratest.Server, *CloudOptions) {}, "Entra identity (secret)"},
		"workload identity": {func(srv *entratest.Server, o *CloudOptions) {
			o.Entra.ClientSecret = mask.Secret{}
			o.Entra.FederatedTokenFile = federated
			if err := os.WriteFile(federated, []byte(srv.FederatedToken()), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "Entra identity (workload identity)"},
		"the machine's identity":      {func(_ *entratest.Server, o *CloudOptions) { o.Entra = entra.Config{} }, "Entra identity (managed identity)"},
		"a tenant without registries": {func(srv *entratest.Server, _ *CloudOptions) { srv.ForgetRegistries() }, "Entra identity (secret)"},
	} {
		t.Run(what, func(t *testing.T) {
			srv := entratest.New(t)
			o := tenantOf(srv)
			c.change(srv, &o)
			cloud, log := cloudOf(t, o, "team.azurecr.io")
			a := with(t, nil, cloud)
			got, err := ask(t, a, "team.azurecr.io")
			if err != nil || !srv.AcceptsAt("team.azurecr.io", got.IdentityToken) || got.Username != TokenUser || got.Password != "" {
				t.Errorf("credentials = %+v, %v, want a token that the registry issued", got, err)
			}
			if text := a.Explain(t.Context(), "team.azurecr.io"); text != c.source {
				t.Errorf("Explain() = %q, want %q", text, c.source)
			}
			if srv.Exchanges() != 1 {
				t.Errorf("the registry was asked %d times, want once", srv.Exchanges())
			}
			if strings.Contains(log.String(), got.IdentityToken) || strings.Contains(log.String(), "eyJ") {
				t.Errorf("the log has a token: %s", log)
			}
		})
	}
}

func TestOnlyTheRegistriesThatTheOperatorNamedAreEntered(t *testing.T) {
	srv := entratest.New(t)
	cloud, _ := cloudOf(t, tenantOf(srv), "team.azurecr.io", "*-dev.azurecr.io")
	a := with(t, nil, cloud)
	for host, want := range map[string]bool{
		"team.azurecr.io": true, "TEAM.azurecr.io": true, "one-dev.azurecr.io": true,
		"evil.azurecr.io": false, "team.azurecr.io.evil.example": false, "team.azurecr.io:8443": false, "docker.io": false, "localhost:5000": false,
	} {
		got, err := ask(t, a, host)
		if err != nil || (got.IdentityToken != "") != want {
			t.Errorf("%s: token %t, %v, want %t", host, got.IdentityToken != "", err, want)
		}
	}
	if text := a.Explain(t.Context(), "evil.azurecr.io"); text != "none: DOCKLESS_REGISTRY_IDENTITY does not name it" {
		t.Errorf("Explain() = %q", text)
	}
	none, _ := cloudOf(t, tenantOf(srv))
	before := srv.Asked()
	if got, err := ask(t, with(t, nil, none), "team.azurecr.io"); err != nil || got != (types.AuthConfig{}) || srv.Asked() != before {
		t.Errorf("without the setting %v, %v, and Entra was asked %d times", got, err, srv.Asked()-before)
	}
}

func TestALoginGoesBeforeAHelperAndThatBeforeAnIdentity(t *testing.T) {
	srv := entratest.New(t)
	helper(t, "good")
	cloud, _ := cloudOf(t, tenantOf(srv), "*.azurecr.io")
	text := `{"auths":{"login.azurecr.io":{"auth":"bWU6c2VjcmV0"}}}`
	trusted := configDir(t, `{"credHelpers":{"login.azurecr.io":"good","helped.azurecr.io":"good"}}`)
	a, err := Read([]byte(text), trusted)
	if err != nil {
		t.Fatal(err)
	}
	a = with(t, a, cloud)
	for host, want := range map[string]string{
		"login.azurecr.io": "config.json", "helped.azurecr.io": "credential helper docker-credential-good",
		"other.azurecr.io": "Entra identity (secret)", "reg.example": "none",
	} {
		if got := a.Explain(t.Context(), host); got != want {
			t.Errorf("Explain(%s) = %q, want %q", host, got, want)
		}
	}
	// Within one file, docker asks the helper that it names for the registry.
	own, err := Load(configDir(t, `{"auths":{"reg.example":{"auth":"b2xkOm9sZA=="},"kept.example":{"auth":"b2xkOm9sZA=="}},"credHelpers":{"reg.example":"good"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := own.Explain(t.Context(), "reg.example")+", "+own.Explain(t.Context(), "kept.example"), "credential helper docker-credential-good, config.json"; got != want {
		t.Errorf("Explain() = %q, want %q", got, want)
	}
}

func TestATokenIsRenewedBeforeItEndsAndSharedUntilThen(t *testing.T) {
	srv := entratest.New(t)
	srv.SetLife(2 * time.Second)
	cloud, _ := cloudOf(t, tenantOf(srv), "*")
	var tokens sync.Map
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() { // each step of a job reads its credentials anew
			found, err := with(t, nil, cloud).lookup(t.Context(), "team.azurecr.io")
			if err != nil {
				t.Error(err)
			}
			tokens.Store(found.conf.IdentityToken, true)
		})
	}
	group.Wait()
	first := srv.Exchanges()
	if first != 1 {
		t.Errorf("20 steps asked the registry %d times, want once", first)
	}
	time.Sleep(2 * time.Second)
	if got, err := ask(t, with(t, nil, cloud), "team.azurecr.io"); err != nil || !srv.AcceptsAt("team.azurecr.io", got.IdentityToken) {
		t.Errorf("after its end the token is %v, %v, want a new one", got.IdentityToken, err)
	}
}

func TestARefusalNamesTheRoleAndNoSecret(t *testing.T) {
	srv := entratest.New(t)
	cloud, log := cloudOf(t, tenantOf(srv), "*.azurecr.io")
	_, err := ask(t, with(t, nil, cloud), "closed.azurecr.io")
	refused, ok := errors.AsType[*ExchangeError](err)
	if !ok || refused.Status != 401 || refused.Code != "UNAUTHORIZED" || !strings.Contains(strings.Join(hint.All(err), " "), "AcrPull") {
		t.Errorf("error = %v, hints %q", err, hint.All(err))
	}
	if srv.Exchanges() != 1 {
		t.Errorf("a refusal was asked for %d times, want once", srv.Exchanges())
	}
	if strings.Contains(err.Error()+log.String(), "eyJ") {
		t.Errorf("the refusal quotes a token: %v\n%s", err, log)
	}
}

func TestAServicePrincipalGetsAPasswordOfOneRegistry(t *testing.T) {
	srv := entratest.New(t)
	cloud, _ := cloudOf(t, CloudOptions{HTTP: srv.Transport()}) // no identity of its own
	p := Principal{TenantID: entratest.Tenant, ClientID: entratest.ClientID, Key: mask.NewSecret(srv.Secret), Authority: srv.URL}
	password, err := cloud.Login(t.Context(), "team.azurecr.io", p)
	if err != nil || !srv.AcceptsAt("team.azurecr.io", password.Reveal()) {
		t.Errorf("Login() = %v, %v", password, err)
	}
	p.Key = mask.NewSecret("expired-key")
	if _, err := cloud.Login(t.Context(), "team.azurecr.io", p); err == nil || strings.Contains(err.Error(), "expired-key") || len(hint.All(err)) > 0 || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("with a wrong key = %v, hints %q", err, hint.All(err))
	}
}

// metadataService is Google's for a machine or a pod.
func metadataService(t *testing.T, life int) (http.RoundTripper, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := asked.Add(1)
		if r.Header.Get("Metadata-Flavor") != "Google" || r.URL.Path != "/computeMetadata/v1/instance/service-accounts/default/token" {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Metadata-Flavor", "Google")
		_, _ = fmt.Fprintf(w, `{"access_token":"ya29.%d","expires_in":%d,"token_type":"Bearer"}`, n, life)
	}))
	t.Cleanup(srv.Close)
	t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(srv.URL, "http://"))
	transport := &http.Transport{DisableKeepAlives: true}
	return transport, &asked
}

func TestARegistryOfGoogleIsEnteredWithTheServiceAccountOfThePod(t *testing.T) {
	metadata, asked := metadataService(t, 3600)
	cloud, _ := cloudOf(t, CloudOptions{HTTP: nobody, Metadata: metadata}, "*-docker.pkg.dev", "eu.gcr.io")
	a := with(t, nil, cloud)
	for range 3 {
		if got, err := ask(t, a, "europe-docker.pkg.dev"); err != nil || got.Username != "oauth2accesstoken" || got.Password != "ya29.1" {
			t.Errorf("credentials = %v, %v", got, err)
		}
	}
	if asked.Load() != 1 {
		t.Errorf("the metadata service was asked %d times, want once", asked.Load())
	}
	if got, err := ask(t, a, "gcr.io"); err != nil || got != (types.AuthConfig{}) {
		t.Errorf("a registry that is not named is entered by %v, %v", got, err)
	}
}

func TestAMachineWithoutAnIdentityIsAskedOnce(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		silent := tripper(func(req *http.Request) (*http.Response, error) {
			asked.Add(1)
			<-req.Context().Done() // as where packets are dropped
			return nil, req.Context().Err()
		})
		cloud, log := cloudOf(t, CloudOptions{HTTP: silent, Metadata: silent}, "*")
		a := with(t, nil, cloud)
		for _, host := range []string{"europe-docker.pkg.dev", "team.azurecr.io", "123456789012.dkr.ecr.eu-west-1.amazonaws.com"} {
			asked.Store(0)
			began := time.Now()
			for range 5 {
				if got, err := ask(t, a, host); err != nil || got != (types.AuthConfig{}) {
					t.Errorf("%s is entered by %v, %v, want anonymously", host, got, err)
				}
			}
			if waited := time.Since(began); waited > 2*time.Second || asked.Load() > 1 {
				t.Errorf("%s: ten questions waited %s and made %d requests", host, waited, asked.Load())
			}
			if text := a.Explain(t.Context(), host); !strings.HasPrefix(text, "none: ") || !strings.Contains(log.String(), "registry="+host) {
				t.Errorf("%s: Explain() = %q, log %s", host, text, log)
			}
		}
		asked.Store(0)
		time.Sleep(absencePause + time.Second)
		if _, err := ask(t, a, "europe-docker.pkg.dev"); err != nil || asked.Load() != 1 {
			t.Errorf("minutes later it was asked %d times (%v), want once more", asked.Load(), err)
		}
	})
}

func TestAClientThatLeavesLeavesNoFailureBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &kept{busy: make(chan struct{}, 1)}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := k.get(ctx, func(ctx context.Context) (answer, error) { <-ctx.Done(); return answer{}, ctx.Err() })
		if err == nil {
			t.Error("a fetch that was given up succeeded")
		}
		got, err := k.get(t.Context(), func(context.Context) (answer, error) {
			return answer{source: "x", conf: types.AuthConfig{Password: "p"}, ends: time.Now().Add(time.Hour)}, nil
		})
		if err != nil || got.source != "x" {
			t.Errorf("the next one gets %v, %v", got, err)
		}
		time.Sleep(50 * time.Minute)
		got, err = k.get(t.Context(), func(context.Context) (answer, error) { return answer{}, errors.New("down") })
		if err != nil || got.source != "x" {
			t.Errorf("while the source is down: %v, %v, want what is still good", got, err)
		}
		time.Sleep(10 * time.Minute)
		if got, err = k.get(t.Context(), func(context.Context) (answer, error) { return answer{}, errors.New("down") }); err == nil {
			t.Errorf("after its end: %v, want the failure", got)
		}
	})
}

func TestASettingThatMatchesNoCloudIsAnError(t *testing.T) {
	for _, pattern := range []string{"*", "team.azurecr.io", "Team.AzureCR.io", "*.azurecr.io", "*-docker.pkg.dev", "gcr.io", "*.gcr.io", "123456789012.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.cn-north-1.amazonaws.com.cn", "public.ecr.aws"} {
		if err := (Config{Identity: []string{pattern}}).Validate(); err != nil {
			t.Errorf("Validate(%q) = %v", pattern, err)
		}
	}
	for _, pattern := range []string{"", "reg.example", "*.io", "*azurecr.io", "https://team.azurecr.io", "team.azurecr.io:443", "team.azurecr.io/x", "[.azurecr.io", "*.amazonaws.com", "azurecr.io"} {
		if err := (Config{Identity: []string{pattern}}).Validate(); err == nil || len(hint.All(err)) != 1 {
			t.Errorf("Validate(%q) = %v, want an error with a hint", pattern, err)
		}
	}
	for pattern, want := range map[string]bool{"*": true, "*.azurecr.cn": true, "gcr.io": false} {
		if got := (Config{Identity: []string{pattern}}).NeedsEntra(); got != want {
			t.Errorf("NeedsEntra(%q) = %t", pattern, got)
		}
	}
}
