package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/span"
	"github.com/dockless-ci/dockless/runner/internal/process"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// Entries that every process of a job finds in its environment, so that what
// it starts can be traced to the job, for example by `dockless stack up`.
const (
	environmentAgent = "DOCKLESS_AGENT"
	environmentJob   = "DOCKLESS_JOB"
	// environmentWarm names whose data a stack of the job may start from: first the
	// job's own scope, which is the only one that it writes.
	environmentWarm = "DOCKLESS_WARM_SCOPES"
)

// environment is a set of NAME → value.
type environment map[string]string

// list returns e as processes take it, sorted.
func (e environment) list() []string {
	out := make([]string, 0, len(e))
	for _, name := range slices.Sorted(maps.Keys(e)) {
		out = append(out, name+"="+e[name])
	}
	return out
}

// stepEnvironment makes the environment of a native script: what the agent was
// started with, the step's own entries, then the plain variables, which win
// (language §3.4). Secrets come in through the step's entries only. In container c
// it lies on top of what the image says, and nothing of the agent's is in it. Either
// way the step finds in it where in the trace of the job it is, as ctx says.
func (x *execution) stepEnvironment(ctx context.Context, c *container, step map[string]string) environment {
	env := make(environment, len(x.cfg.Environment)+len(step)+64)
	if c != nil {
		maps.Copy(env, c.env)
	} else {
		x.inherit(env)
	}
	maps.Copy(env, span.Environment(ctx))
	for name, value := range step {
		if name != "" && !strings.ContainsAny(name, "=\x00") {
			env[name] = strings.ReplaceAll(x.expand(strings.TrimSpace(value)), "\x00", "")
		}
	}
	maps.Copy(env, x.vars.Public())
	env["agent.jobstatus"] = x.vars.Value("agent.jobStatus")
	env["TF_BUILD"] = "True"
	// Azure's and Web Deploy's clients name the pipeline by these in what they log.
	client := fmt.Sprintf("VSTS_%s_build_%s_0", x.vars.Value("system.collectionId"), x.vars.Value("system.definitionId"))
	env["AZURE_HTTP_USER_AGENT"], env["MSDEPLOY_HTTP_USER_AGENT"] = client, client
	env[process.LookupVariable] = LookupID(x.cfg.AgentName, x.m.JobID)
	env[environmentAgent] = x.cfg.AgentName
	env[environmentJob] = string(x.m.JobID)
	env[environmentWarm] = x.warmScopes()
	if c != nil {
		return env // what comes before its PATH is added to that of the image
	}
	path := slices.Concat(x.paths, x.cfg.Path)
	if env["PATH"] != "" {
		path = append(path, env["PATH"])
	}
	env["PATH"] = strings.Join(path, string(os.PathListSeparator))
	return env
}

// warmScopes are those of the job's caches: a pull request reads what its target has
// and writes for itself, and so does a fork.
func (x *execution) warmScopes() string {
	read, _ := x.cacheScopes().Scopes() // the first of which is written
	names := make([]string, len(read))
	for i, scope := range read {
		names[i] = string(scope)
	}
	return strings.Join(names, ",")
}

// inherit adds what processes on the host have from the agent.
func (x *execution) inherit(env environment) {
	for _, entry := range x.cfg.Environment {
		if name, value, ok := strings.Cut(entry, "="); ok {
			env[name] = value
		}
	}
	x.dockerEnvironment(env)
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.Copy(env, x.stack)
}

// maxPaths bounds what a job puts in front of PATH, in bytes. Linux takes no
// entry of the environment above 128 KiB, so every later step would fail with a
// message that does not say why.
const maxPaths = 64 << 10

// prependPath puts dir in front of PATH for later steps that run where this one does.
func (a *attempt) prependPath(dir string) error {
	list := &a.x.paths
	if a.where != nil {
		list = &a.where.paths
	}
	paths := slices.Insert(slices.DeleteFunc(slices.Clone(*list), func(p string) bool { return p == dir }), 0, dir)
	length := 0
	for _, p := range paths {
		length += len(p) + 1
	}
	if length > maxPaths {
		return fmt.Errorf("the paths in front of PATH would be longer than %d KiB", maxPaths>>10)
	}
	*list = paths
	return nil
}

// look finds the program name on the PATH of env.
func (e environment) look(name string) (string, error) {
	if strings.ContainsRune(name, filepath.Separator) {
		return name, nil
	}
	for _, dir := range filepath.SplitList(e["PATH"]) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("looking for %s on PATH: %w", name, fs.ErrNotExist)
}

// inputs are the expanded inputs of a step.
type inputs map[string]string

// expandInputs trims and expands the inputs of a step (protocol §8.6).
func (x *execution) expandInputs(step job.Step) inputs {
	in := make(inputs, len(step.Inputs))
	for name, value := range step.Inputs {
		in[strings.TrimSpace(name)] = x.expand(strings.TrimSpace(value))
	}
	return in
}

// text returns input name, or otherwise when it is absent or empty.
func (in inputs) text(name, otherwise string) string {
	if v, _ := job.Lookup(in, name); v != "" {
		return v
	}
	return otherwise
}

// given reports whether the step names the input, be it empty.
func (in inputs) given(name string) bool {
	_, ok := job.Lookup(in, name)
	return ok
}

func (in inputs) truth(name string, otherwise bool) bool {
	return vars.Truth(in.text(name, ""), otherwise)
}

// path resolves a file input against the default working directory; an empty
// one is that directory.
func (x *execution) path(value string) string {
	base := x.vars.Value("system.defaultWorkingDirectory")
	if value == "" {
		return base
	}
	if filepath.IsAbs(value) {
		return filepath.Clean(value)
	}
	return filepath.Join(base, value)
}

// directory resolves a working directory and checks that it is there.
func (x *execution) directory(value string) (string, error) {
	dir := x.path(value)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("the working directory %s does not exist", dir)
	case err != nil:
		return "", fmt.Errorf("looking at the working directory: %w", err)
	case !info.IsDir():
		return "", fmt.Errorf("the working directory %s is no directory", dir)
	}
	return dir, nil
}
