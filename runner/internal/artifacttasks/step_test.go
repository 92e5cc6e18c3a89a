package artifacttasks_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/internal/artifactdir"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/artifacttasks"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// fakeStep is a step without a job around it.
type fakeStep struct {
	t         *testing.T
	dir, temp string
	inputs    map[string]string
	variables map[string]string

	mu       sync.Mutex
	lines    []string
	warnings []string
	outputs  map[string]string
	commands []string // "area.event name path"
}

var _ step.Step = (*fakeStep)(nil)

func newStep(t *testing.T, inputs map[string]string) *fakeStep {
	t.Helper()
	dir := t.TempDir()
	return &fakeStep{t: t, dir: dir, temp: t.TempDir(), inputs: inputs, outputs: make(map[string]string), variables: map[string]string{
		"pipeline.workspace": dir, "system.artifactsDirectory": filepath.Join(dir, "a"), "build.artifactStagingDirectory": filepath.Join(dir, "a"),
	}}
}

func (s *fakeStep) Text(name, otherwise string) string {
	if v, ok := job.Lookup(s.inputs, name); ok && v != "" {
		return v
	}
	return otherwise
}

func (s *fakeStep) Given(name string) bool { _, ok := job.Lookup(s.inputs, name); return ok }

func (s *fakeStep) Truth(name string, otherwise bool) bool {
	return strings.EqualFold(s.Text(name, fmt.Sprint(otherwise)), "true")
}
func (s *fakeStep) Variable(name string) string { v, _ := job.Lookup(s.variables, name); return v }

func (s *fakeStep) Target(_, value string) (string, error) { return s.Path(value), nil }

func (s *fakeStep) Path(value string) string {
	if filepath.IsAbs(value) {
		return value
	}
	return filepath.Join(s.dir, value)
}

func (s *fakeStep) Open(path string) (*os.File, error) {
	if filepath.Base(path) == "hidden" {
		return nil, errHidden
	}
	return os.Open(path)
}

var errHidden = errors.New("a job may not read this")

func (s *fakeStep) Temp() string { return s.temp }
func (s *fakeStep) Print(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *fakeStep) Warning(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.warnings = append(s.warnings, text)
}
func (s *fakeStep) Error(err error) { s.t.Error(err) }

func (s *fakeStep) SetVariable(string, string) error        { return nil }
func (s *fakeStep) SetOutput(name, value string) error      { s.outputs[name] = value; return nil }
func (s *fakeStep) WithIssues()                             {}
func (s *fakeStep) Run(context.Context, step.Program) error { return errors.New("no programs here") }

func (s *fakeStep) Command(area, event string, properties map[string]string, data string) {
	s.commands = append(s.commands, area+"."+event+" "+properties["artifactname"]+" "+properties["containerfolder"]+" "+data)
}

const build = 7

func newRun(t *testing.T) artifacttasks.Run {
	t.Helper()
	return artifacttasks.Run{
		RunReference: job.RunReference{Project: "p", Build: build}, Container: 77, Job: "j", Service: artifactdir.New(t.TempDir(), build, ""),
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// list returns the files below a directory with their content.
func list(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			return nil // a link
		}
		name, _ := filepath.Rel(dir, path)
		text, err := os.ReadFile(path)
		out[name] = string(text)
		return err
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return out
}
