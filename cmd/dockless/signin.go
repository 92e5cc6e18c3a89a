package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/credentials"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/runner"
)

// signInPause is the pause before the first repetition of a request to Microsoft
// Entra. It doubles, so that all of them fit into the minute of one sign-in.
const signInPause = 2 * time.Second

// taskNetwork is what downloaded tasks are told of the agent's own network.
func taskNetwork(c ado.NetworkConfig) runner.TaskNetwork {
	n := runner.TaskNetwork{NoProxy: c.NoProxy, CAFile: c.CAFile}
	for _, proxy := range []mask.Secret{c.HTTPProxy, c.HTTPSProxy} { // the second one wins
		u := proxyURL(proxy.Reveal())
		if u == nil {
			continue
		}
		password, _ := u.User.Password()
		n.ProxyUser, n.ProxyPassword = u.User.Username(), mask.NewSecret(password)
		u.User = nil
		n.ProxyURL = u.String()
	}
	return n
}

// proxyURL reads the address of a proxy as the agent's own connections do: without
// a scheme it is http. It returns nil when there is none, or none can be read.
func proxyURL(address string) *url.URL {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return nil
	}
	return u
}

// signIn is how the agent gets into Azure DevOps.
type signIn struct {
	network     ado.Network
	tokens      ado.BearerTokens // nil: a personal access token is all there is
	registries  *registryauth.Cloud
	connections *http.Transport // to Microsoft Entra and registries of Azure
}

// openSignIn prepares it; it connects to nobody yet.
func openSignIn(s *agentSettings, log *slog.Logger) (*signIn, error) {
	network, err := ado.OpenNetwork(s.Network)
	if err != nil {
		return nil, cmdline.Unusable(err)
	}
	in := &signIn{network: network, connections: network.NewHTTP()}
	if in.registries, err = credentials.NewCloud(s.Registries, s.Entra, ado.Explain(in.connections), log); err != nil {
		return nil, err
	}
	if s.Agent.UsesAzure() {
		in.tokens, err = entra.New(s.Entra, entra.Options{
			HTTP: ado.Explain(in.connections), Log: log, Scope: entra.AzureDevOps, Retries: ado.DefaultRetries, RetryPause: signInPause,
		})
		if err != nil {
			return nil, cmdline.Unusable(err)
		}
	}
	return in, nil
}

// deps completes what an agent is given.
func (in *signIn) deps(d agent.Deps) agent.Deps {
	d.Network, d.Tokens = in.network, in.tokens
	return d
}

// hideCredential has the runner hide the credential from jobs, as far as that can
// be done, and warns of what a job may see.
func (s *agentSettings) hideCredential(ctx context.Context, in *signIn, log *slog.Logger) {
	s.Runner.Secrets = append(s.Runner.Secrets, in.network.Passwords()...)
	if s.UsesEntra() && s.Entra.Shared() {
		log.WarnContext(ctx, "jobs can get the tokens of this machine's Azure identity themselves",
			"hint", "use workload identity or a secret's file instead, or keep jobs from 169.254.169.254")
	}
	if err := runner.CheckHidden(s.Runner.Hidden); err != nil {
		log.WarnContext(ctx, "jobs that run as the agent's user can read the file of its credential",
			"files", s.Runner.Hidden, "reason", err, "hint", strings.Join(hint.All(err), "; "))
		s.Runner.Hidden = nil
	}
}

// warnOfEngines tells of engines that see the files that are hidden from jobs: one
// that was found or started beside the agent would mount them into a container.
func (s *agentSettings) warnOfEngines(ctx context.Context, shop *workshop, log *slog.Logger) {
	beside := shop.podman != nil && s.Podman.Host == "" || shop.builder != nil && s.Build.Hosts == ""
	if len(s.Runner.Hidden) > 0 && beside {
		log.WarnContext(ctx, "jobs can read the file of the agent's credential through the Podman or BuildKit beside the agent",
			"files", s.Runner.Hidden, "hint", "set CONTAINER_HOST and BUILDKIT_HOST to services that do not see the file")
	}
}

func (in *signIn) close() { in.connections.CloseIdleConnections() }
