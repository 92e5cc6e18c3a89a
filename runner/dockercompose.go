package runner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/google/shlex"
	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/process"
)

const dockerComposeID = "6975e2d1-96d3-4afc-8a41-498b5d34ea19"

// composeTasks are DockerCompose@0 and @1 (language §5.5).
func composeTasks() map[string]task {
	tasks := make(map[string]task)
	for _, major := range []string{"0", "1"} {
		tasks[dockerComposeID+"@"+major] = task{
			name: "DockerCompose", title: "Docker Compose", description: "Build, push or run multi-container applications with docker compose.",
			run: runDockerCompose, connections: []string{"dockerRegistryEndpoint", "azureSubscriptionEndpoint", "azureSubscription", "dockerHostEndpoint"},
		}
	}
	return tasks
}

// composeStep is one run of DockerCompose.
type composeStep struct {
	*dockerStep
	path    string   // program
	first   []string // its first arguments
	dir     string   // working directory
	base    string   // the compose file
	files   []string // all of them, the base first
	project string   // empty: compose's own choice
}

// composeActions are the actions of the task, in lower case.
var composeActions = map[string]func(*composeStep, context.Context) error{
	"build services":               (*composeStep).buildServices,
	"push services":                (*composeStep).pushServices,
	"run services":                 (*composeStep).upServices,
	"run a specific service":       (*composeStep).runService,
	"lock services":                (*composeStep).lockServices,
	"write service image digests":  (*composeStep).writeDigests,
	"combine configuration":        (*composeStep).combine,
	"run a docker compose command": (*composeStep).anyCommand,
}

// runDockerCompose finds the compose files and runs the action that the step
// names.
func runDockerCompose(ctx context.Context, a *attempt) (err error) {
	name := cmp.Or(a.in.text("action", ""), "Run a Docker Compose command")
	action, ok := composeActions[strings.ToLower(name)]
	if !ok {
		return hint.With(fmt.Errorf("the input action %q is none of the task's", name),
			"write one of %s", strings.Join(slices.Sorted(maps.Keys(composeActions)), ", "))
	}
	if a.in.text("dockerHostEndpoint", "") != "" {
		return hint.With(errors.New("the step names a Docker host, and this agent has its own"), "remove the input dockerHostEndpoint")
	}
	r, err := a.composeRegistry()
	if err != nil {
		return err
	}
	s := &composeStep{dockerStep: &dockerStep{attempt: a, registry: r, config: a.x.dockerConfig()}}
	if found, err := s.find(); err != nil || !found {
		return err
	}
	if r != nil {
		if s.config, err = a.x.configFor(r); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(s.config)) }()
		a.env["DOCKER_CONFIG"] = s.config
	}
	if err := s.provider(ctx); err != nil {
		return err
	}
	generated, err := s.qualify(ctx)
	if err != nil {
		return err
	}
	if generated != "" {
		defer func() { err = errors.Join(err, os.Remove(generated)) }()
	}
	if err := action(s, ctx); err != nil {
		return err
	}
	if len(s.outputs) == 0 {
		return nil
	}
	a.node.mu.Lock()
	defer a.node.mu.Unlock()
	return setOutput(a, "DockerComposeOutput", strings.Join(s.outputs, "\n"), false)
}

// composeRegistry reads the connection that the step names; nil: none.
func (a *attempt) composeRegistry() (*registry, error) {
	if strings.EqualFold(a.in.text("containerregistrytype", "Azure Container Registry"), "Container Registry") {
		return a.registryOf("dockerRegistryEndpoint", "")
	}
	address := a.in.text("azureContainerRegistry", "")
	if given := looseObject(json.RawMessage(address)); given["loginServer"] != nil {
		address = fmt.Sprint(given["loginServer"])
	}
	if input := "azureSubscriptionEndpoint"; a.in.given(input) {
		return a.registryOf(input, address)
	}
	return a.registryOf("azureSubscription", address)
}

// find resolves the compose files, the project's name and the working directory.
// It reports false when there is no file and the step then has nothing to do.
func (s *composeStep) find() (bool, error) {
	var err error
	if s.dir, err = s.x.directory(cmp.Or(s.in.text("currentWorkingDirectory", ""), s.in.text("cwd", ""))); err != nil {
		return false, err
	}
	s.base, err = findFile("compose file", s.dir, s.in.text("dockerComposeFile", "**/docker-compose.yml"))
	if err != nil {
		if s.in.truth("nopIfNoDockerComposeFile", false) {
			s.node.print("There is no compose file, so there is nothing to do.")
			return false, nil
		}
		return false, hint.With(err, "set the input dockerComposeFile to a path below %s", s.dir)
	}
	s.files = []string{s.base}
	for _, file := range inputLines(s.in.text("additionalDockerComposeFiles", "")) {
		if !filepath.IsAbs(file) {
			file = filepath.Join(filepath.Dir(s.base), file)
		}
		if _, err := os.Stat(file); err != nil {
			if s.in.truth("requireAdditionalDockerComposeFiles", false) {
				return false, fmt.Errorf("looking for an additional compose file: %w", err)
			}
			continue
		}
		s.files = append(s.files, file)
	}
	for _, line := range inputLines(s.in.text("dockerComposeFileArgs", "")) {
		if name, value, ok := strings.Cut(line, "="); ok {
			s.env.set(strings.TrimSpace(name), strings.TrimSpace(value))
		}
	}
	s.env["COMPOSE_COMPATIBILITY"] = "true"
	given := s.x.vars.Value("build.repository.name")
	if s.in.given("projectName") {
		given = s.in.text("projectName", "")
	}
	if s.project = projectName(given); s.project != given {
		s.node.warning(fmt.Sprintf("The project name %q is called %q: compose takes lower-case letters, digits, hyphens and underscores.", given, s.project))
	}
	return true, nil
}

var notOfProject = regexp.MustCompile(`[^a-z0-9_-]`)

// projectName makes a name one that compose takes.
func projectName(given string) string {
	return strings.TrimLeft(notOfProject.ReplaceAllString(strings.ToLower(given), ""), "_-")
}

// inputLines returns the lines of an input that are not empty.
func inputLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}

// provider finds the program: the one that the step names, for version 0 a
// docker-compose on PATH, or the plugin of the docker command.
func (s *composeStep) provider(ctx context.Context) error {
	path := s.in.text("dockerComposePath", "")
	if found, err := s.env.look("docker-compose"); path == "" && err == nil && s.step.Reference.Major() == "0" {
		s.node.warning("Version 0 of the task uses docker-compose from PATH; version 1 uses docker compose.")
		path = found
	}
	if path != "" {
		s.path = path
		return nil
	}
	docker, err := s.env.look("docker")
	if err != nil {
		return hint.With(fmt.Errorf("running docker compose: %w", err), "install the docker program and its compose plugin, or name its directory in PATH")
	}
	s.path, s.first = docker, []string{"compose"}
	if _, err := s.capture(ctx, "version"); err != nil {
		return hint.With(fmt.Errorf("asking docker compose for its version: %w", err), "install the compose plugin of docker as cli-plugins/docker-compose")
	}
	return nil
}

// arguments are the command line of compose before the command.
func (s *composeStep) arguments() []string {
	args := slices.Clone(s.first)
	for _, f := range s.files {
		args = append(args, "-f", f)
	}
	if s.project != "" {
		args = append(args, "-p", s.project)
	}
	return args
}

// compose runs a command of compose. Its output goes to the log and to a file.
func (s *composeStep) compose(ctx context.Context, name string, args ...string) error {
	return s.execute(ctx, name, s.path, append(s.arguments(), args...))
}

// execute runs a program with its output in the log and in a file.
func (s *composeStep) execute(ctx context.Context, name, path string, args []string) error {
	file, end, err := s.outputFile(name)
	if err != nil {
		return err
	}
	s.node.print("##[command]" + path + " " + strings.Join(args, " "))
	err = s.process(ctx, program{path: path, args: args, dir: s.dir, env: s.env, file: file})
	return errors.Join(exitError(filepath.Base(path), err), end())
}

// dockerCommand runs the docker program.
func (s *composeStep) dockerCommand(ctx context.Context, args ...string) error {
	docker, err := s.env.look("docker")
	if err != nil {
		return hint.With(fmt.Errorf("running docker %s: %w", args[0], err), "install the docker program, or name its directory in PATH")
	}
	return s.execute(ctx, args[0], docker, args)
}

// maxCapture is the longest output of a program that is read whole, in bytes.
const maxCapture = 16 << 20

// capture runs compose and returns what it writes to standard output, which may
// hold secrets and is not shown.
func (s *composeStep) capture(ctx context.Context, args ...string) ([]byte, error) {
	return s.captureProgram(ctx, s.path, append(s.arguments(), args...))
}

func (s *composeStep) captureProgram(ctx context.Context, path string, args []string) ([]byte, error) {
	var out, complaints bytes.Buffer
	err := process.Run(ctx, process.Command{
		Path: path, Args: args, Dir: s.dir, Env: s.env.list(), Stdout: &limited{w: &out, left: maxCapture},
		Stderr: &limited{w: &complaints, left: 64 << 10}, Ladder: func() process.Ladder { return s.x.ladder(ctx) }, Veil: s.x.veil,
	})
	if text := strings.TrimSpace(complaints.String()); err != nil && text != "" {
		err = fmt.Errorf("%w: %s", exitError(filepath.Base(path), err), text)
	}
	return out.Bytes(), err
}

// limited drops what comes after the first left bytes.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n, err := l.w.Write(p[:min(len(p), l.left)])
	l.left -= n
	return len(p), err
}

// scratch names a file in the temp directory for what is generated.
func (s *composeStep) scratch() string {
	return filepath.Join(s.x.folders.temp, "docker-compose-"+uuid.NewString()+".yml")
}

// words splits the input arguments as a shell would.
func (s *composeStep) words(input string) ([]string, error) {
	words, err := shlex.Split(s.in.text(input, ""))
	if err != nil {
		return nil, fmt.Errorf("reading the input %s: %w", input, err)
	}
	return words, nil
}
