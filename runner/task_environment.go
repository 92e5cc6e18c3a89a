package runner

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/taskdef"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// taskInputs returns the inputs of a downloaded task by their names in its
// definition (protocol §8.6): defaults, what the step says, macros, and paths
// below the default working directory. An empty path is that directory (language
// §3.5): the task library counts it as not given, and CopyFiles requires it.
func (x *execution) taskInputs(d *taskdef.Definition, given map[string]string) inputs {
	in := make(inputs, len(d.Inputs)+len(given))
	for _, i := range d.Inputs {
		in[i.Name] = i.Default
	}
	trim := strings.TrimSpace
	if x.knob("DISABLE_INPUT_TRIMMING", false) {
		trim = func(value string) string { return value }
	}
	// The service resolves aliases; for a message that it did not make, an input
	// under its own name wins.
	aliased := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := trim(given[name])
		name = strings.TrimSpace(name)
		switch i, ok := d.Lookup(name); {
		case !ok:
			in[name] = value
		case strings.EqualFold(i.Name, name):
			in[i.Name] = value
		default:
			aliased[i.Name] = value
		}
	}
	for name, value := range aliased {
		if _, ok := job.Lookup(given, name); !ok {
			in[name] = value
		}
	}
	for name, value := range in {
		value = x.expand(value)
		if i, ok := d.Lookup(name); ok && i.IsFile() {
			value = x.path(value)
		}
		in[name] = value
	}
	return in
}

// taskEnvironment adds to the environment of a script what only downloaded
// tasks are given (protocol §8.7). Every secret in it is masked already.
func (a *attempt) taskEnvironment(in inputs) {
	x, env := a.x, a.env
	for name, value := range x.vars.Secret() {
		env.set("SECRET_"+name, value)
	}
	public, secret := x.vars.Names()
	env.set("VSTS_PUBLIC_VARIABLES", plainJSON(public))
	env.set("VSTS_SECRET_VARIABLES", plainJSON(secret))
	env.set("COMMAND_CORRELATION_ID", x.correlation)
	for name, value := range in {
		env.set("INPUT_"+vars.EnvironmentName(name, false), value)
	}
	for name, value := range a.settings {
		env.set("VSTS_TASKVARIABLE_"+vars.EnvironmentName(name, false), value)
	}
	for _, e := range x.m.Resources.Endpoints {
		if e.IsSystemConnection() {
			a.addEndpoint("SYSTEMVSSCONNECTION", e)
		}
	}
	for _, i := range a.task.definition.Inputs {
		for id := range strings.SplitSeq(in[i.Name], ",") {
			id = strings.TrimSpace(id)
			switch {
			case i.IsConnection():
				// One that the job may not use is the task's to miss.
				if e, ok := x.m.Endpoint(id); ok && !e.IsSystemConnection() {
					a.addEndpoint(strings.ToLower(e.ID), e)
				}
			case i.IsSecureFile():
				a.addSecureFile(id)
			}
		}
	}
}

// addEndpoint exports a service connection under key, which is its id.
func (a *attempt) addEndpoint(key string, e job.Endpoint) {
	env := a.env
	env.set("ENDPOINT_URL_"+key, e.URL)
	env.set("ENDPOINT_AUTH_"+key, plainJSON(map[string]any{"scheme": e.Authorization.Scheme, "parameters": nonNil(e.Authorization.Parameters)}))
	env.set("ENDPOINT_AUTH_SCHEME_"+key, e.Authorization.Scheme)
	for name, value := range e.Authorization.Parameters {
		env.set("ENDPOINT_AUTH_PARAMETER_"+key+"_"+vars.EnvironmentName(name, false), value)
	}
	data := make(map[string]string, len(e.Data))
	for name, value := range e.Data {
		data[name] = a.x.expand(value)
		env.set("ENDPOINT_DATA_"+key+"_"+vars.EnvironmentName(name, false), data[name])
	}
	if id, err := uuid.Parse(key); err == nil && id != uuid.Nil {
		env.set("ENDPOINT_DATA_"+key, plainJSON(data))
	}
}

func (a *attempt) addSecureFile(id string) {
	for _, f := range a.x.m.Resources.SecureFiles {
		if id != "" && strings.EqualFold(f.ID, id) {
			a.env.set("SECUREFILE_NAME_"+strings.ToLower(f.ID), f.Name)
			a.env.set("SECUREFILE_TICKET_"+strings.ToLower(f.ID), f.Ticket)
		}
	}
}

// set adds an entry as far as an environment can carry it.
func (e environment) set(name, value string) {
	if !strings.ContainsAny(name, "=\x00") {
		e[name] = strings.ReplaceAll(value, "\x00", "")
	}
}

// largest returns the longest entry and its length in bytes.
func (e environment) largest() (name string, size int) {
	for n, value := range e {
		if s := len(n) + len("=") + len(value); s > size {
			name, size = n, s
		}
	}
	return name, size
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// plainJSON writes value, which is made of texts, as JSON without the escapes
// for HTML: the masks look for the usual spelling of a secret in JSON.
func plainJSON(value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(fmt.Sprintf("runner: writing %T as JSON: %v", value, err)) // texts can always be written
	}
	return strings.TrimSuffix(out.String(), "\n")
}
