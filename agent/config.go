package agent

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Config holds the settings of an [Agent].
type Config struct {
	URL   string      `envconfig:"AZP_URL" required:"true" desc:"address of the organization or collection, for example https://dev.azure.com/contoso"`
	Token mask.Secret `envconfig:"AZP_TOKEN" desc:"personal access token with the scope Agent Pools (read & manage); registers and unregisters the agent, sets its user capabilities and reaps dead agents, and is used for nothing else"`
	Pool  string      `envconfig:"AZP_POOL" default:"Default" desc:"name of the agent pool"`
	Name  string      `envconfig:"AZP_AGENT_NAME" desc:"name of the agent in its pool; empty is the host name. An agent of this name is replaced"`
	Auth  string      `envconfig:"AZP_AUTH" desc:"how the agent registers: pat, with AZP_TOKEN, or azure, with a Microsoft Entra identity; empty is azure when there is no AZP_TOKEN and an identity is set, else pat"`

	Once           bool           `envconfig:"DOCKLESS_ONCE" default:"false" desc:"take one job, unregister and exit"`
	ExitWithResult bool           `envconfig:"DOCKLESS_EXIT_WITH_RESULT" default:"false" desc:"with DOCKLESS_ONCE: exit with 1 when the job did not succeed, so that a Kubernetes Job shows it; otherwise a red job is a good end of the agent"`
	DrainTimeout   *time.Duration `envconfig:"DOCKLESS_DRAIN_TIMEOUT" desc:"how long a job may go on after SIGTERM before it is canceled. Unset: the grace period less 30s, which the end of the job and the reports may take, or 1m when no grace period is known"`
	GracePeriod    Period         `envconfig:"DOCKLESS_GRACE_PERIOD" desc:"how long this process may go on after SIGTERM in all: terminationGracePeriodSeconds of the pod, or TimeoutStopSec of the unit. A bare number is seconds. It bounds the drain budget; unset is unknown"`
	Ephemeral      bool           `envconfig:"DOCKLESS_EPHEMERAL" default:"true" desc:"leave the pool at every orderly end; false leaves the agent registered, offline, for the next start under its name"`
	Reregister     bool           `envconfig:"DOCKLESS_REREGISTER" default:"true" desc:"register again when somebody deleted the agent on the server; false ends the agent"`
	StateDir       string         `envconfig:"DOCKLESS_STATE_DIR" default:".dockless" desc:"directory of what survives a restart: the agent's key, the pool's id and the name of the running job; while the server is away, also up to 1 GiB of log text of that job, in a file without a name"`

	Fleet        string   `envconfig:"DOCKLESS_FLEET" default:"default" desc:"name of the agents that belong together: the capability dockless.fleet, by which agent reap finds those that it may remove; empty sets none"`
	Capabilities []string `envconfig:"DOCKLESS_CAPABILITIES" desc:"user capabilities that the agent is given, name=value, comma-separated; a name alone means true. Others that people set are kept"`
	Environment  bool     `envconfig:"DOCKLESS_ENVIRONMENT_CAPABILITIES" default:"true" desc:"offer environment variables as capabilities, as Microsoft's agent does, without those that seem to hold a secret and those that VSO_AGENT_IGNORE names"`

	// AzureConfigured says that an Azure identity is set, which counts when Auth
	// is empty.
	AzureConfigured bool `ignored:"true"`
}

// The ways to register.
const (
	authPAT   = "pat"
	authAzure = "azure"
)

// UsesAzure reports whether the agent registers with an Azure identity.
func (c Config) UsesAzure() bool {
	return c.Auth == authAzure || c.Auth == "" && c.Token.IsZero() && c.AzureConfigured
}

// Validate reports every problem of c, each with a hint that names the setting.
func (c Config) Validate() error {
	var problems []error
	add := func(advice, format string, args ...any) {
		problems = append(problems, hint.With(fmt.Errorf(format, args...), "%s", advice))
	}
	switch u, err := url.Parse(c.URL); {
	case c.URL == "":
		add("set AZP_URL to your organization's address, for example https://dev.azure.com/contoso", "the server's address is not set")
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		add("set AZP_URL to your organization's address, for example https://dev.azure.com/contoso", "the server's address is not an http or https URL")
	case u.User != nil:
		add("take the user name and password out of AZP_URL and set AZP_TOKEN", "the server's address carries a credential")
	}
	switch c.Auth {
	case "", authPAT:
		if c.Token.IsZero() && !c.UsesAzure() {
			add(`set AZP_TOKEN, or AZP_TOKEN_FILE, to a personal access token with the scope "Agent Pools (read & manage)"; or set AZP_AUTH to azure`, "there is no credential to register with")
		}
	case authAzure: // the identity has settings of its own
	default:
		add("set AZP_AUTH to pat or azure", "%q is no way to register", c.Auth)
	}
	if c.Pool == "" {
		add("set AZP_POOL to an existing pool", "the pool is not set")
	}
	if c.StateDir == "" {
		add("set DOCKLESS_STATE_DIR to a directory that only this agent uses", "the state directory is not set")
	}
	if strings.ContainsFunc(c.Fleet, unicode.IsSpace) {
		add("set DOCKLESS_FLEET to one word", "the fleet's name %q has a blank", c.Fleet)
	}
	if _, err := c.userCapabilities(); err != nil {
		add("write DOCKLESS_CAPABILITIES as name=value,name2=value2", "%w", err)
	}
	if c.DrainTimeout != nil && *c.DrainTimeout < 0 {
		add("set DOCKLESS_DRAIN_TIMEOUT to zero or more, for example 1m", "the drain budget is negative")
	}
	if c.GracePeriod < 0 {
		add("set DOCKLESS_GRACE_PERIOD to the pod's terminationGracePeriodSeconds, for example 3120", "the grace period is negative")
	}
	return errors.Join(problems...)
}
