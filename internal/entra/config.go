package entra

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Config says who this agent is in Microsoft Entra. The names are those of the
// Azure SDKs, so that what the workload identity webhook of AKS sets works as it
// is. The zero Config is the identity of the machine, then the Azure CLI's.
type Config struct {
	TenantID            string      `envconfig:"AZURE_TENANT_ID" desc:"directory (tenant) of the identity, an id or a domain name"`
	ClientID            string      `envconfig:"AZURE_CLIENT_ID" desc:"application (client) id of the identity; with a managed identity empty is the machine's own"`
	ClientSecret        mask.Secret `envconfig:"AZURE_CLIENT_SECRET" desc:"secret of a service principal"`
	CertificatePath     string      `envconfig:"AZURE_CLIENT_CERTIFICATE_PATH" desc:"file with the certificate and the private key of a service principal, PEM or PKCS#12; read anew for every token"`
	CertificatePassword mask.Secret `envconfig:"AZURE_CLIENT_CERTIFICATE_PASSWORD" desc:"password of the certificate's file; empty is none"`
	FederatedTokenFile  string      `envconfig:"AZURE_FEDERATED_TOKEN_FILE" desc:"file with the token of a service account that a federated credential of the identity trusts (workload identity); read anew for every token"`
	AuthorityHost       string      `envconfig:"AZURE_AUTHORITY_HOST" default:"https://login.microsoftonline.com/" desc:"address of Microsoft Entra; that of a national or private cloud differs"`
	Credential          string      `envconfig:"AZURE_TOKEN_CREDENTIALS" desc:"the one way to sign in: WorkloadIdentityCredential, ClientCertificateCredential, ClientSecretCredential, EnvironmentCredential (one of the two before), ManagedIdentityCredential or AzureCLICredential; empty chooses by what is set, in this order"`
}

// The ways to sign in, by the names of azidentity.
const (
	workload    = "WorkloadIdentityCredential"
	certificate = "ClientCertificateCredential"
	secret      = "ClientSecretCredential"
	environment = "EnvironmentCredential"
	managed     = "ManagedIdentityCredential"
	azureCLI    = "AzureCLICredential"
)

// wayNames are how an operator calls the ways.
var wayNames = map[string]string{workload: "workload identity", certificate: "certificate", secret: "secret", managed: "managed identity", azureCLI: "az login"}

// Configured reports whether an identity is set that cannot be meant for
// anything else: a federated token, a certificate or a secret.
func (c Config) Configured() bool {
	return c.FederatedTokenFile != "" || c.CertificatePath != "" || !c.ClientSecret.IsZero()
}

// ways returns how to sign in, first one first; nil when Credential names none.
func (c Config) ways() []string {
	for _, way := range []string{workload, certificate, secret, managed, azureCLI} {
		if strings.EqualFold(c.Credential, way) {
			return []string{way}
		}
	}
	switch {
	case strings.EqualFold(c.Credential, environment) && c.CertificatePath != "":
		return []string{certificate}
	case strings.EqualFold(c.Credential, environment):
		return []string{secret}
	case c.Credential != "":
		return nil
	case c.FederatedTokenFile != "":
		return []string{workload}
	case c.CertificatePath != "":
		return []string{certificate}
	case !c.ClientSecret.IsZero():
		return []string{secret}
	}
	return []string{managed, azureCLI}
}

// Shared reports whether the identity belongs to the machine or its user, so
// that whatever runs there, a job too, may sign in with it.
func (c Config) Shared() bool {
	ways := c.ways()
	return len(ways) > 0 && (ways[0] == managed || ways[0] == azureCLI)
}

// Files are the files that hold the identity's secrets.
func (c Config) Files() []string {
	var files []string
	for _, way := range c.ways() {
		switch way {
		case workload:
			files = append(files, c.FederatedTokenFile)
		case certificate:
			files = append(files, c.CertificatePath)
		}
	}
	return files
}

// tenant is what azidentity takes for one.
var tenant = regexp.MustCompile(`^[A-Za-z0-9.-]+$`)

// Validate reports every problem of c, each with a hint that names the setting.
// It opens no file.
func (c Config) Validate() error {
	var problems []error
	add := func(advice, format string, args ...any) {
		problems = append(problems, hint.With(fmt.Errorf(format, args...), "%s", advice))
	}
	ways := c.ways()
	if ways == nil {
		add("set AZURE_TOKEN_CREDENTIALS to "+strings.Join([]string{workload, certificate, secret, environment, managed}, ", ")+" or "+azureCLI+", or leave it empty",
			"%q is no way to sign in to Microsoft Entra", c.Credential)
		return errors.Join(problems...)
	}
	switch ways[0] {
	case workload, certificate, secret:
		if c.TenantID == "" {
			add("set AZURE_TENANT_ID to the directory (tenant) id that the application is registered in", "the tenant of the Azure identity is not set")
		}
		if c.ClientID == "" {
			add("set AZURE_CLIENT_ID to the application (client) id", "the client id of the Azure identity is not set")
		}
	}
	if c.TenantID != "" && !tenant.MatchString(c.TenantID) {
		add("set AZURE_TENANT_ID to the directory (tenant) id, or to a domain of the directory", "the tenant of the Azure identity is neither an id nor a domain")
	}
	switch {
	case ways[0] == workload && c.FederatedTokenFile == "":
		add("set AZURE_FEDERATED_TOKEN_FILE to the projected token of a service account, or let the workload identity webhook do so", "there is no federated token to sign in with")
	case ways[0] == certificate && c.CertificatePath == "":
		add("set AZURE_CLIENT_CERTIFICATE_PATH to a file with the certificate and its private key", "there is no certificate to sign in with")
	case ways[0] == secret && c.ClientSecret.IsZero():
		add("set AZURE_CLIENT_SECRET, or AZURE_CLIENT_SECRET_FILE, to a secret of the application", "there is no client secret to sign in with")
	}
	if u, err := url.Parse(c.AuthorityHost); c.AuthorityHost != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		add("set AZURE_AUTHORITY_HOST to the https address of Microsoft Entra, for example https://login.microsoftonline.com/", "the authority host is no https URL")
	}
	return errors.Join(problems...)
}
