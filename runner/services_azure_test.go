package runner

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

func TestAContainerFromARegistryOfAzureIsPulledWithAPasswordOfTheRegistry(t *testing.T) {
	srv := entratest.New(t)
	cloud, err := registryauth.NewCloud(registryauth.Config{Identity: []string{"team.azurecr.io"}}, registryauth.CloudOptions{
		HTTP: srv.Transport(), Metadata: srv.Transport(), Log: slog.New(slog.DiscardHandler),
		Entra: entra.Config{TenantID: entratest.Tenant, ClientID: entratest.ClientID, ClientSecret: mask.NewSecret(srv.Secret), AuthorityHost: srv.URL},
	})
	if err != nil {
		t.Fatal(err)
	}
	for scheme, key := range map[string]string{"ServicePrincipal": srv.Secret, "ManagedServiceIdentity": ""} {
		x := &execution{masks: mask.NewSet(), log: slog.New(slog.DiscardHandler), cfg: Config{Registries: cloud}, vars: vars.New(func(string) {}), m: &job.Message{}}
		x.m.Resources.Endpoints = []job.Endpoint{{
			ID: "azure", Name: "azure", Type: "azurerm", URL: "https://team.azurecr.io",
			Authorization: job.Authorization{Scheme: scheme, Parameters: map[string]string{
				"tenantid": entratest.Tenant, "serviceprincipalid": entratest.ClientID, "serviceprincipalkey": key,
			}},
			Data: map[string]string{"environmentAuthorityUrl": srv.URL},
		}}
		c := job.Container{Endpoint: &job.EndpointReference{ID: "azure"}}
		c.Properties.Image = "team.azurecr.io/db"
		s, err := x.service(t.Context(), c)
		if err != nil || s.Login.User != registryauth.TokenUser || !srv.AcceptsAt("team.azurecr.io", s.Login.Password) {
			t.Errorf("%s: the login is of %q, %v; want one that the registry accepts", scheme, s.Login.User, err)
		}
		if s.Login.Password != "" && strings.Contains(x.masks.Mask(s.Login.Password), s.Login.Password) {
			t.Errorf("%s: the log would show the password", scheme)
		}
	}
}
