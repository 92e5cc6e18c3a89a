package integration_test

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/entra/entratest"
)

// The whole way of an agent in a cluster: a projected token, Microsoft Entra and
// Azure DevOps over TLS with an authority of the company's own, a proxy that is
// set for the rest of the world.
func TestAnAgentSignsInWithAFederatedTokenOverTLS(t *testing.T) {
	t.Parallel()
	tenant := entratest.New(t)
	tenant.SetLife(2 * time.Second) // over before the agent leaves
	l := newLowly(t)
	srv := emulatortest.New(t, func(c *emulator.Config) { c.AdminTokens = tenant.Accepts })
	terminator := httptest.NewUnstartedServer(srv.Server)
	terminator.StartTLS() // with the same certificate as the tenant's
	t.Cleanup(terminator.Close)
	srv.URL = terminator.URL
	authority := l.publish(t, "ca.pem", read(t, tenant.CAFile))
	token := l.mount(t, "tokens", tenant.FederatedToken())
	tenant.CAFile = authority
	log := l.start(t, srv, false, inTenant(tenant, "AZURE_FEDERATED_TOKEN_FILE="+token, "HTTPS_PROXY=http://user:pr0xy-passw0rd@127.0.0.1:9")...)
	got, report, _ := does(t, srv, log, `echo "password: ${HTTPS_PROXY:12:14}"; env | grep -c '^HTTPS_PROXY='; sleep 2`)
	lines := strings.Join(record(t, report, "Run bash").Log, "\n")
	if got != "1" || !strings.Contains(lines, "password: ***") || strings.Contains(lines+log(), "pr0xy-passw0rd") {
		t.Errorf("proxies in the job's environment = %s, want one, with its password masked:\n%s", got, lines)
	}
	if asked := tenant.Asked(); asked == 0 {
		t.Error("the tenant was never asked for a token")
	}
}

// An operator who sees one line has to know which certificate is meant.
func TestAnUntrustedServerIsSaidWithItsCertificate(t *testing.T) {
	t.Parallel()
	s := openStage(t, bare)
	srv := emulatortest.New(t)
	terminator := httptest.NewUnstartedServer(srv.Server)
	terminator.StartTLS()
	t.Cleanup(terminator.Close)
	code, out := s.dockless(t, "untrusted", append(alone, "AZP_URL="+terminator.URL, "AZP_TOKEN="+srv.PAT.Reveal()), "agent")
	if code != 1 || !strings.Contains(out, "issuer \"O=Acme Co\"") || !strings.Contains(out, "SHA-256 ") || !strings.Contains(out, "hint: add the certificate of the issuing authority to the file of DOCKLESS_CA_FILE") {
		t.Errorf("exit code = %d, want 1 with the certificate and what to do:\n%s", code, out)
	}
}
