package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/dockless-ci/dockless/internal/hint"
)

// microsoftHosts are the authorities whose metadata login.microsoftonline.com
// knows. Asking it about any other would fail, and tell it about a private cloud.
var microsoftHosts = map[string]bool{
	"login.microsoftonline.com": true, "login.microsoftonline.us": true, "login.chinacloudapi.cn": true,
	"login.partner.microsoftonline.cn": true, "login.microsoft.com": true, "login.windows.net": true, "sts.windows.net": true,
}

// fetch signs in, in the first of the ways that works, and says which.
func (s *Source) fetch(ctx context.Context) (azcore.AccessToken, string, error) {
	var failures []error
	ways := s.config.ways()
	for i, way := range ways {
		w := &wire{http: &http.Client{
			Transport:     s.options.HTTP,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		if way == managed && i < len(ways)-1 && !w.reachesMetadata(ctx) {
			failures = append(failures, errors.New(managed+": no metadata service answers on this machine"))
			continue
		}
		token, err := s.signIn(ctx, way, w)
		if err == nil {
			return token, way, nil
		}
		failures = append(failures, fmt.Errorf("%s: %w", way, err))
		if ctx.Err() != nil {
			break
		}
	}
	err := errors.Join(failures...)
	if len(ways) > 1 {
		err = hint.With(err, "set AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_FEDERATED_TOKEN_FILE or AZURE_CLIENT_SECRET_FILE, give this machine a managed identity, or run az login")
	}
	return azcore.AccessToken{}, "", err
}

// signIn gets one token. The credential is made anew each time: azidentity keeps
// tokens, refused ones too, and a certificate that was replaced, as long as one
// of its credentials lives.
func (s *Source) signIn(ctx context.Context, way string, w *wire) (azcore.AccessToken, error) {
	credential, err := s.credential(way, w)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	ask := policy.TokenRequestOptions{Scopes: []string{s.options.Scope}}
	if way == managed {
		// Its cache is one of the whole process; a claim, even none, passes it by.
		ask.Claims = "{}"
	}
	token, err := credential.GetToken(ctx, ask)
	if err != nil {
		return azcore.AccessToken{}, s.reduced(ctx, way, w, err)
	}
	if token.Token == "" {
		return azcore.AccessToken{}, errEmpty
	}
	return token, nil
}

// credential makes azidentity's credential for a way. It does not connect.
// Everything is handed over: secrets have left the environment by then.
func (s *Source) credential(way string, w *wire) (azcore.TokenCredential, error) {
	c := s.config
	options := s.clientOptions(w)
	private := s.privateCloud()
	switch way {
	case workload:
		if _, err := readable(c.FederatedTokenFile, "AZURE_FEDERATED_TOKEN_FILE"); err != nil {
			return nil, err
		}
		return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, TenantID: c.TenantID, ClientID: c.ClientID, TokenFilePath: c.FederatedTokenFile, DisableInstanceDiscovery: private,
		})
	case certificate:
		data, err := readable(c.CertificatePath, "AZURE_CLIENT_CERTIFICATE_PATH")
		if err != nil {
			return nil, err
		}
		certs, key, err := azidentity.ParseCertificates(data, []byte(c.CertificatePassword.Reveal()))
		if err != nil {
			// Its error may quote what it could not parse.
			return nil, hint.With(fmt.Errorf("%s holds no certificate with its private key that opens with the password given", c.CertificatePath),
				"set AZURE_CLIENT_CERTIFICATE_PATH to a PEM or PKCS#12 file with both, and AZURE_CLIENT_CERTIFICATE_PASSWORD if it has a password")
		}
		return azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, certs, key, &azidentity.ClientCertificateCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private,
		})
	case secret:
		return azidentity.NewClientSecretCredential(c.TenantID, c.ClientID, c.ClientSecret.Reveal(), &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: private,
		})
	case managed:
		o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: options}
		if c.ClientID != "" {
			o.ID = azidentity.ClientID(c.ClientID)
		}
		return azidentity.NewManagedIdentityCredential(o)
	case azureCLI:
		return azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: c.TenantID})
	}
	panic("entra: no such way to sign in: " + way)
}

func (s *Source) clientOptions(w *wire) azcore.ClientOptions {
	retries := s.options.Retries
	if retries == 0 {
		retries = -1 // azcore takes zero for its own default
	}
	host := s.config.AuthorityHost
	if host == "" {
		host = cloud.AzurePublic.ActiveDirectoryAuthorityHost
	}
	return azcore.ClientOptions{
		Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: host, Services: map[cloud.ServiceName]cloud.ServiceConfiguration{}},
		Transport: w,
		Retry:     policy.RetryOptions{MaxRetries: int32(retries), RetryDelay: s.options.RetryPause},
	}
}

// privateCloud reports whether the authority is none of Microsoft's.
func (s *Source) privateCloud() bool {
	u, err := url.Parse(s.config.AuthorityHost)
	return err == nil && u.Host != "" && !microsoftHosts[strings.ToLower(u.Hostname())]
}

// readable returns the content of a file that a setting names.
func readable(path, setting string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, hint.With(err, "set %s to a file that this user may read", setting)
	}
	if len(data) == 0 {
		return nil, hint.With(fmt.Errorf("%s is empty", path), "set %s to a file that holds the credential", setting)
	}
	return data, nil
}

// metadataAddress is the Azure machine's own service for tokens; reachTimeout is
// how long azidentity waits for it as well when there are other ways.
const (
	metadataAddress = "http://169.254.169.254/metadata/identity/oauth2/token"
	reachTimeout    = time.Second
)

// reachesMetadata asks the metadata service something that it refuses. Elsewhere
// than on Azure a real request would wait for minutes.
func (w *wire) reachesMetadata(ctx context.Context) bool {
	ctx, cancel := context.WithTimeoutCause(ctx, reachTimeout, errors.New("no metadata service answers"))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, metadataAddress, nil)
	if err != nil {
		return false
	}
	answer, err := w.http.Do(req)
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil
}
