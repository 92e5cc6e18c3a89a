package doctorcmd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	// soon is how long before its end a certificate is warned of: two weeks to get
	// another one.
	soon = 14 * 24 * time.Hour
	// skewWarning is where an agent starts to go by the server's clock itself, and
	// skewFailure what other services stand for: assertions of Microsoft Entra and
	// requests that are signed for AWS are good for five minutes.
	skewWarning, skewFailure = 30 * time.Second, 5 * time.Minute
)

// azure is what the checks of Azure DevOps find out for each other.
type azure struct {
	*examination
	log         *slog.Logger
	connections *http.Transport // of the checked authorities and proxies
	reached     ado.Reached
	tokens      *entra.Source // nil: a personal access token
	server      *ado.Registration
	poolID      ado.PoolID
}

func (x *examination) azureChecks(log *slog.Logger) []doctor.Check {
	switch {
	case x.unusable[groupAzure]:
		return []doctor.Check{always(groupAzure, "address", skipped("%v", errUnusable))}
	case !x.named:
		return []doctor.Check{always(groupAzure, "address", skipped("AZP_URL is not set: there is no server to ask"))}
	}
	a := &azure{examination: x, log: log}
	check := func(name string, ask func(context.Context) doctor.Result, needs ...string) doctor.Check {
		return doctor.Check{Group: groupAzure, Topic: name, Needs: needs, Ask: answers(ask)}
	}
	checks := []doctor.Check{
		check("authorities", a.authorities),
		check("proxy", a.proxy, "authorities"),
		check("address", a.address, "proxy"),
		check("clock", a.clock, "address"),
	}
	before := "address"
	if x.Agent.UsesAzure() {
		before = "identity"
		checks = append(checks, check("identity", a.identity, "address"))
	}
	return append(checks,
		check("sign-in", a.signIn, before),
		doctor.Check{Group: groupAzure, Topic: "pool", Needs: []string{"sign-in"}, Ask: a.rights},
		check("agent", a.member, "pool"),
	)
}

// authorities asks who is trusted, and prepares the connections.
func (a *azure) authorities(context.Context) doctor.Result {
	network, err := ado.OpenNetwork(ado.NetworkConfig{CAFile: a.Network.CAFile})
	if err != nil {
		return failed(err)
	}
	a.connections = network.NewHTTP()
	if !strings.HasPrefix(a.Agent.URL, "https:") {
		return ok("none is needed: AZP_URL is not encrypted")
	}
	file := a.Network.CAFile
	if file == "" {
		if pool, err := x509.SystemCertPool(); err != nil || pool.Equal(x509.NewCertPool()) {
			return failed(hint.With(errors.New("this machine trusts no authority"), "install ca-certificates, or set DOCKLESS_CA_FILE or SSL_CERT_FILE to a PEM file of the authorities to trust"))
		}
		return ok("those of the system")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return failed(err)
	}
	count, over := 0, ""
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			if count++; time.Now().After(c.NotAfter) {
				over = fmt.Sprintf("%q has expired on %s", c.Subject, day(c.NotAfter))
			}
		}
	}
	if over != "" {
		return warned("put the authority's new certificate into "+file, "in %s, %s", file, over)
	}
	return ok("those of the system and %d of %s", count, file)
}

// proxy asks whether what is between takes connections.
func (a *azure) proxy(ctx context.Context) doctor.Result {
	network, err := ado.OpenNetwork(a.Network)
	if err != nil {
		return failed(err)
	}
	a.connections = network.NewHTTP()
	if a.connections.Proxy == nil {
		return ok("none is set")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.Agent.URL, nil)
	if err != nil {
		return failed(err)
	}
	through, err := a.connections.Proxy(req)
	if err != nil {
		return failed(err)
	}
	if through == nil {
		return ok("none for this server, which NO_PROXY or its address excepts")
	}
	port := through.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[through.Scheme]
	}
	if port == "" {
		port = "1080" // socks
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(through.Hostname(), port))
	if err != nil {
		return failed(hint.With(fmt.Errorf("connecting to the proxy %s: %w", through.Host, ended(ctx, err)), "set %s to a proxy that runs, or name the server in NO_PROXY", proxyName(a.Agent.URL)))
	}
	_ = conn.Close() // nothing was written
	return ok("%s takes connections", through.Host)
}

// proxyName is the setting that the proxy for an address comes from.
func proxyName(address string) string {
	if u, err := url.Parse(address); err == nil && u.Scheme == "http" {
		return "HTTP_PROXY"
	}
	return "HTTPS_PROXY"
}

// ended is the cause of ctx if that ended, else err.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// address asks whether the server is there.
func (a *azure) address(ctx context.Context) doctor.Result {
	var err error
	if a.reached, err = ado.Reach(ctx, a.Agent.URL, a.connections); err != nil {
		return failed(err)
	}
	encrypted := a.reached.TLS
	if encrypted == nil {
		return ok("%s answers", a.Agent.URL)
	}
	c := encrypted.PeerCertificates[0]
	text := fmt.Sprintf("%s answers, %s, certificate until %s", a.Agent.URL, tls.VersionName(encrypted.Version), day(c.NotAfter))
	if time.Until(c.NotAfter) < soon {
		return warned("renew the server's certificate", "%s", text)
	}
	return ok("%s", text)
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// clock compares this machine's with the server's.
func (a *azure) clock(context.Context) doctor.Result {
	ahead := a.reached.Ahead.Round(time.Second)
	const advice = "set the clock of this machine, and let chrony or systemd-timesyncd keep it; until then the agent goes by the server's where it matters to Azure DevOps"
	switch {
	case !a.reached.HasClock:
		return skipped("the server does not say what time it is")
	case ahead == 0:
		return ok("the same as the server's")
	}
	text := fmt.Sprintf("this machine's clock is %s behind the server's", ahead)
	if ahead < 0 {
		text = fmt.Sprintf("this machine's clock is %s ahead of the server's", -ahead)
	}
	switch {
	case ahead.Abs() > skewFailure:
		return failed(hint.With(errors.New(text), advice))
	case ahead.Abs() > skewWarning:
		return warned(advice, "%s", text)
	}
	return ok("%s", text)
}

// identity signs in to Microsoft Entra.
func (a *azure) identity(ctx context.Context) doctor.Result {
	var err error
	a.tokens, err = entra.New(a.Entra, entra.Options{HTTP: ado.Explain(a.connections), Log: a.log, Scope: entra.AzureDevOps})
	if err == nil {
		_, err = a.tokens.Token(ctx)
	}
	if err != nil {
		return failed(ended(ctx, err))
	}
	return ok("Microsoft Entra gives it a token, by %s", a.tokens.Way())
}

// signIn asks whether the credential is known.
func (a *azure) signIn(ctx context.Context) doctor.Result {
	o := ado.Options{HTTP: a.connections, Log: a.log, UserAgent: "dockless/" + a.flags.version, Timeout: doctorBounds.Check}
	var err error
	if a.tokens != nil {
		a.server, err = ado.NewAzureRegistration(a.Agent.URL, a.tokens, o)
	} else {
		a.server, err = ado.NewRegistration(a.Agent.URL, a.Agent.Token, o)
	}
	if err != nil {
		return failed(err)
	}
	data, err := a.server.Connect(ctx)
	if err != nil {
		return failed(err)
	}
	who := data.AuthenticatedUser.ProviderDisplayName
	if who == "" {
		who = data.AuthenticatedUser.ID
	}
	return ok("as %s", who)
}

// rights asks what the credential opens: whether its scope shows pools, whether its
// owner sees this one, and whether scope and role let agents be managed.
func (a *azure) rights(ctx context.Context) []doctor.Result {
	var pool doctor.Result
	scope, role := ok("Agent Pools (read & manage)"), ok("Administrator")
	if a.tokens != nil {
		scope = skipped("an Azure identity has none")
	}
	notAsked := func(of string) doctor.Result { return skipped("not asked: %s failed", of) }
	found, err := a.server.FindPool(ctx, a.Agent.Pool)
	switch {
	case errors.Is(err, ado.ErrUnauthorized) && a.tokens == nil: // it was accepted just now
		scope = noScope("AZP_TOKEN opens no agent pools")
		pool, role = notAsked("scope"), notAsked("scope")
	case err != nil:
		if errors.Is(err, ado.ErrPoolNotFound) {
			err = hint.With(fmt.Errorf("there is no pool %q that %s may see", a.Agent.Pool, a.owner()),
				"set AZP_POOL to the name of a pool, or give %s a role in it: Administrator, on the page Security of the pool", a.owner())
		}
		pool, role = failed(err), notAsked("pool")
		if scope.Status == doctor.OK {
			scope = ok("it opens agent pools")
		}
	default:
		a.poolID = found.ID
		pool = ok("%s, %s", found.Name, console.Count(found.Size, "agent"))
		if err = a.server.ProveManage(ctx, found.ID); err == nil {
			break
		}
		switch {
		case errors.Is(err, ado.ErrUnauthorized) && a.tokens == nil:
			scope, role = noScope("AZP_TOKEN may read agent pools, not manage them"), notAsked("scope")
		case errors.Is(err, ado.ErrAccessDenied):
			role = failed(hint.With(fmt.Errorf("%s may look at the pool %s, not manage it", a.owner(), found.Name), "%s", strings.Join(hint.All(err), "; ")))
		default:
			role = failed(err)
		}
	}
	scope.Topic, role.Topic = "scope", "role"
	return []doctor.Result{scope, pool, role}
}

func noScope(text string) doctor.Result {
	return failed(hint.With(errors.New(text), `make a personal access token with the scope "Agent Pools (read & manage)", and set AZP_TOKEN to it`))
}

// owner is whose rights count.
func (a *azure) owner() string {
	if a.tokens != nil {
		return "the Azure identity"
	}
	return "the owner of AZP_TOKEN"
}

// member asks what the pool knows of this agent.
func (a *azure) member(ctx context.Context) doctor.Result {
	name := settings.AgentName(a.Agent)
	agent, err := a.server.FindAgent(ctx, a.poolID, name)
	switch {
	case errors.Is(err, ado.ErrAgentNotFound):
		return ok("%s is not registered yet", name)
	case err != nil:
		return failed(err)
	case agent.Enabled != nil && !*agent.Enabled:
		return warned("enable it in the pool", "%s is disabled, and gets no jobs", name)
	case agent.Status == ado.Online:
		return ok("%s is online; another one of this name would take its place", name)
	}
	return ok("%s is registered, and offline", name)
}
