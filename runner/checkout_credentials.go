package runner

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

// withGitConfig adds settings of git to an environment, behind those that are
// in it already. Unlike arguments, others cannot read an environment.
func withGitConfig(env environment, config map[string]string) environment {
	out := make(environment, len(env)+2*len(config)+1)
	maps.Copy(out, env)
	count, err := strconv.Atoi(env["GIT_CONFIG_COUNT"])
	if err != nil {
		count = 0
	}
	for name, value := range config {
		out["GIT_CONFIG_KEY_"+strconv.Itoa(count)] = name
		out["GIT_CONFIG_VALUE_"+strconv.Itoa(count)] = value
		count++
	}
	if len(config) > 0 {
		out["GIT_CONFIG_COUNT"] = strconv.Itoa(count)
	}
	return out
}

// withoutLargeFiles keeps large files away where they are not asked for: a machine
// may have them turned on for all users, and the server would be asked without
// credentials. The job may want that and say so.
func withoutLargeFiles(env environment, asked bool) environment {
	const skip = "GIT_LFS_SKIP_SMUDGE"
	if _, said := env[skip]; said || asked {
		return env
	}
	env = maps.Clone(env)
	env[skip] = "1"
	return env
}

// ownEnvironment makes the environment of a command whose effects outlast the job:
// what the agent was started with, and nothing that the job set.
func (x *execution) ownEnvironment() environment {
	env := make(environment, len(x.cfg.Environment)+2)
	for _, entry := range x.cfg.Environment {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	env["GIT_TERMINAL_PROMPT"] = "0"
	env[process.LookupVariable] = LookupID(x.cfg.AgentName, x.m.JobID)
	return env
}

// gitCredentials returns the value of the AUTHORIZATION header for r, which is
// masked, or "" for a repository without an endpoint.
func (x *execution) gitCredentials(r job.Repository) (string, error) {
	if r.Endpoint == nil {
		return "", nil
	}
	e, ok := x.m.Endpoint(r.Endpoint.ID)
	if !ok {
		if e, ok = x.m.Endpoint(r.Endpoint.Name); !ok {
			return "", nil
		}
	}
	if strings.EqualFold(e.Authorization.Scheme, "WorkloadIdentityFederation") {
		return "", hint.With(fmt.Errorf("checking out %s: its service connection %s uses workload identity federation, by which this agent cannot enter a repository", r.Alias, e.Name),
			"use a service connection with a token")
	}
	user, password, ok := basicCredentials(e)
	if !ok {
		return "", nil
	}
	if strings.EqualFold(e.Authorization.Scheme, "OAuth") && strings.EqualFold(r.Text("type"), "Git") {
		return "bearer " + password, nil
	}
	if strings.EqualFold(e.Authorization.Scheme, "OAuth") && strings.EqualFold(r.Text("type"), "Bitbucket") {
		user = "x-token-auth" // the only one Bitbucket takes with such a token
	}
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	x.masks.Add(basic)
	return "basic " + basic, nil
}

// withoutPassword moves a password out of an address, because git takes
// addresses on its command line and keeps them in its configuration. It goes
// into credentials, unless the endpoint of the repository brought some.
func (x *execution) withoutPassword(address, credentials string) (string, string) {
	u, err := url.Parse(address)
	if err != nil || u.User == nil || u.Scheme != "https" && u.Scheme != "http" {
		return address, credentials
	}
	password, _ := u.User.Password()
	if password == "" {
		return address, credentials
	}
	basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
	x.masks.Add(password, basic)
	if credentials == "" {
		credentials = "basic " + basic
	}
	if name := u.User.Username(); name != "" {
		u.User = url.User(name)
	} else {
		u.User = nil
	}
	return u.String(), credentials
}
