package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/taskdef"
	"github.com/dockless-ci/dockless/runner/internal/taskstore"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// packageKey identifies the package of a task: two names of one task share it.
func packageKey(r job.TaskReference) string { return strings.ToLower(r.ID) + "@" + r.Version }

// fetchTasks gets the packages of all steps that need one, each once, before
// anything runs (protocol §8.3).
func (x *execution) fetchTasks(ctx context.Context, n *node) error {
	if x.cfg.Tasks == nil {
		return nil // steps that need one are reported with all else that is wrong
	}
	store := &taskstore.Store{
		Dir: filepath.Join(x.folders.work, "_tasks"), Shared: x.cfg.TaskStore, Fetch: x.cfg.Tasks.FetchTask, Warn: n.warning, Say: n.print,
	}
	x.packages = make(map[string]taskstore.Task)
	tried := make(map[string]bool)
	var problems []error
	for _, step := range x.enabledSteps() {
		r := step.Reference
		if _, ok := x.builtin(r); ok || tried[packageKey(r)] {
			continue
		}
		tried[packageKey(r)] = true
		var p taskstore.Task
		err := x.within(ctx, fetching, "fetching task "+describe(r), func(ctx context.Context) (err error) {
			p, err = store.Ensure(ctx, r)
			return err
		})
		if err != nil {
			problems = append(problems, fmt.Errorf("step %q needs task %s: %w", step.DisplayName, describe(r), err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		x.packages[packageKey(r)] = p
	}
	if err := errors.Join(problems...); err != nil || len(x.packages) == 0 {
		return err
	}
	return x.within(ctx, briefly, "looking for Node.js", func(ctx context.Context) (err error) {
		x.nodejs, err = x.findNode(ctx)
		return err
	})
}

// downloaded makes the task that runs a package.
func (x *execution) downloaded(step job.Step, p taskstore.Task) (task, error) {
	d := p.Definition
	t := task{title: d.Title(), description: d.Description, author: d.Author, help: d.HelpURL, definition: d}
	for _, in := range d.Inputs {
		if in.IsConnection() || in.IsSecureFile() {
			t.connections = append(t.connections, in.Name)
		}
	}
	var problems []error
	for part, run := range map[taskdef.Part]*func(context.Context, *attempt) error{
		taskdef.PreJob: &t.before, taskdef.Main: &t.run, taskdef.PostJob: &t.after,
	} {
		if !d.Has(part) {
			continue
		}
		h, ok := d.Node(part, x.nodejs.major, runtime.GOOS)
		if !ok {
			problems = append(problems, hint.With(
				fmt.Errorf("step %q needs task %s, whose %s is run by %s only, which this agent cannot do",
					step.DisplayName, describe(step.Reference), part, strings.Join(d.Handlers(part), " or ")),
				"send the job to Microsoft's agent (PowerShell handlers need Windows), or replace %s by a script step; built in are %s",
				step.Reference.Name, builtinNames()))
			continue
		}
		script := filepath.Join(p.Dir, filepath.FromSlash(h.Target))
		if info, err := os.Stat(script); !filepath.IsLocal(h.Target) || err != nil || info.IsDir() {
			problems = append(problems, fmt.Errorf("step %q needs task %s, whose %s names %q, which is no file of its package",
				step.DisplayName, describe(step.Reference), part, h.Target))
			continue
		}
		*run = func(ctx context.Context, a *attempt) error { return runNode(ctx, a, p.Dir, script, h) }
	}
	return t, errors.Join(problems...)
}

// runNode runs one part of a package by Node (protocol §8.8). Its exit code
// counts besides what the task says of its result.
func runNode(ctx context.Context, a *attempt, folder, script string, h taskdef.Handler) error {
	x := a.x
	if h.Node > x.nodejs.major {
		a.node.warning(fmt.Sprintf("The task is written for Node.js %d and runs with %s.", h.Node, x.nodejs.version))
	}
	in := x.taskInputs(a.task.definition, a.step.Inputs)
	dir, err := a.directory(x.handlerDirectory(h, folder, in))
	if err != nil {
		return err
	}
	a.taskEnvironment(in)
	node := []string{x.nodejs.path}
	if a.where != nil {
		node = a.where.node
	}
	err = a.process(ctx, program{path: node[0], args: append(slices.Clone(node[1:]), script), dir: dir, env: a.env, commands: true})
	if errors.Is(err, syscall.E2BIG) {
		name, size := a.env.largest()
		return hint.With(fmt.Errorf("starting the task: %w", err),
			"Linux takes at most 128 KiB for one entry of the environment; the largest one, %s, has %d bytes", name, size)
	}
	return exitError("Node", err)
}

// handlerDirectory returns the working directory that a handler asks for. It may
// mention inputs and the folder of the package itself.
func (x *execution) handlerDirectory(h taskdef.Handler, folder string, in inputs) string {
	text := vars.Replace(h.WorkingDirectory, func(name string) (string, bool) {
		if strings.EqualFold(name, "currentDirectory") {
			return folder, true
		}
		return job.Lookup(in, name)
	})
	return x.expand(strings.TrimSpace(text))
}
