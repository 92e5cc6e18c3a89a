package bake

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
)

// pluginTimeout bounds one run of the plugin: it reads files and evaluates them,
// which takes a tenth of a second.
const pluginTimeout = time.Minute

// plugin finds buildx: the plugin itself, or the docker program that has it.
func plugin(ctx context.Context) ([]string, bool) {
	if path, err := exec.LookPath("docker-buildx"); err == nil {
		return []string{path}, true
	}
	path, err := exec.LookPath("docker")
	if err != nil || exec.CommandContext(ctx, path, "buildx", "version").Run() != nil {
		return nil, false
	}
	return []string{path, "buildx"}, true
}

// run runs buildx bake on files and returns what it prints.
func run(ctx context.Context, files []File, o Options, why *Error, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, pluginTimeout, fmt.Errorf("buildx did not evaluate the files within %s", pluginTimeout))
	defer cancel()
	program, ok := plugin(ctx)
	if !ok {
		return nil, hint.With(why, "install the docker-buildx plugin, or write the file as JSON with nothing but references to variables, or as a compose file")
	}
	argv := append(slices.Clone(program[1:]), "bake", "--progress=quiet")
	var stdin []byte
	for _, f := range files {
		argv = append(argv, "--file", f.Name)
		if f.Name == "-" {
			stdin = f.Data
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.Vars)) {
		argv = append(argv, "--var", name+"="+o.Vars[name])
	}
	cmd := exec.CommandContext(ctx, program[0], append(argv, args...)...)
	cmd.Env, cmd.Stdin, cmd.WaitDelay = o.Environ, bytes.NewReader(stdin), time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if said := complaint(errs.String()); said != "" {
			return nil, fmt.Errorf("evaluating bake files with buildx: %s", said)
		}
		return nil, fmt.Errorf("evaluating bake files with buildx: %w", err)
	}
	return out.Bytes(), nil
}

// complaint returns why the plugin failed, without the excerpts it prints.
func complaint(stderr string) string {
	_, said, found := strings.Cut("\n"+stderr, "\nERROR: ")
	if !found {
		return ""
	}
	return strings.Join(strings.Fields(said), " ")
}

// resolveByPlugin lets buildx resolve files. It prints a JSON file without
// expressions, which is read as any.
func resolveByPlugin(ctx context.Context, files []File, o Options, why *Error) (*Plan, error) {
	args := []string{"--print"}
	for _, s := range o.Set {
		if _, _, err := parseSet(s); err != nil {
			return nil, err
		}
		args = append(args, "--set", s)
	}
	out, err := run(ctx, files, o, why, append(append(args, "--"), o.Targets...)...)
	if err != nil {
		return nil, err
	}
	return readPrinted(out)
}

// readPrinted reads the plan that buildx printed.
func readPrinted(out []byte) (*Plan, error) {
	d := &definition{vars: newVariables(func(string) (string, bool) { return "", false })}
	if err := d.addJSON([]File{{Name: "the output of buildx", Data: out}}); err != nil {
		return nil, err
	}
	p := &Plan{Groups: make(map[string]*Group), Targets: make(map[string]*Target)}
	for _, g := range d.groups {
		p.Groups[g.Name] = g
	}
	for _, t := range d.targets {
		var err error
		if p.Targets[t.Name], err = t.settled(); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// listByPlugin lets buildx list the targets or variables of files.
func listByPlugin(ctx context.Context, files []File, o Options, why *Error, what string, to any) error {
	out, err := run(ctx, files, o, why, "--list=type="+what+",format=json")
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, to); err != nil {
		return fmt.Errorf("reading the %s that buildx lists: %w", what, err)
	}
	return nil
}
