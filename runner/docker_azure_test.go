package runner_test

import (
	"encoding/base64"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/registryauth"
)

// subscription is a connection to Azure as a service principal of the tenant.
func subscription(srv *entratest.Server, key string) job.Endpoint {
	return job.Endpoint{
		ID: "azure", Name: "azure", Type: "azurerm", URL: "https://management.azure.com/",
		Authorization: job.Authorization{Scheme: "ServicePrincipal", Parameters: map[string]string{
			"tenantid": entratest.Tenant, "serviceprincipalid": entratest.ClientID, "authenticationType": "spnKey", "serviceprincipalkey": key,
		}},
		Data: map[string]string{"environment": "AzureCloud", "environmentAuthorityUrl": srv.URL},
	}
}

// clouds are what may enter the registries of Azure of a tenant, as its
// application or not at all.
func clouds(t *testing.T, srv *entratest.Server, registries ...string) *registryauth.Cloud {
	t.Helper()
	c, err := registryauth.NewCloud(registryauth.Config{Identity: registries}, registryauth.CloudOptions{
		HTTP: srv.Transport(), Metadata: srv.Transport(), Log: slog.New(slog.DiscardHandler),
		Entra: entra.Config{TenantID: entratest.Tenant, ClientID: entratest.ClientID, ClientSecret: mask.NewSecret(srv.Secret), AuthorityHost: srv.URL},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAConnectionToAzureGivesTheJobAPasswordOfTheRegistryAndNotItsKey(t *testing.T) {
	srv := entratest.New(t)
	cfg := config(t)
	cfg.Registries = clouds(t, srv)
	m := message(
		dockerStep("in", "login", "containerRegistry", "azure"),
		script("show", `grep -c "$KEY" "$DOCKER_CONFIG/config.json"; sed 's/.*"auth":"\([^"]*\)".*/\1/' "$DOCKER_CONFIG/config.json" | base64 -d | base64 | tr -d '\n' | rev`,
			func(s *job.Step) { s.Environment = map[string]string{"KEY": srv.Secret} }),
	)
	e := subscription(srv, srv.Secret)
	e.URL = "https://team.azurecr.io"
	m.Resources.Endpoints = append(m.Resources.Endpoints, e)
	rec, _ := run(t, cfg, m)
	out := rec.output(t, "show")
	if len(out) != 2 || out[0] != "0" {
		t.Fatalf("%s, log of the login: %q", out, rec.log(t, "in"))
	}
	pair, err := base64.StdEncoding.DecodeString(reversed(out[1]))
	user, password, _ := strings.Cut(string(pair), ":")
	if err != nil || user != registryauth.TokenUser || !srv.AcceptsAt("team.azurecr.io", password) {
		t.Errorf("the job has %q (%v), want a token that the registry issued", pair, err)
	}
	for _, step := range []string{"in", "show"} {
		if log := strings.Join(rec.log(t, step), "\n"); strings.Contains(log, password) || strings.Contains(log, srv.Secret) {
			t.Errorf("the log of %s has a secret: %s", step, log)
		}
	}
}

func reversed(text string) string {
	b := []byte(text)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

func TestAConnectionThatCannotEnterARegistrySaysWhatToDo(t *testing.T) {
	srv := entratest.New(t)
	for what, c := range map[string]struct {
		change func(*job.Endpoint)
		allow  []string
		want   string // of the issue; empty: the login succeeds
	}{
		"a wrong key":           {func(e *job.Endpoint) { e.Authorization.Parameters["serviceprincipalkey"] = "expired" }, nil, "AADSTS7000215"},
		"a subscription alone":  {func(e *job.Endpoint) { e.URL = "https://management.azure.com/" }, nil, "is no registry of Azure"},
		"workload identity":     {func(e *job.Endpoint) { e.Authorization.Scheme = "WorkloadIdentityFederation" }, nil, "WorkloadIdentityFederation"},
		"a certificate":         {func(e *job.Endpoint) { delete(e.Authorization.Parameters, "serviceprincipalkey") }, nil, "does not know for registries"},
		"the agent's identity":  {func(e *job.Endpoint) { e.Authorization.Scheme = "ManagedServiceIdentity" }, nil, "ManagedServiceIdentity"},
		"the agent's, as named": {func(e *job.Endpoint) { e.Authorization.Scheme = "ManagedServiceIdentity" }, []string{"team.azurecr.io"}, ""},
		"the agent's, of a registry": {func(e *job.Endpoint) {
			e.Type, e.Authorization = "dockerregistry", job.Authorization{Scheme: "ManagedServiceIdentity", Parameters: map[string]string{"loginServer": "team.azurecr.io", "tenantId": "t"}}
		}, []string{"team.azurecr.io"}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			cfg := config(t)
			cfg.Registries = clouds(t, srv, c.allow...)
			m := message(dockerStep("in", "login", "containerRegistry", "azure"))
			e := subscription(srv, srv.Secret)
			e.URL = "https://team.azurecr.io"
			c.change(&e)
			m.Resources.Endpoints = append(m.Resources.Endpoints, e)
			rec, _ := run(t, cfg, m)
			issues := rec.record(t, "in").Issues
			if c.want == "" && len(issues) != 0 || c.want != "" && (len(issues) != 1 || !strings.Contains(issues[0].Message, c.want)) {
				t.Errorf("issues = %+v, want one with %q", issues, c.want)
			}
		})
	}
}

func TestALoginLeavesNothingInTheWorkspaceAndNothingBehind(t *testing.T) {
	cfg := config(t)
	m := registries(message(
		script("before", `git init -q . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x`),
		dockerStep("login", "login", "containerRegistry", "one"),
		script("inside", `git status --porcelain --ignored; find . -path ./.git -prune -o -type f -print; stat -c %a "$DOCKER_CONFIG" "$DOCKER_CONFIG/config.json"
case "$DOCKER_CONFIG" in "$AGENT_TEMPDIRECTORY"/*) echo temporary;; esac`),
	))
	rec, _ := run(t, cfg, m)
	if got := strings.Join(rec.output(t, "inside"), " "); got != "700 600 temporary" {
		t.Errorf("after the login: %q, want a private file in the temp directory and nothing in the workspace", got)
	}
	left, err := filepath.Glob(filepath.Join(cfg.Work, "_temp", "*"))
	if err != nil || len(left) != 0 {
		t.Errorf("after the job there is %q, %v", left, err)
	}
}
