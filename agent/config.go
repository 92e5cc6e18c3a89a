package agent

import (
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Config holds the settings of an [Agent].
type Config struct {
	URL   string      `envconfig:"AZP_URL" required:"true" desc:"address of the organization or collection, for example https://dev.azure.com/contoso"`
	Token mask.Secret `envconfig:"AZP_TOKEN" desc:"personal access token with the scope Agent Pools (read & manage); registers and unregisters the agent, and is used for nothing else"`
	Pool  string      `envconfig:"AZP_POOL" default:"Default" desc:"name of the agent pool"`
	Name  string      `envconfig:"AZP_AGENT_NAME" desc:"name of the agent in its pool; empty is the host name. An agent of this name is replaced"`
	Auth  string      `envconfig:"AZP_AUTH" desc:"how the agent registers: pat, with AZP_TOKEN, or azure, with a Microsoft Entra identity; empty is azure when there is no AZP_TOKEN and an identity is set, else pat"`

	Once         bool          `envconfig:"DOCKLESS_ONCE" default:"false" desc:"take one job, unregister and exit"`
	DrainTimeout time.Duration `envconfig:"DOCKLESS_DRAIN_TIMEOUT" default:"1m" desc:"how long a job may go on after SIGTERM before it is canceled; with half a minute for its end and the reports, this is to stay below the grace period of systemd or Kubernetes"`
	StateDir     string        `envconfig:"DOCKLESS_STATE_DIR" default:".dockless" desc:"directory of what survives a restart: the agent's key and the name of the running job"`

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
	if c.DrainTimeout < 0 {
		add("set DOCKLESS_DRAIN_TIMEOUT to zero or more, for example 1m", "the drain budget is negative")
	}
	return errors.Join(problems...)
}
