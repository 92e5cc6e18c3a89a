package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/go-units"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/launch"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/mounts"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

// container is a running container of the job, as a place for steps. Paths are
// those of the host everywhere in this package; they are translated where a
// process starts and where it names one.
type container struct {
	alias  string
	id     string
	podman *podmanrun.Client
	socket string       // of the server in it, on the host
	sees   mounts.Table // of the host's directories
	env    environment  // from the pipeline; what steps say goes on top
	node   []string     // starts Node.js, in it
	home   string       // for a user without one, in it
	paths  []string     // what steps put in front of PATH
}

// run runs cmd in the container. Its errors are those of [process.Run].
func (c *container) run(ctx context.Context, cmd process.Command, used func(launch.Exit)) error {
	program := launch.Program{Path: c.sees.Inside(cmd.Path), Dir: c.sees.Inside(cmd.Dir), Prepend: c.paths, Home: c.home}
	for _, arg := range cmd.Args {
		program.Args = append(program.Args, c.sees.Inside(arg))
	}
	for _, entry := range cmd.Env {
		name, value, _ := strings.Cut(entry, "=")
		program.Env = append(program.Env, name+"="+c.sees.Inside(value))
	}
	cmd.Path = program.Path
	return process.RunElsewhere(ctx, cmd, func(stdout, stderr *os.File) (process.Elsewhere, error) {
		p, err := launch.Start(ctx, c.socket, program, stdout, stderr)
		if errors.Is(err, launch.ErrNotFound) {
			err = hint.With(fmt.Errorf("in container %s: %w", c.alias, err),
				"use an image that has %s, or let the step run beside the container with \"target: host\"", program.Path)
		}
		if err != nil {
			return nil, c.explain(ctx, err)
		}
		return guest{p, func(err error) error { return c.explain(ctx, err) }, used}, nil
	})
}

// explain adds to the error of a process how its container ended, if it has.
func (c *container) explain(ctx context.Context, err error) error {
	end, ierr := c.podman.Ended(context.WithoutCancel(ctx), c.id)
	switch {
	case ierr != nil || end == nil:
		return err
	case end.OutOfMemory:
		return fmt.Errorf("container %s was killed because its memory ran out: %w", c.alias, err)
	}
	return fmt.Errorf("container %s ended with code %d: %w", c.alias, end.Code, err)
}

// guest is a process in a container.
type guest struct {
	*launch.Process
	explain func(error) error
	used    func(launch.Exit) // is told when the process has ended by itself or by a signal
}

// outOfMemoryError says that the kernel killed a process because its container's
// memory ran out.
type outOfMemoryError struct{ limit int64 } // bytes; zero: unknown

func (e *outOfMemoryError) Error() string {
	text := "the process was killed because the memory of its container ran out"
	if e.limit > 0 {
		text += "; the limit is " + units.BytesSize(float64(e.limit))
	}
	return text
}

// Wait returns as [process.Run] does.
func (g guest) Wait() error {
	exit, err := g.Process.Wait()
	if err == nil {
		g.used(exit)
	}
	switch {
	case err != nil:
		return g.explain(err)
	case exit.OutOfMemory:
		return hint.With(&outOfMemoryError{exit.Limit}, "raise --memory in the options of the container")
	case exit.Code != 0:
		return &process.ExitError{Code: exit.Code}
	}
	return nil
}

// inside returns text with the host's paths as the step sees them.
func (a *attempt) inside(text string) string {
	if a.where == nil {
		return text
	}
	return a.where.sees.Inside(text)
}

// path resolves a file input as [execution.path] does. For a step in a container
// it returns the host's path of what is mounted, and any other one as it is.
func (a *attempt) path(value string) string {
	path := a.x.path(value)
	if a.where != nil {
		if host, ok := a.where.sees.HostPath(path); ok {
			return host
		}
	}
	return path
}

// visible reports whether what [attempt.path] returned can be looked at here.
func (a *attempt) visible(path string) bool { return a.where == nil || a.where.sees.Sees(path) }

// isFile reports whether a path of the step is a file, as far as can be seen here.
func (a *attempt) isFile(path string) (is, seen bool) {
	if !a.visible(path) {
		return false, false
	}
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular(), true
}

// directory resolves a working directory as [execution.directory] does. One that
// only the container sees is checked there.
func (a *attempt) directory(value string) (string, error) {
	if dir := a.path(value); !a.visible(dir) {
		return dir, nil
	}
	dir, err := a.x.directory(a.path(value))
	if err != nil && a.where != nil {
		err = errors.New(a.inside(err.Error()))
	}
	return dir, err
}

// look finds a program on the PATH of env. In a container that is done when it is
// started, by the PATH there.
func (a *attempt) look(env environment, name string) (string, error) {
	if a.where != nil {
		return name, nil
	}
	return env.look(name)
}

// What a logging command says that is the path of a file or a directory.
var (
	pathData = []string{
		"task.addattachment", "task.uploadsummary", "task.uploadfile", "artifact.upload", "build.uploadlog", "build.uploadsummary",
	}
	pathLists = map[string][]string{ // properties; separated by commas
		"results.publish":      {"resultfiles"},
		"codecoverage.publish": {"summaryfile", "reportdirectory", "additionalcodecoveragefiles"},
	}
)

// outside returns c with the paths in it as the host has them. A path that the
// container does not share with the agent is an error, for the host's file of that
// name is another one.
func (a *attempt) outside(c command.Command) (command.Command, error) {
	if a.where == nil {
		return c, nil
	}
	var err error
	if slices.Contains(pathData, c.Name()) {
		c.Data, err = a.hostPath(c.Data)
		return c, err
	}
	properties := make(map[string]string, len(c.Properties))
	for name, value := range c.Properties {
		if slices.Contains(pathLists[c.Name()], name) {
			if value, err = a.hostPaths(value); err != nil {
				return c, err
			}
		}
		if name == "sourcepath" {
			value = a.where.sees.Outside(value) // one that is not mounted is shown as it is
		}
		properties[name] = value
	}
	c.Properties = properties
	if c.Name() == "results.publish" {
		c.Data, err = a.hostPaths(c.Data)
	}
	return c, err
}

func (a *attempt) hostPaths(list string) (string, error) {
	paths := strings.Split(list, ",")
	for i, p := range paths {
		host, err := a.hostPath(strings.TrimSpace(p))
		if err != nil {
			return "", err
		}
		paths[i] = host
	}
	return strings.Join(paths, ","), nil
}

// hostPath returns where a path of the container is on the host. Relative ones
// mean the same on both sides, and one of the host is what it is: commands of our
// own have such.
func (a *attempt) hostPath(path string) (string, error) {
	if !filepath.IsAbs(path) || a.where.sees.Sees(filepath.Clean(path)) {
		return path, nil
	}
	host, ok := a.where.sees.HostPath(path)
	if !ok {
		return "", hint.With(fmt.Errorf("%s lies in a directory that container %s does not share with the agent", path, a.where.alias),
			"write the file below $(Pipeline.Workspace) or $(Agent.TempDirectory)")
	}
	return host, nil
}
