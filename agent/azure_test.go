package agent_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// azureIdentity is the tenant's application.
func azureIdentity(t *testing.T, tenant *entratest.Server, secret string) *entra.Source {
	t.Helper()
	s, err := entra.New(entra.Config{
		TenantID: entratest.Tenant, ClientID: entratest.ClientID, ClientSecret: mask.NewSecret(secret), AuthorityHost: tenant.URL,
	}, entra.Options{HTTP: tenant.Transport(), Log: slog.New(slog.DiscardHandler), Scope: entra.AzureDevOps})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// withoutPAT makes the settings those of an agent that has an Azure identity.
func withoutPAT(c agent.Config) agent.Config {
	c.Token, c.Auth, c.AzureConfigured = mask.Secret{}, "", true
	return c
}

func TestAnAgentRegistersAndUnregistersWithItsAzureIdentity(t *testing.T) {
	tenant := entratest.New(t)
	tenant.SetLife(time.Second) // over before the agent leaves
	srv := emulatortest.New(t, func(c *emulator.Config) { c.AdminTokens = tenant.Accepts })
	stop := started(t, newAgent(t, withoutPAT(config(t, srv)), records(lasting(1500*time.Millisecond)),
		func(d *agent.Deps) { d.Tokens = azureIdentity(t, tenant, tenant.Secret) }))
	wantResult(t, srv, srv.Queue(emulatortest.Script("true")), job.Succeeded)
	before := tenant.Asked()
	if err := stop(); err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
	if agents := srv.Agents(); len(agents) != 0 {
		t.Errorf("agents = %v, want it unregistered", agents)
	}
	if after := tenant.Asked(); after <= before {
		t.Errorf("sign-ins before and after the end = %d, %d, want one more to unregister", before, after)
	}
}

func TestATokenThatTheServiceForgotIsReplaced(t *testing.T) {
	tenant := entratest.New(t)
	srv := emulatortest.New(t, func(c *emulator.Config) { c.AdminTokens = tenant.Accepts })
	opened := make(chan bool, 8)
	stop := started(t, newAgent(t, withoutPAT(config(t, srv)), records(succeed), func(d *agent.Deps) {
		d.Tokens = azureIdentity(t, tenant, tenant.Secret)
		d.Health.Ready = func(open bool) { opened <- open }
	}))
	<-opened
	tenant.Revoke()
	if err := stop(); err != nil || len(srv.Agents()) != 0 {
		t.Errorf("Run = %v, agents = %v, want it unregistered with a new token", err, srv.Agents())
	}
}

func TestARefusedIdentityEndsTheStartWithAHint(t *testing.T) {
	tenant := entratest.New(t)
	srv := emulatortest.New(t, func(c *emulator.Config) { c.AdminTokens = tenant.Accepts })
	a := newAgent(t, withoutPAT(config(t, srv)), records(succeed), func(d *agent.Deps) { d.Tokens = azureIdentity(t, tenant, "wr0ng-s3cret") })
	err := a.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), "wr0ng") || !hasHint(err, "AZURE_CLIENT_SECRET") {
		t.Errorf("Run = %v, want the code of the refusal, a hint and no secret", err)
	}
}

func TestTheCredentialIsChosenByWhatIsSet(t *testing.T) {
	pat := mask.NewSecret("pat")
	for name, c := range map[string]struct {
		config agent.Config
		azure  bool
	}{
		"a PAT":                       {agent.Config{Token: pat}, false},
		"a PAT beside an identity":    {agent.Config{Token: pat, AzureConfigured: true}, false},
		"an identity":                 {agent.Config{AzureConfigured: true}, true},
		"an identity, asked for":      {agent.Config{Token: pat, Auth: "azure"}, true},
		"a PAT, asked for":            {agent.Config{Auth: "pat", AzureConfigured: true}, false},
		"nothing":                     {agent.Config{}, false},
		"a machine's identity, asked": {agent.Config{Auth: "azure"}, true},
	} {
		if got := c.config.UsesAzure(); got != c.azure {
			t.Errorf("with %s UsesAzure = %t, want %t", name, got, c.azure)
		}
	}
	if _, err := agent.New(agent.Config{URL: "https://x", Auth: "azure", Pool: "p", StateDir: "s"}, nil, agent.Deps{}); err == nil {
		t.Error("an agent without the tokens that its settings want was made")
	}
}
