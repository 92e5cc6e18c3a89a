package settings

import (
	"errors"
	"os"
	"strings"

	"golang.org/x/net/http/httpproxy"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/metrics"
	"github.com/dockless-ci/dockless/internal/preempt"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/sdnotify"
	"github.com/dockless-ci/dockless/internal/statuspage"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner"
)

// All are all settings of `dockless agent`.
type All struct {
	Agent      agent.Config
	Entra      entra.Config
	Network    ado.NetworkConfig
	Registries registryauth.Config
	Runner     runner.Config
	Build      buildxsetup.Config
	Podman     podmanrun.Config
	Job        Job
	Notice     preempt.Config
	Log        logging.Config

	Telemetry telemetry.Config
	Metrics   metrics.Config
	Systemd   sdnotify.Config
	Status    statuspage.Config
}

// Load reads all of them.
func (s *All) Load() error {
	if home, err := os.UserHomeDir(); err == nil {
		s.Build.Home = home
	}
	// The runner checks its own settings once it has all of them.
	return s.LoadSignIn(&s.Build, &s.Podman, &s.Job, &s.Notice, &s.Telemetry, &s.Metrics, &s.Systemd, &s.Status, Unchecked(&s.Runner))
}

// LoadSignIn reads the settings that it takes to get into Azure DevOps, and more
// that the command needs, and hides the secrets among them.
func (s *All) LoadSignIn(more ...any) error {
	s.Network = Proxies()
	err := Load(&s.Network, Unchecked(&s.Entra), &s.Registries)
	s.Agent.AzureConfigured = s.Entra.Configured()
	err = errors.Join(err, Load(append([]any{&s.Log, &s.Agent}, more...)...))
	if s.UsesEntra() {
		if problems := s.Entra.Validate(); problems != nil {
			err = errors.Join(err, cmdline.Unusable(problems))
		}
	}
	if err != nil {
		return err
	}
	return s.Conceal()
}

// UsesEntra reports whether the agent has an identity in Microsoft Entra of its
// own. Else what is set of one belongs to the jobs.
func (s *All) UsesEntra() bool { return s.Agent.UsesAzure() || s.Registries.NeedsEntra() }

// Conceal takes the credentials that register the agent out of what a job can
// see: their values out of the environment and /proc, and out of its log. Their
// files are named in Runner.Hidden, for the command to say so when they cannot be
// hidden.
func (s *All) Conceal() error {
	s.Runner.Hidden = secretFiles(&s.Agent, &s.Entra, &s.Telemetry)
	names := SecretNames(&s.Agent, &s.Entra)
	if s.UsesEntra() {
		s.Runner.Hidden = append(s.Runner.Hidden, s.Entra.Files()...)
		names = append(names, "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH")
	}
	for _, secret := range []mask.Secret{s.Agent.Token, s.Entra.ClientSecret, s.Entra.CertificatePassword} {
		if !secret.IsZero() {
			s.Runner.Secrets = append(s.Runner.Secrets, secret)
		}
	}
	return Hide(append(names, s.ConcealTelemetry()...))
}

// otherHeaders hold credentials for collectors as well, of what we do not send.
var otherHeaders = []string{"OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_HEADERS"}

// ConcealTelemetry hides the credentials for the collector in the logs of jobs, and
// returns the variables that hold them.
func (s *All) ConcealTelemetry() []string {
	s.Runner.Secrets = append(s.Runner.Secrets, s.Telemetry.Secrets()...)
	return append(SecretNames(&s.Telemetry), otherHeaders...)
}

// secretFiles lists the files that secrets of the Config structs come from.
func secretFiles(configs ...any) []string {
	var files []string
	for _, name := range SecretNames(configs...) {
		if path := os.Getenv(name); path != "" && strings.HasSuffix(name, fileSuffix) {
			files = append(files, path)
		}
	}
	return files
}

// Proxies takes the proxies from the environment, in capitals or not, as every
// program of the ecosystem does.
func Proxies() ado.NetworkConfig {
	p := httpproxy.FromEnvironment()
	return ado.NetworkConfig{HTTPSProxy: mask.NewSecret(p.HTTPSProxy), HTTPProxy: mask.NewSecret(p.HTTPProxy), NoProxy: p.NoProxy}
}

// AgentName is the name under which containers are labelled.
func AgentName(c agent.Config) string {
	if c.Name != "" {
		return c.Name
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "agent"
	}
	return host
}
