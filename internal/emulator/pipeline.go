package emulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

// Pipeline says how a pipeline is queued. The zero value queues a pipeline that
// needs nothing.
type Pipeline struct {
	Pool       string // takes every job, whatever pool it names; empty: the one it names, else the first
	Repo       string // directory of a git repository that becomes "self" and has the templates; empty: none
	File       string // path of the file in that repository, for messages and templates; empty: azure-pipelines.yml
	Parameters map[string]string
	Variables  map[string]job.Variable // set when the run is queued
	Tasks      []job.TaskReference     // that the file may name beside those of this server: see [Server.OfferTask]
}

// Whoever queues a run here has no name.
const requestedFor, requestedBy = "Somebody", "somebody@example.com"

// QueuePipeline compiles a pipeline and queues its jobs. Jobs that depend on
// others are queued when those have ended; jobs that are skipped are completed
// as skipped. A job with a matrix appears once until it starts, then as its legs.
// The error of a pipeline that cannot be compiled joins a [*pipeline.Error] for
// every mistake.
func (s *Server) QueuePipeline(ctx context.Context, text []byte, p Pipeline) (Run, error) {
	if p.File == "" {
		p.File = "azure-pipelines.yml"
	}
	r := s.reserveRun()
	loaded, compiled, err := s.compile(ctx, r, text, p)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		delete(s.runs, r.id)
		return Run{}, fmt.Errorf("queuing %s: %w", p.File, err)
	}
	r.number = loaded.Name
	r.name = strings.TrimSuffix(path.Base(p.File), path.Ext(p.File))
	r.warnings = loaded.Warnings
	c := &compiledRun{server: s, run: r, compiled: compiled, pool: p.Pool}
	r.finished = c.finished
	if err := c.announce(loaded); err != nil {
		return Run{}, err
	}
	c.advance()
	for _, w := range r.warnings {
		s.log.Warn("pipeline asks for what is not done", "run", r.id, "text", w)
	}
	return r.info(), nil
}

// reserveRun makes a run without jobs. Its number is not given again, even when
// the run cannot be compiled.
func (s *Server) reserveRun() *run {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.runs[s.nextRun] != nil {
		s.nextRun++
	}
	r := &run{id: s.nextRun, definition: 7, items: make(map[string]*containerItem)}
	s.nextRun++
	s.runs[r.id] = r
	return r
}

// compile loads the pipeline of r. It reads files, so the caller does not hold s.mu.
func (s *Server) compile(ctx context.Context, r *run, text []byte, p Pipeline) (*pipeline.Pipeline, *pipeline.Run, error) {
	source := pipeline.Source{File: p.File, Content: text}
	variables := maps.Clone(p.Variables)
	if p.Repo == "" {
		// Without a repository there is nothing to check out, and §8.2 has a word for it.
		if variables == nil {
			variables = make(map[string]job.Variable)
		}
		variables["build.syncSources"] = job.Variable{Value: "false", IsReadOnly: true}
	} else {
		root, err := os.OpenRoot(p.Repo)
		if err != nil {
			return nil, nil, hint.With(fmt.Errorf("opening the repository: %w", err), "name the directory of a Git repository with repo=PATH")
		}
		defer func() { _ = root.Close() }() // only read from
		source.Open = pipeline.Templates(root.FS())
	}
	repo, err := readRepo(ctx, p.Repo)
	if err != nil {
		return nil, nil, hint.With(err, "name the directory of a Git repository that has a commit with repo=PATH")
	}
	loaded, err := pipeline.Load(source, pipeline.Options{
		Parameters: p.Parameters, Variables: variables, Repository: repo, Project: "emulator", ProjectID: projectID,
		DefinitionID: r.definition, BuildID: r.id, Revision: r.id - firstRun + 1, Tasks: p.Tasks, Now: s.now(),
		RequestedFor: requestedFor, RequestedBy: requestedBy,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("compiling: %w", err)
	}
	compiled, err := pipeline.NewRun(loaded, pipeline.RunOptions{UniqueIDs: true})
	if err != nil {
		return nil, nil, fmt.Errorf("compiling: %w", err)
	}
	return loaded, compiled, s.checkPools(loaded, p.Pool)
}

// checkPools reports jobs whose pool does not exist. Names that are computed
// when the job starts are not known yet.
func (s *Server) checkPools(p *pipeline.Pipeline, override string) error {
	var names []string
	s.mu.Lock()
	for _, known := range s.pools {
		names = append(names, known.name)
	}
	s.mu.Unlock()
	const advice = "start the emulator with --pool %s, or send every job to another pool with pool=NAME"
	known := func(name string) bool {
		return name == "" || strings.Contains(name, "$") || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	if !known(override) {
		return hint.With(fmt.Errorf("there is no pool %q; the emulator has %s", override, strings.Join(names, ", ")), advice, override)
	}
	var problems []error
	for _, stage := range p.Stages {
		for _, def := range stage.Jobs {
			if override == "" && !def.Agentless && !known(def.Pool.Name) {
				err := fmt.Errorf("the job %s wants the pool %q; the emulator has %s", def.Name, def.Pool.Name, strings.Join(names, ", "))
				problems = append(problems, hint.With(err, advice, def.Pool.Name))
			}
		}
	}
	return errors.Join(problems...)
}
