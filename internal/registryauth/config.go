package registryauth

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Config says which registries may be entered with an identity of the agent or
// of its machine. The zero Config is none.
type Config struct {
	Identity []string `envconfig:"DOCKLESS_REGISTRY_IDENTITY" desc:"registries of Azure, Google Cloud and AWS that builds and the pulls of containers enter as the agent, or as its machine, when nothing else has credentials for them: hosts, where * stands for any text, for example team.azurecr.io,*-docker.pkg.dev; any job may then read and push there what that identity may; empty is none"`
}

// cloudKind is whose registry a host is.
type cloudKind int

const (
	nobodys  cloudKind = iota
	anybodys           // of a pattern only
	azure
	google
	amazon
)

// hosts are the names of the clouds' registries, without a port: what listens on
// another one is somebody else's.
var hosts = map[cloudKind]*regexp.Regexp{
	azure:  regexp.MustCompile(`^([a-z0-9-]+\.)+azurecr\.(io|cn|us|de)$`),
	google: regexp.MustCompile(`^(([a-z0-9-]+\.)*gcr\.io|([a-z0-9-]+\.)+pkg\.dev)$`),
	amazon: regexp.MustCompile(`^([a-z0-9]+\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|on\.aws)|public\.ecr\.aws)$`),
}

func kindOf(host string) cloudKind {
	for kind, names := range hosts {
		if names.MatchString(host) {
			return kind
		}
	}
	return nobodys
}

// patternKind is whose registries a pattern names.
func patternKind(pattern string) cloudKind {
	if pattern == "*" {
		return anybodys
	}
	return kindOf(strings.ToLower(strings.ReplaceAll(pattern, "*", "x")))
}

// Validate reports every pattern that can match no registry of a cloud.
func (c Config) Validate() error {
	var problems []error
	for _, pattern := range c.Identity {
		if strings.ContainsAny(pattern, `?[\`) || patternKind(pattern) == nobodys {
			problems = append(problems, hint.With(fmt.Errorf("DOCKLESS_REGISTRY_IDENTITY has %q, which is no registry of Azure, Google Cloud or AWS", pattern),
				"name hosts such as team.azurecr.io, europe-docker.pkg.dev or *.dkr.ecr.*.amazonaws.com; for other registries log in, or name a credential helper in config.json"))
		}
	}
	return errors.Join(problems...)
}

// NeedsEntra reports whether a registry of Azure is among them, so that the
// agent's identity in Microsoft Entra is used and has to be kept from jobs.
func (c Config) NeedsEntra() bool {
	for _, pattern := range c.Identity {
		if kind := patternKind(pattern); kind == azure || kind == anybodys {
			return true
		}
	}
	return false
}

// allows reports whether host is one of the registries.
func (c Config) allows(host string) bool {
	for _, pattern := range c.Identity {
		if ok, err := path.Match(strings.ToLower(pattern), host); err == nil && ok {
			return true
		}
	}
	return false
}
