package main

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

// allSettings are all settings of `dockless agent`.
type allSettings struct {
	agent      agent.Config
	entra      entra.Config
	network    ado.NetworkConfig
	registries registryauth.Config
	runner     runner.Config
	build      buildxsetup.Config
	podman     podmanrun.Config
	job        jobSettings
	notice     preempt.Config
	log        logging.Config

	telemetry telemetry.Config
	metrics   metrics.Config
	systemd   sdnotify.Config
	status    statuspage.Config
}

// load reads all of them.
func (s *allSettings) load() error {
	if home, err := os.UserHomeDir(); err == nil {
		s.build.Home = home
	}
	// The runner checks its own settings once it has all of them.
	return s.loadSignIn(&s.build, &s.podman, &s.job, &s.notice, &s.telemetry, &s.metrics, &s.systemd, &s.status, notValidated(&s.runner))
}

// agentName is the name under which containers are labelled.
func agentName(c agent.Config) string {
	if c.Name != "" {
		return c.Name
	}
	host, err := os.Hostname()
	if err != nil || host == "" {
		return "agent"
	}
	return host
}

// proxies takes the proxies from the environment, in capitals or not, as every
// program of the ecosystem does.
func proxies() ado.NetworkConfig {
	p := httpproxy.FromEnvironment()
	return ado.NetworkConfig{HTTPSProxy: mask.NewSecret(p.HTTPSProxy), HTTPProxy: mask.NewSecret(p.HTTPProxy), NoProxy: p.NoProxy}
}

// otherHeaders hold credentials for collectors as well, of what we do not send.
var otherHeaders = []string{"OTEL_EXPORTER_OTLP_METRICS_HEADERS", "OTEL_EXPORTER_OTLP_LOGS_HEADERS"}

// loadSignIn reads the settings that it takes to get into Azure DevOps, and more
// that the command needs, and hides the secrets among them.
func (s *allSettings) loadSignIn(more ...any) error {
	s.network = proxies()
	err := loadSettings(&s.network, notValidated(&s.entra), &s.registries)
	s.agent.AzureConfigured = s.entra.Configured()
	err = errors.Join(err, loadSettings(append([]any{&s.log, &s.agent}, more...)...))
	if s.usesEntra() {
		if problems := s.entra.Validate(); problems != nil {
			err = errors.Join(err, cmdline.Unusable(problems))
		}
	}
	if err != nil {
		return err
	}
	return s.conceal()
}

// usesEntra reports whether the agent has an identity in Microsoft Entra of its
// own. Else what is set of one belongs to the jobs.
func (s *allSettings) usesEntra() bool { return s.agent.UsesAzure() || s.registries.NeedsEntra() }

// conceal takes the credentials that register the agent out of what a job can
// see: their values out of the environment and /proc, and out of its log. Their
// files are hidden by [agentSettings.hideCredential], which can say so when it
// cannot be done.
func (s *allSettings) conceal() error {
	s.runner.Hidden = secretFiles(&s.agent, &s.entra, &s.telemetry)
	names := secretNames(&s.agent, &s.entra)
	if s.usesEntra() {
		s.runner.Hidden = append(s.runner.Hidden, s.entra.Files()...)
		names = append(names, "AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH")
	}
	for _, secret := range []mask.Secret{s.agent.Token, s.entra.ClientSecret, s.entra.CertificatePassword} {
		if !secret.IsZero() {
			s.runner.Secrets = append(s.runner.Secrets, secret)
		}
	}
	return hideSecrets(append(names, s.concealTelemetry()...))
}

// concealTelemetry hides the credentials for the collector in the logs of jobs, and
// returns the variables that hold them.
func (s *allSettings) concealTelemetry() []string {
	s.runner.Secrets = append(s.runner.Secrets, s.telemetry.Secrets()...)
	return append(secretNames(&s.telemetry), otherHeaders...)
}

// secretFiles lists the files that secrets of the Config structs come from.
func secretFiles(configs ...any) []string {
	var files []string
	for _, name := range secretNames(configs...) {
		if path := os.Getenv(name); path != "" && strings.HasSuffix(name, fileSuffix) {
			files = append(files, path)
		}
	}
	return files
}
