package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

// replayFlags are the flags of `dockless replay`.
type replayFlags struct {
	stage, job               string
	params, vars, secretVars []string
	envFiles                 []string
	output, report, message  string
	artifacts                string
	list, expand             bool

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
		Args: cmdline.MaxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.stage, "stage", "", "run only the stage `NAME`")
	flags.StringVar(&f.job, "job", "", "run only the job `NAME`, or STAGE.NAME")
	flags.StringArrayVar(&f.params, "param", nil, "value of a parameter, `NAME=VALUE`; may be repeated")
	flags.StringArrayVar(&f.vars, "var", nil, "variable set when the run is queued, `NAME=VALUE`; may be repeated")
	flags.StringArrayVar(&f.secretVars, "secret-var", nil, "secret variable, `NAME[=VALUE]`; without a value it is taken from the environment, where fewer can read it")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "`FILE` with NAME=VALUE lines, taken as variables; may be repeated")
	flags.StringVar(&f.output, "output", "auto", "`FORM`: auto, tty, plain or json; with --list, table or json")
	flags.StringVar(&f.report, "report", "", "write what happened to the JSON `FILE`")
	flags.StringVar(&f.artifacts, "artifacts", "", "keep what the run publishes in `DIR`, one directory for each artifact (default: in the user's state directory)")
	flags.StringVar(&f.message, "message", "", "run the job message in the JSON `FILE` instead of a pipeline")
	flags.BoolVar(&f.list, "list", false, "list stages, jobs and steps and run nothing")
	flags.BoolVar(&f.expand, "expand", false, "print the pipeline with its template expressions evaluated and run nothing")
	return cmd
}

func (f *replayFlags) run(cmd *cobra.Command, args []string) error {
	if f.message != "" {
		if len(args) > 0 {
			return hint.With(cmdline.Usagef("--message and a pipeline file exclude each other"), "leave one of --message and %s away", args[0])
		}
		if f.list || f.expand || f.stage != "" || f.job != "" || len(f.params) > 0 {
			return hint.With(cmdline.Usagef("--message runs one job as it is"), "leave --list, --expand, --stage, --job and --param away; they choose from a pipeline file")
		}
		return f.replayMessage(cmd)
	}
	outputs := []string{"auto", "tty", "plain", "json"}
	if f.list {
		outputs = []string{"auto", "table", "json"}
	}
	if err := cmdline.OneOf("--output", f.output, outputs...); err != nil {
		return err
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
		console.Say(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
	if f.expand {
		expanded, err := p.Expanded()
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(expanded)
		return err
	}
	if f.list {
		return listPipeline(cmd.OutOrStdout(), p, f.output)
	}
	run, err := pipeline.NewRun(p, pipeline.RunOptions{Stage: f.stage, Job: f.job, UniqueIDs: true})
	if err != nil {
		return hint.With(cmdline.Unusable(err), "list what there is with dockless replay --list %s", file)
	}
	return f.replay(cmd, filepath.Dir(file), &pipelineJobs{run: run})
}

// load reads and expands a pipeline file.
func (f *replayFlags) load(ctx context.Context, file string) (*pipeline.Pipeline, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, hint.With(cmdline.Unusable(fmt.Errorf("reading the pipeline: %w", err)), "name the pipeline file: dockless replay FILE")
	}
	repository, top := localRepository(ctx, filepath.Dir(file))
	options := pipeline.Options{Repository: repository}
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
	top, name, err := below(top, file)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(top) // templates come from the repository and nowhere else
	if err != nil {
		return nil, fmt.Errorf("opening the repository: %w", err)
	}
	defer func() { _ = root.Close() }() // read only
	p, err := pipeline.Load(pipeline.Source{File: name, Content: content, Open: pipeline.Templates(root.FS())}, options)
	if err != nil {
		err = hint.With(cmdline.Unusable(err), "correct %s there; dockless replay --list checks it without running it", file)
	}
	return p, err
}

func (f *replayFlags) replayMessage(cmd *cobra.Command) error {
	body, err := os.ReadFile(f.message)
	if err != nil {
		return hint.With(cmdline.Unusable(fmt.Errorf("reading --message: %w", err)), "give --message the JSON file of a job message")
	}
	m, err := job.Decode(body)
	if err != nil {
		return hint.With(cmdline.Unusable(fmt.Errorf("%s: %w", f.message, err)), "give --message the JSON file of a job message; a pipeline needs no flag")
	}
	variables, err := f.variables()
	if err != nil {
		return err
	}
	if m.Variables == nil {
		m.Variables = make(map[string]job.Variable)
	}
	maps.Copy(m.Variables, variables)
	return f.replay(cmd, ".", &oneJob{message: m})
}

// replay runs jobs one after the other and shows them.
func (f *replayFlags) replay(cmd *cobra.Command, dir string, jobs jobSource) (err error) {
	ctx := cmd.Context()
	var s agentSettings
	if err := s.loadReplay(); err != nil {
		return err
	}
	// Steps get what they need as variables, not what this shell happens to hold.
	if err := settings.Hide(slices.Concat(settings.SecretNames(&s.Agent), s.ConcealTelemetry(), f.secretsTaken())); err != nil {
		return err
	}
	file, err := createReport(f.report)
	if err != nil {
		return err
	}
	if file != nil {
		defer func() { err = errors.Join(err, file.Close()) }()
	}
	s.Telemetry.Withhold = cmdline.WithinJob()
	log := logging.New(cmd.ErrOrStderr(), settings.Quieter(s.Log))
	ctx, stopTelemetry, err := cmdline.StartTrace(ctx, s.Telemetry, version, log)
	if err != nil {
		return err
	}
	defer stopTelemetry()
	screen, err := newDisplay(cmd.Context(), f.output, cmd.OutOrStdout())
	if err != nil {
		return err
	}
	t := newTerminal(screen, file != nil)
	r := &replayer{settings: &s, log: log, screen: t, artifactDir: f.artifacts}
	report, err := r.run(ctx, dir, jobs)
	err = errors.Join(err, screen.close(), r.close(ctx))
	if err != nil {
		return err
	}
	if file != nil {
		report.Records = t.reported()
		if err := console.PrintJSON(file, report); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	t.summarize(cmd.ErrOrStderr(), f.output, report.Result)
	if dir := r.artifactsAt(); dir != "" {
		console.Say(cmd.ErrOrStderr(), "artifacts: %s\n", dir)
	}
	switch {
	case cmdline.Interrupted(ctx):
		return cmdline.ExitWith(cmdline.ExitInterrupted)
	case !report.Result.OK() && report.Result != job.Skipped:
		return cmdline.ExitWith(cmdline.ExitFailed)
	}
	return nil
}

func (s *agentSettings) loadReplay() error {
	if home, err := os.UserHomeDir(); err == nil {
		s.Build.Home = home
	}
	return settings.Load(&s.Log, &s.Build, &s.Podman, &s.Job, &s.Telemetry, settings.Unchecked(&s.Runner))
}

// createReport makes the file of --report before anything runs, because a run
// whose report cannot be written may have to be repeated. An empty path is none.
func createReport(path string) (*os.File, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, hint.With(cmdline.Unusable(fmt.Errorf("making the report: %w", err)), "give --report a file in a directory that exists and can be written")
	}
	return file, nil
}
