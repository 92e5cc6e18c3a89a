package runner

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/step"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// builtins are the tasks that this agent runs itself, by id and major version:
// different tasks of different majors share an id, as Bash@3 does with an older
// one. Each family lists its own.
var builtins = gather(
	sourceTasks(), scriptTasks(), dockerTasks(), composeTasks(), fileTasks(), artifactTasks(), cacheTasks(), testTasks(),
)

func gather(families ...map[string]task) map[string]task {
	all := make(map[string]task)
	for _, family := range families {
		for key, t := range family {
			if _, twice := all[key]; twice {
				panic(fmt.Sprintf("runner: two built-ins are %s", key))
			}
			all[key] = t
		}
	}
	return all
}

// builtin returns the built-in that runs r. With built-ins turned off, only those
// are left that no package can stand in for.
func (x *execution) builtin(r job.TaskReference) (task, bool) {
	t, ok := builtins[strings.ToLower(r.ID)+"@"+r.Major()]
	if !ok || x.cfg.NativeTasks == "off" && !t.onlyHere {
		return task{}, false
	}
	return t, true
}

// builtinNames lists the built-ins for hints.
func builtinNames() string {
	var names []string
	for key, t := range builtins {
		_, major, _ := strings.Cut(key, "@")
		names = append(names, t.name+"@"+major)
	}
	slices.Sort(names)
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

// native makes a task of a built-in that lives in a package of its own.
func native(run step.Func) func(context.Context, *attempt) error {
	if run == nil {
		return nil
	}
	return func(ctx context.Context, a *attempt) error { return run(ctx, builtinStep{a}) }
}

// builtinStep is an attempt as built-ins see it.
type builtinStep struct{ a *attempt }

var _ step.Step = builtinStep{}

func (s builtinStep) Text(name, otherwise string) string     { return s.a.in.text(name, otherwise) }
func (s builtinStep) Given(name string) bool                 { return s.a.in.given(name) }
func (s builtinStep) Truth(name string, otherwise bool) bool { return s.a.in.truth(name, otherwise) }
func (s builtinStep) Variable(name string) string            { return s.a.x.vars.Value(name) }
func (s builtinStep) Path(value string) string               { return s.a.path(value) }
func (s builtinStep) Target(input, value string) (string, error) {
	return s.a.x.target(input, s.a.path(value))
}
func (s builtinStep) Open(path string) (*os.File, error) { return s.a.x.open(path) }
func (s builtinStep) Temp() string                       { return s.a.x.folders.temp }
func (s builtinStep) Print(line string)                  { s.a.node.print(command.Disarm(line)) }
func (s builtinStep) Warning(text string)                { s.a.node.warning(text) }
func (s builtinStep) Error(err error)                    { s.a.node.error(err) }

func (s builtinStep) SetVariable(name, value string) error {
	if err := s.a.x.vars.Writable(name); err != nil {
		return err
	}
	s.a.x.vars.Set(vars.Variable{Name: name, Value: value})
	return nil
}

func (s builtinStep) SetOutput(name, value string) error {
	s.a.node.mu.Lock()
	defer s.a.node.mu.Unlock()
	return setOutput(s.a, name, value, false)
}

func (s builtinStep) WithIssues() {
	s.a.node.mu.Lock()
	defer s.a.node.mu.Unlock()
	s.a.node.result = s.a.node.result.Merge(job.SucceededWithIssues)
}

func (s builtinStep) Command(area, event string, properties map[string]string, data string) {
	s.a.node.mu.Lock()
	defer s.a.node.mu.Unlock()
	s.a.execute(command.Command{Area: area, Event: event, Properties: properties, Data: data})
}

func (s builtinStep) Run(ctx context.Context, p step.Program) error {
	env := maps.Clone(s.a.env)
	maps.Copy(env, p.Env)
	path, err := s.a.look(env, p.Path)
	if err != nil {
		return err
	}
	dir, err := s.a.directory(p.Dir)
	if err != nil {
		return err
	}
	return exitError(p.Path, s.a.process(ctx, program{
		path: path, args: p.Args, dir: dir, env: env, commands: p.Commands, noStderr: p.FailOnStderr, file: p.Copy,
	}))
}
