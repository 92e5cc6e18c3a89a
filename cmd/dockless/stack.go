package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/podmanrun"
)

// stackFlags are the flags that name a project.
type stackFlags struct {
	files, profiles, envFiles []string
	project, directory        string
}

func (f *stackFlags) register(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "compose `FILE`; may be repeated, later ones override")
	flags.StringVarP(&f.project, "project-name", "p", "", "`NAME` of the project")
	flags.StringArrayVar(&f.profiles, "profile", nil, "active profile `NAME`; may be repeated")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "`FILE` with variables for interpolation; may be repeated")
	flags.StringVar(&f.directory, "project-directory", "", "`DIR` that relative paths start from")
}

func newStackCommand() *cobra.Command {
	f := &stackFlags{}
	cmd := &cobra.Command{
		Use:   "stack",
		Short: "A compose project on Podman",
		Long: `stack starts the services of a compose file through the Podman API, in parallel as
their dependencies allow, and waits until they are healthy. A service that dies
or never turns healthy ends the wait at once and says why.

Inside a job everything it makes belongs to the job and is removed with it.`,
		Args: knownCommand,
		RunE: showHelp,
	}
	f.register(cmd)
	cmd.AddCommand(newStackUpCommand(f), newStackDownCommand(f), newStackPsCommand(f), newStackLogsCommand(f), newStackConfigCommand(f), newStackWarmCommand())
	return cmd
}

// load reads the project. Inside a job the name gets a part of the job's id, so
// that jobs which share a Podman do not share their services.
func (f *stackFlags) load(ctx context.Context, owner podmanrun.Owner) (*podmanrun.Project, error) {
	environment := make(map[string]string)
	for _, entry := range os.Environ() {
		if name, value, ok := strings.Cut(entry, "="); ok {
			environment[name] = value
		}
	}
	options := podmanrun.LoadOptions{
		Files: f.files, Name: f.project, Profiles: f.profiles, EnvFiles: f.envFiles,
		Environment: environment, WorkingDir: f.directory,
	}
	p, err := podmanrun.Load(ctx, options)
	if err == nil && owner.Job != "" && f.project == "" && environment["COMPOSE_PROJECT_NAME"] == "" {
		const enough = 8 // of a GUID's digits, to tell the jobs of one Podman apart
		options.Name = p.Name() + "-" + owner.Job[:min(enough, len(owner.Job))]
		p, err = podmanrun.Load(ctx, options)
	}
	if err != nil {
		return nil, usageError{err}
	}
	return p, nil
}

// jobOwner is the job that this process runs in: the runner sets both variables.
func jobOwner() podmanrun.Owner {
	return podmanrun.Owner{Agent: os.Getenv("DOCKLESS_AGENT"), Job: os.Getenv("DOCKLESS_JOB")}
}

// withPodman opens Podman, hands it to use and closes it.
func withPodman(cmd *cobra.Command, use func(context.Context, *podmanrun.Client) error) (err error) {
	var (
		config    podmanrun.Config
		logConfig logging.Config
	)
	if err := loadSettings(&logConfig, &config); err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := podmanrun.Open(ctx, config, logging.New(cmd.ErrOrStderr(), quieter(logConfig)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return use(ctx, c)
}

func newStackUpCommand(f *stackFlags) *cobra.Command {
	var (
		dryRun, removeOrphans, quiet bool
		wait                         time.Duration
		exportEnv                    string
		output                       string
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the services and wait until they are healthy",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("--output", output, "text", "json"); err != nil {
				return err
			}
			owner := jobOwner()
			p, err := f.load(cmd.Context(), owner)
			if err != nil {
				return err
			}
			for _, w := range p.Warnings() {
				say(cmd.ErrOrStderr(), "warning: %s\n", w)
			}
			if dryRun {
				return printPlan(cmd.OutOrStdout(), output, podmanrun.Plan(p))
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				events, err := newStackDisplay(cmd.ErrOrStderr(), quiet)
				if err != nil {
					return err
				}
				start := time.Now()
				stack, err := c.Up(ctx, p, podmanrun.UpOptions{
					Owner: owner, WaitTimeout: wait, Credentials: pullCredentials(c.Log()), RemoveOrphans: removeOrphans, Warm: warmScopes(owner), Progress: events.event,
				})
				if err := errors.Join(err, events.close()); err != nil {
					printLastWords(cmd.ErrOrStderr(), err)
					if failed, ok := errors.AsType[*podmanrun.ServiceError](err); ok && output == "json" {
						err = errors.Join(err, printJSON(cmd.OutOrStdout(), map[string]any{"error": failed}))
					}
					return err
				}
				env := stack.Environment()
				if exportEnv != "" {
					if err := writeEnv(exportEnv, env); err != nil {
						return err
					}
				}
				if output == "json" {
					return printJSON(cmd.OutOrStdout(), map[string]any{"project": stack.Project(), "environment": env})
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "stack %s is up after %s\n", stack.Project(), time.Since(start).Round(time.Millisecond))
				return err
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&dryRun, "dry-run", false, "print the services in start order and start nothing")
	flags.BoolVar(&removeOrphans, "remove-orphans", false, "remove containers of services that the project no longer has")
	flags.BoolVarP(&quiet, "quiet", "q", false, "print no progress")
	flags.DurationVar(&wait, "wait-timeout", 5*time.Minute, "longest wait for everything to be healthy; 0 is none")
	flags.StringVar(&exportEnv, "export-env", "", "write DOCKLESS_<SERVICE>_HOST and _PORT_<N> to `FILE`, for a shell to source")
	flags.StringVar(&output, "output", "text", "`FORM`: text or json")
	return cmd
}

// printLastWords shows the last lines and the last healthcheck of the service
// that ended the start.
func printLastWords(w io.Writer, err error) {
	if failed, ok := errors.AsType[*podmanrun.ServiceError](err); ok {
		if details := failed.Details(); details != "" {
			say(w, "%s\n", strings.TrimRight(details, "\n"))
		}
	}
}

// writeEnv writes variables so that a shell can source them.
func writeEnv(path string, env map[string]string) error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(env[name], "'", `'\''`))
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil { //nolint:gosec // hosts and ports are no secret
		return hint.With(fmt.Errorf("writing the environment: %w", err), "give --export-env a file in a directory that exists")
	}
	return nil
}

func printPlan(w io.Writer, output string, steps []podmanrun.Step) error {
	if output == "json" {
		return printJSON(w, steps)
	}
	t := newTable(w)
	say(t, "WAVE\tSERVICE\tIMAGE\tAFTER\n")
	for _, s := range steps {
		after := make([]string, len(s.After))
		for i, d := range s.After {
			after[i] = d.Service + " (" + d.Condition + ")"
		}
		say(t, "%d\t%s\t%s\t%s\n", s.Wave, s.Service, s.Image, strings.Join(after, ", "))
	}
	return t.Flush()
}

func newStackDownCommand(f *stackFlags) *cobra.Command {
	var (
		volumes bool
		timeout time.Duration
	)
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop and remove the project's containers and networks",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			name, err := f.name(cmd.Context())
			if err != nil {
				return err
			}
			lines := &stackLines{w: cmd.ErrOrStderr(), start: time.Now()}
			options := podmanrun.DownOptions{Volumes: volumes, Progress: lines.event}
			if cmd.Flags().Changed("timeout") {
				options.Timeout = &timeout
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error { return c.Down(ctx, name, options) })
		},
	}
	cmd.Flags().BoolVarP(&volumes, "volumes", "v", false, "remove named volumes too")
	cmd.Flags().DurationVarP(&timeout, "timeout", "t", 0, "time between SIGTERM and SIGKILL instead of each service's own")
	return cmd
}

// name returns the project's name, without reading a file when -p gives it.
func (f *stackFlags) name(ctx context.Context) (string, error) {
	if f.project != "" {
		return f.project, nil
	}
	p, err := f.load(ctx, jobOwner())
	if err != nil {
		return "", err
	}
	return p.Name(), nil
}

func newStackPsCommand(f *stackFlags) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the project's containers",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("--format", format, "table", "json"); err != nil {
				return err
			}
			name, err := f.name(cmd.Context())
			if err != nil {
				return err
			}
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				list, err := c.Ps(ctx, name)
				if err != nil {
					return err
				}
				if format == "json" {
					return printJSON(cmd.OutOrStdout(), list)
				}
				return printContainers(cmd.OutOrStdout(), list)
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "table", "`FORM`: table or json")
	return cmd
}

func printContainers(w io.Writer, list []podmanrun.ContainerStatus) error {
	t := newTable(w)
	say(t, "SERVICE\tIMAGE\tSTATE\tHEALTH\tPORTS\n")
	for _, s := range list {
		ports := make([]string, len(s.Ports))
		for i, p := range s.Ports {
			ports[i] = fmt.Sprintf("%s:%d->%d/%s", p.HostIP, p.Host, p.Container, p.Protocol)
		}
		state := s.State
		if state == "exited" {
			state = fmt.Sprintf("exited (%d)", s.ExitCode)
		}
		say(t, "%s\t%s\t%s\t%s\t%s\n", s.Service, s.Image, state, s.Health, strings.Join(ports, ", "))
	}
	return t.Flush()
}

func newStackLogsCommand(f *stackFlags) *cobra.Command {
	var options podmanrun.LogsOptions
	cmd := &cobra.Command{
		Use:   "logs [SERVICE...]",
		Short: "Print what the services wrote",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := f.name(cmd.Context())
			if err != nil {
				return err
			}
			options.Services = args
			return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
				return c.Logs(ctx, name, options, func(service, line string) {
					say(cmd.OutOrStdout(), "%s | %s\n", service, line)
				})
			})
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&options.Follow, "follow", false, "go on until the containers end")
	flags.IntVarP(&options.Tail, "tail", "n", 0, "only the last lines of each service; 0 is all of them")
	flags.BoolVarP(&options.Timestamps, "timestamps", "t", false, "put the time in front of each line")
	return cmd
}

func newStackConfigCommand(f *stackFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "config",
		Short: "Print the project as one interpolated compose file",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := f.load(cmd.Context(), jobOwner())
			if err != nil {
				return err
			}
			data, err := p.YAML()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
}
