package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// variables collects --env-file, --var and --secret-var; later ones win.
func (f *replayFlags) variables() (map[string]job.Variable, error) {
	out := make(map[string]job.Variable)
	for _, path := range f.envFiles {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, hint.With(cmdline.Unusable(fmt.Errorf("reading --env-file: %w", err)), "give --env-file a file with NAME=VALUE lines")
		}
		n := 0
		for line := range strings.Lines(string(content)) {
			n++
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !ok || name == "" {
				return nil, hint.With(cmdline.Usagef("%s:%d: the line has no name and value", path, n), "write it as NAME=VALUE, or start it with # to make it a comment")
			}
			out[name] = job.Variable{Value: value}
		}
	}
	plain, err := pairs("--var", f.vars)
	if err != nil {
		return nil, err
	}
	for name, value := range plain {
		out[name] = job.Variable{Value: value}
	}
	for _, flag := range f.secretVars {
		name, value, given := strings.Cut(flag, "=")
		if name == "" { // the rest may be the secret
			return nil, hint.With(cmdline.Usagef("a --secret-var has no name"), "write --secret-var NAME=VALUE, or NAME to take it from the environment")
		}
		if !given {
			if value, given = os.LookupEnv(name); !given {
				return nil, hint.With(cmdline.Usagef("--secret-var %s: the environment has no such variable", name), "give it as --secret-var %s=VALUE, or export it", name)
			}
		}
		out[name] = job.Variable{Value: value, IsSecret: true}
	}
	return out, nil
}

// pairs reads NAME=VALUE flags.
func pairs(flag string, values []string) (map[string]string, error) {
	out := make(map[string]string, len(values))
	for _, v := range values {
		name, value, ok := strings.Cut(v, "=")
		if !ok || name == "" {
			return nil, hint.With(cmdline.Usagef("%s %q has no name and value", flag, v), "write %s NAME=VALUE", flag)
		}
		out[name] = value
	}
	return out, nil
}

// secretsTaken lists the variables of the environment that --secret-var took:
// steps get them as secret variables, not by inheritance.
func (f *replayFlags) secretsTaken() []string {
	var names []string
	for _, flag := range f.secretVars {
		if !strings.Contains(flag, "=") {
			names = append(names, flag)
		}
	}
	return names
}
