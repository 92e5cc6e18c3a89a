package doctorcmd

import (
	"context"
	"errors"
	"os"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
)

// examination is what doctor looks at: the settings of an agent, as far as they can
// be read, and its flags.
type examination struct {
	settings.All

	flags    *doctorFlags
	named    bool            // a server is named
	problems []error         // of the settings, each one
	unusable map[string]bool // groups whose settings have problems
}

// loadExamination reads every setting. Other than a command that works with them, it
// goes on after the first that cannot be used.
func loadExamination(f *doctorFlags) *examination {
	x := &examination{flags: f, named: os.Getenv("AZP_URL") != "", unusable: make(map[string]bool)}
	if home, err := os.UserHomeDir(); err == nil {
		x.Build.Home = home
	}
	x.Network = settings.Proxies()
	load := func(group string, configs ...any) {
		if problems := each(settings.Load(configs...)); len(problems) > 0 {
			x.problems, x.unusable[group] = append(x.problems, problems...), true
		}
	}
	load(groupAzure, &x.Network, settings.Unchecked(&x.Entra), &x.Registries)
	x.Agent.AzureConfigured = x.Entra.Configured()
	if x.named {
		load(groupAzure, &x.Agent)
	} else {
		var idle idleAgent // nobody has to be one
		load(groupAzure, &idle)
		x.Agent = idle.Config
	}
	load(groupMachine, settings.Unchecked(&x.Runner), &x.Notice)
	x.Runner.AgentName = settings.AgentName(x.Agent)
	load(groupMachine, &checkedAlone{&x.Runner})
	load(groupBuildKit, &x.Build)
	load(groupPodman, &x.Podman)
	load(groupRegistry, &x.Job)
	load("", &x.Log, &x.Telemetry, &x.Metrics, &x.Systemd, &x.Status)
	if x.UsesEntra() {
		load(groupAzure, &checkedAlone{&x.Entra})
	}
	if err := x.Conceal(); err != nil {
		x.problems = append(x.problems, err)
	}
	return x
}

// idleAgent are the settings of an agent that does not need to name a server.
type idleAgent struct{ agent.Config }

// Validate is content.
func (*idleAgent) Validate() error { return nil }

// checkedAlone is a Config that was loaded before and is only validated.
type checkedAlone struct{ config interface{ Validate() error } }

// Validate reports what is wrong with the config.
func (c *checkedAlone) Validate() error { return c.config.Validate() }

// each parts an error that joins several.
func each(err error) []error {
	if err == nil {
		return nil
	}
	if u, ok := err.(cmdline.UsageError); ok { //nolint:errorlint // the wrapping of settings.Load itself
		return each(u.Unwrap())
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var out []error
	for _, e := range joined.Unwrap() {
		out = append(out, each(e)...)
	}
	return out
}

func (x *examination) settingsChecks() []doctor.Check {
	return []doctor.Check{{Group: groupSettings, Topic: "settings", Ask: func(context.Context) []doctor.Result {
		var out []doctor.Result
		for _, err := range x.problems {
			if len(hint.All(err)) == 0 {
				err = hint.With(err, "docs/configuration.md says how it is written")
			}
			out = append(out, failed(err))
		}
		if len(out) > 0 {
			return out
		}
		server := "no server is named"
		if x.named {
			server = "for an agent of " + x.Agent.URL
		}
		return []doctor.Result{ok("all can be read; %s", server)}
	}}}
}

// errUnusable is why a group is not asked at all.
var errUnusable = errors.New("not asked: its settings cannot be used (--only settings says why)")
