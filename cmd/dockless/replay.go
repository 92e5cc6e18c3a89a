package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/agent"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/pipeline"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner"
)

// replayFlags are the flags of `dockless replay`.
type replayFlags struct {
	stage, job               string
	params, vars, secretVars []string
	envFiles                 []string
	output, report, message  string
	list                     bool

	warnings []string // from load
}

func newReplayCommand() *cobra.Command {
	f := &replayFlags{}
	cmd := &cobra.Command{
		Use:   "replay [PIPELINE.yml]",
		Short: "Run a pipeline on this machine, without a server",
		Long: `replay runs the jobs of a pipeline file (azure-pipelines.yml when none is named)
with the same runner as the agent: the same steps, variables, conditions and
logs. Sources are cloned from the repository that the file is in, as they were
last committed. With --message it runs one job message as captured from a server.

Exit code 0 means succeeded, with or without issues; 1 that the run failed.`,
		Args: atMostOneArg,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.stage, "stage", "", "run only this stage")
	flags.StringVar(&f.job, "job", "", "run only this job, NAME or STAGE.NAME")
	flags.StringArrayVar(&f.params, "param", nil, "value of a parameter, NAME=VALUE")
	flags.StringArrayVar(&f.vars, "var", nil, "variable set when the run is queued, NAME=VALUE")
	flags.StringArrayVar(&f.secretVars, "secret-var", nil, "secret variable, NAME=VALUE, or NAME to take it from the environment")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "file with NAME=VALUE lines, taken as variables")
	flags.StringVar(&f.output, "output", "auto", "auto, tty, plain or json")
	flags.StringVar(&f.report, "report", "", "write what happened to this JSON file")
	flags.StringVar(&f.message, "message", "", "run the job message in this JSON file instead of a pipeline")
	flags.BoolVar(&f.list, "list", false, "list stages, jobs and steps and run nothing")
	return cmd
}

func (f *replayFlags) run(cmd *cobra.Command, args []string) (err error) {
	if f.message != "" {
		if len(args) > 0 {
			return usagef("--message and a pipeline file exclude each other")
		}
		return f.replayMessage(cmd)
	}
	file := "azure-pipelines.yml"
	if len(args) == 1 {
		file = args[0]
	}
	p, err := f.load(cmd.Context(), file)
	if err != nil {
		return err
	}
	for _, w := range append(f.warnings, p.Warnings...) {
		fmt.Fprintf(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
	if f.list {
		return listPipeline(cmd.OutOrStdout(), p, f.output)
	}
	run, err := pipeline.NewRun(p, pipeline.RunOptions{Stage: f.stage, Job: f.job, UniqueIDs: true})
	if err != nil {
		return hint.With(usageError{err}, "list what there is with dockless replay --list %s", file)
	}
	return f.replay(cmd, filepath.Dir(file), &pipelineJobs{run: run})
}

// load reads and expands a pipeline file.
func (f *replayFlags) load(ctx context.Context, file string) (*pipeline.Pipeline, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, hint.With(usageError{fmt.Errorf("reading the pipeline: %w", err)}, "name the pipeline file: dockless replay FILE")
	}
	options := pipeline.Options{Repository: localRepository(ctx, filepath.Dir(file))}
	if options.Parameters, err = pairs("--param", f.params); err != nil {
		return nil, err
	}
	if options.Variables, err = f.variables(); err != nil {
		return nil, err
	}
	if options.Repository.Commit == "" {
		// Nothing can be cloned; a pipeline of scripts may not need it.
		options.Variables["agent.source.skip"] = job.Variable{Value: "true"}
		f.warnings = append(f.warnings, "there is no commit to check out, so checkout is skipped: commit the sources in a Git repository")
	}
	options.RequestedFor = gitConfig(ctx, "user.name")
	options.RequestedBy = gitConfig(ctx, "user.email")
	options.BuildID = int(time.Now().Unix() % (1 << 30)) // grows, and fits everything that reads it
	p, err := pipeline.Load(pipeline.Source{File: file, Content: content}, options)
	if err != nil {
		err = hint.With(usageError{err}, "correct %s there; dockless replay --list checks it without running it", file)
	}
	return p, err
}

// variables collects --env-file, --var and --secret-var; later ones win.
func (f *replayFlags) variables() (map[string]job.Variable, error) {
	out := make(map[string]job.Variable)
	for _, path := range f.envFiles {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, usageError{fmt.Errorf("reading --env-file: %w", err)}
		}
		n := 0
		for line := range strings.Lines(string(content)) {
			n++
			if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			name, value, ok := strings.Cut(line, "=")
			if !ok || name == "" {
				return nil, usagef("%s:%d: want NAME=VALUE", path, n)
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
		if !given {
			if value, given = os.LookupEnv(name); !given {
				return nil, hint.With(usagef("--secret-var %s: the environment has no such variable", name), "give it as --secret-var %s=VALUE, or export it", name)
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
			return nil, usagef("%s %q: want NAME=VALUE", flag, v)
		}
		out[name] = value
	}
	return out, nil
}

// jobSource hands out the jobs to run and takes their results.
type jobSource interface {
	next() []*job.Message
	finish(id job.ID, o runner.Outcome) error
	timeout(id job.ID) time.Duration
	result() job.Result
}

// pipelineJobs are the jobs of a run.
type pipelineJobs struct {
	run  *pipeline.Run
	jobs map[job.ID]*pipeline.Job
}

func (p *pipelineJobs) next() []*job.Message {
	if p.jobs == nil {
		p.jobs = make(map[job.ID]*pipeline.Job)
	}
	var messages []*job.Message
	for _, j := range p.run.Ready() {
		p.jobs[j.ID] = j
		messages = append(messages, j.Message())
	}
	return messages
}

func (p *pipelineJobs) finish(id job.ID, o runner.Outcome) error {
	return p.run.Finish(id, o.Result, o.Outputs)
}
func (p *pipelineJobs) timeout(id job.ID) time.Duration { return p.jobs[id].Timeout }
func (p *pipelineJobs) result() job.Result              { return p.run.Result() }

// oneJob is a captured message.
type oneJob struct {
	message *job.Message
	ended   job.Result
}

func (o *oneJob) next() []*job.Message {
	m := o.message
	o.message = nil
	if m == nil {
		return nil
	}
	return []*job.Message{m}
}

func (o *oneJob) finish(_ job.ID, out runner.Outcome) error { o.ended = out.Result; return nil }
func (o *oneJob) timeout(job.ID) time.Duration              { return 0 }
func (o *oneJob) result() job.Result                        { return o.ended }

func (f *replayFlags) replayMessage(cmd *cobra.Command) error {
	body, err := os.ReadFile(f.message)
	if err != nil {
		return usageError{fmt.Errorf("reading --message: %w", err)}
	}
	m, err := job.Decode(body)
	if err != nil {
		return usageError{fmt.Errorf("%s: %w", f.message, err)}
	}
	variables, err := f.variables()
	if err != nil {
		return err
	}
	if m.Variables == nil {
		m.Variables = make(map[string]job.Variable)
	}
	for name, v := range variables {
		m.Variables[name] = v
	}
	return f.replay(cmd, ".", &oneJob{message: m})
}

// replay runs jobs one after the other and shows them.
func (f *replayFlags) replay(cmd *cobra.Command, dir string, jobs jobSource) (err error) {
	ctx := cmd.Context()
	var s agentSettings
	if err := s.loadReplay(); err != nil {
		return err
	}
	log := logging.New(cmd.ErrOrStderr(), quieter(s.log))
	screen, err := newDisplay(f.output, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	t := newTerminal(screen, f.report != "")
	r := &replayer{settings: &s, log: log, screen: t}
	report, err := r.run(ctx, dir, jobs)
	err = errors.Join(err, screen.close(), r.close(ctx))
	if err != nil {
		return err
	}
	report.Records = t.reported()
	if f.report != "" {
		if err := writeReport(f.report, report); err != nil {
			return err
		}
	}
	switch {
	case errors.As(context.Cause(ctx), new(errInterrupted)):
		return quietError{exitInterrupted}
	case !report.Result.OK() && report.Result != job.Skipped:
		return quietError{exitFailed}
	}
	return nil
}

func (s *agentSettings) loadReplay() error {
	if home, err := os.UserHomeDir(); err == nil {
		s.build.Home = home
	}
	return loadSettings(&s.log, &s.build, &s.podman, &s.job, unchecked{&s.runner})
}

func writeReport(path string, report job.Report) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return hint.With(fmt.Errorf("writing the report: %w", err), "give --report a file in a directory that exists")
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return printJSON(file, report)
}

// replayer runs jobs on this machine. The workshop is opened for the first job
// that needs it, so that a pipeline of scripts needs neither BuildKit nor Podman.
type replayer struct {
	settings *agentSettings
	log      *slog.Logger
	screen   *terminal
	shop     *workshop
}

func (r *replayer) close(ctx context.Context) error {
	if r.shop == nil {
		return nil
	}
	return r.shop.close(ctx)
}

func (r *replayer) run(ctx context.Context, dir string, jobs jobSource) (job.Report, error) {
	report := job.Report{Outputs: map[string]string{}, Variables: map[string]string{}, Builds: []job.BuildReport{}}
	name := replayName(dir)
	for ready := jobs.next(); len(ready) > 0; ready = jobs.next() {
		for _, m := range ready {
			outcome, err := r.runJob(ctx, name, m, jobs.timeout(m.JobID))
			if err != nil {
				return report, err
			}
			if err := jobs.finish(m.JobID, outcome); err != nil {
				return report, err
			}
			for k, v := range outcome.Outputs {
				report.Outputs[k] = v
			}
			for k, v := range outcome.Variables {
				report.Variables[k] = v
			}
			report.Builds = append(report.Builds, outcome.Builds...)
		}
	}
	report.Result = jobs.result()
	return report, nil
}

// replayName names the replays of one directory, for its work folder and labels.
func replayName(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		abs = dir
	}
	return "replay-" + strings.Trim(strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, abs), "-")
}

func (r *replayer) runJob(ctx context.Context, name string, m *job.Message, timeout time.Duration) (runner.Outcome, error) {
	if timeout > 0 {
		stop := &job.Stop{Reason: job.StopCanceled, Message: fmt.Sprintf("the job ran longer than its maximum of %s", timeout), Grace: time.Minute}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout, stop)
		defer cancel()
	}
	if err := r.openFor(ctx, m); err != nil {
		return runner.Outcome{}, err
	}
	config := r.settings.runner
	config.AgentName, config.AgentVersion, config.CacheRepo = name, agent.Version, r.settings.job.CacheRepo
	if host, err := os.Hostname(); err == nil {
		config.MachineName = host
	}
	if os.Getenv("AZP_WORK") == "" {
		config.Work = filepath.Join(userStateDir(), "replay", name)
	}
	r.shop.equip(&config, r.log)
	if r.shop.podman != nil {
		// An earlier replay of this directory may have been killed.
		if _, err := r.shop.podman.RemoveOwned(ctx, podmanrun.Owner{Agent: name}); err != nil {
			return runner.Outcome{}, err
		}
	}
	run, err := runner.New(config, r.log)
	if err != nil {
		return runner.Outcome{}, usageError{err}
	}
	return run.Run(ctx, m, r.screen)
}

// taskDocker is the id of Docker@2.
const taskDocker = "e28912f1-0114-4464-802a-a3a35437fd16"

// openFor opens the workshop, or another part of it, for a job that needs it.
// What was named in the settings is opened in any case: scripts may use it.
func (r *replayer) openFor(ctx context.Context, m *job.Message) error {
	needBuilder := r.settings.build.Hosts != ""
	wantPodman := r.settings.podman.Host != "" || len(m.JobSidecarContainers) > 0
	for _, s := range m.Steps {
		if strings.EqualFold(s.Reference.ID, taskDocker) {
			needBuilder, wantPodman = true, true
		}
	}
	if r.shop != nil && (!needBuilder || r.shop.builder != nil) && (!wantPodman || r.shop.podman != nil) {
		return nil
	}
	if r.shop != nil {
		if err := r.shop.close(ctx); err != nil {
			return err
		}
	}
	s := workshopSettings{build: r.settings.build, podman: r.settings.podman, needBuilder: needBuilder, wantPodman: wantPodman}
	s.build.StateDir = userStateDir()
	shop, err := s.open(ctx, r.log)
	if err != nil {
		return err
	}
	r.shop = shop
	return nil
}
