package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// RefusedError says that Microsoft Entra, or the metadata service of the
// machine, does not give this identity a token. It carries codes and no text of
// the answer, which may repeat what was sent.
type RefusedError struct {
	Host   string
	Status int    // of HTTP
	Code   string // OAuth's, as in "invalid_client"; may be empty
	Number int    // of the AADSTS error; zero when there is none
}

// Error names the codes by which Microsoft's documentation explains the refusal.
func (e *RefusedError) Error() string {
	text := fmt.Sprintf("%s refused with status %d", e.Host, e.Status)
	if e.Code != "" {
		text += ", " + e.Code
	}
	if e.Number != 0 {
		text += fmt.Sprintf(", AADSTS%d", e.Number)
	}
	return text
}

// Temporary reports whether a later attempt may succeed.
func (e *RefusedError) Temporary() bool {
	return e.Status/100 == 5 || e.Status == http.StatusTooManyRequests
}

// remedies are what to do about the codes that a wrong setting leads to
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes).
var remedies = map[int]string{
	7000215: "set AZURE_CLIENT_SECRET, or AZURE_CLIENT_SECRET_FILE, to the value of a secret of the application, not to its id",
	7000222: "make a new secret for the application and set AZURE_CLIENT_SECRET, or AZURE_CLIENT_SECRET_FILE: this one has expired",
	700016:  "check AZURE_CLIENT_ID and AZURE_TENANT_ID: the tenant has no such application",
	90002:   "set AZURE_TENANT_ID to an existing directory (tenant)",
	900023:  "set AZURE_TENANT_ID to an existing directory (tenant)",
	70021:   federation,
	700211:  federation,
	700212:  federation,
	700213:  federation,
	700024:  "set this machine's clock, and check that the file of AZURE_FEDERATED_TOKEN_FILE is renewed",
	700027:  "add the certificate of AZURE_CLIENT_CERTIFICATE_PATH to the application, or set the path to one that was added",
	500011:  "check AZURE_TENANT_ID: Azure DevOps is not known in this tenant; it must be the one your organization is connected to",
}

const federation = "add a federated credential to the application of AZURE_CLIENT_ID that names the issuer, the subject and the audience of the token in AZURE_FEDERATED_TOKEN_FILE"

// reduced turns what azidentity says into one line with a hint.
func (s *Source) reduced(ctx context.Context, way string, w *wire, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case w.failure != nil:
		return hint.With(fmt.Errorf("asking %s: %w", w.host, w.failure),
			"check that this machine reaches %s, through HTTPS_PROXY if it has to", w.host)
	case w.refusal != nil:
		refused := &RefusedError{Host: w.host, Status: w.refusal.status, Code: w.refusal.code, Number: w.refusal.number}
		return hint.With(refused, "%s", remedy(way, refused))
	}
	// az, and answers that make no sense.
	return hint.With(errors.New(s.firstLine(err.Error())), "%s", remedy(way, nil))
}

func remedy(way string, refused *RefusedError) string {
	if refused != nil {
		if text, ok := remedies[refused.Number]; ok {
			return text
		}
		if refused.Temporary() {
			return "try again later"
		}
	}
	switch way {
	case managed:
		return "give this machine a managed identity, and set AZURE_CLIENT_ID if it has several"
	case azureCLI:
		return "run az login as the agent's user, or set AZURE_TOKEN_CREDENTIALS to another way to sign in"
	case workload:
		return "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_FEDERATED_TOKEN_FILE"
	case certificate:
		return "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_CERTIFICATE_PATH"
	}
	return "check AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"
}

// maxLine is how much of a foreign text an error quotes, in bytes.
const maxLine = 200

// webToken is what an access token or an assertion looks like.
var webToken = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{10,}(\.[A-Za-z0-9_-]*){0,2}`)

// firstLine is the first line of text that says something, without secrets.
func (s *Source) firstLine(text string) string {
	first := ""
	for line := range strings.Lines(text) {
		if first = strings.TrimSpace(line); first != "" {
			break
		}
	}
	for _, known := range []mask.Secret{s.config.ClientSecret, s.config.CertificatePassword, s.token} {
		if !known.IsZero() {
			first = strings.ReplaceAll(first, known.Reveal(), mask.Replacement)
		}
	}
	first = webToken.ReplaceAllString(first, mask.Replacement)
	if len(first) > maxLine {
		first = strings.ToValidUTF8(first[:maxLine], "") + "…"
	}
	return first
}
