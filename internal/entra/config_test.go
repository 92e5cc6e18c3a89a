package entra_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

func TestEveryProblemIsReportedWithItsSetting(t *testing.T) {
	for name, c := range map[string]struct {
		config entra.Config
		want   []string // settings that hints begin with, in order
	}{
		"nothing set is the machine": {entra.Config{}, nil},
		"an unknown way":             {entra.Config{Credential: "AzurePowerShellCredential"}, []string{"set AZURE_TOKEN_CREDENTIALS"}},
		"a secret alone": {
			entra.Config{ClientSecret: mask.NewSecret("x"), AuthorityHost: "http://login"},
			[]string{"set AZURE_TENANT_ID", "set AZURE_CLIENT_ID", "set AZURE_AUTHORITY_HOST"},
		},
		"a way without what it needs": {
			entra.Config{Credential: "WorkloadIdentityCredential", TenantID: "a/b", ClientID: "c"},
			[]string{"set AZURE_TENANT_ID", "set AZURE_FEDERATED_TOKEN_FILE"},
		},
		"a certificate without a file":     {entra.Config{Credential: "clientcertificatecredential", TenantID: "t", ClientID: "c"}, []string{"set AZURE_CLIENT_CERTIFICATE_PATH"}},
		"the environment without a secret": {entra.Config{Credential: "EnvironmentCredential", TenantID: "t", ClientID: "c"}, []string{"set AZURE_CLIENT_SECRET"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, h := range hint.All(c.config.Validate()) {
				got = append(got, strings.Join(strings.Fields(strings.ReplaceAll(h, ",", " "))[:2], " "))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("hints begin with %q, want %q", got, c.want)
			}
		})
	}
}

func TestAFileThatCannotBeUsedIsNoticedAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		config entra.Config
		hint   string
	}{
		"a token file that is missing": {entra.Config{TenantID: "t", ClientID: "c", FederatedTokenFile: "/nowhere/token"}, "set AZURE_FEDERATED_TOKEN_FILE"},
		"an empty token file":          {entra.Config{TenantID: "t", ClientID: "c", FederatedTokenFile: write(t, "token", "")}, "set AZURE_FEDERATED_TOKEN_FILE"},
		"a file without a certificate": {entra.Config{TenantID: "t", ClientID: "c", CertificatePath: write(t, "pem", "hunter2")}, "set AZURE_CLIENT_CERTIFICATE_PATH"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := entra.New(c.config, entra.Options{})
			if hints := hint.All(err); len(hints) != 1 || !strings.HasPrefix(hints[0], c.hint) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("New = %v, hints %q, want one that begins with %q", err, hints, c.hint)
			}
		})
	}
}

func TestTheMostSpecificIdentityThatIsSetWins(t *testing.T) {
	secret := mask.NewSecret("x")
	for name, c := range map[string]struct {
		config             entra.Config
		configured, shared bool
		files              string
	}{
		"nothing":                     {entra.Config{}, false, true, ""},
		"a client id only":            {entra.Config{ClientID: "c"}, false, true, ""},
		"a secret":                    {entra.Config{ClientSecret: secret}, true, false, ""},
		"a certificate and a secret":  {entra.Config{ClientSecret: secret, CertificatePath: "/c"}, true, false, "/c"},
		"everything":                  {entra.Config{ClientSecret: secret, CertificatePath: "/c", FederatedTokenFile: "/f"}, true, false, "/f"},
		"a way that is named instead": {entra.Config{FederatedTokenFile: "/f", Credential: "ManagedIdentityCredential"}, true, true, ""},
	} {
		if got := c.config; got.Configured() != c.configured || got.Shared() != c.shared || strings.Join(got.Files(), " ") != c.files {
			t.Errorf("with %s: configured %t, shared %t, files %q, want %t, %t, %q", name, got.Configured(), got.Shared(), got.Files(), c.configured, c.shared, c.files)
		}
	}
}
