// Package stackcmd knows the commands of dockless stack, which do with a compose
// project what docker compose does, on Podman. Package podmanrun does the work; here
// are the flags, what is shown meanwhile, the images that are built for services, and
// the exit codes.
package stackcmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/podmanrun"
)

// stackFlags are the flags that name a project.
type stackFlags struct {
	files, profiles, envFiles []string
	project, directory        string
	version                   string // of this program
}

func (f *stackFlags) register(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, "compose `FILE`; may be repeated, later ones override")
	flags.StringVarP(&f.project, "project-name", "p", "", "`NAME` of the project")
	flags.StringArrayVar(&f.profiles, "profile", nil, "active profile `NAME`; may be repeated")
	flags.StringArrayVar(&f.envFiles, "env-file", nil, "`FILE` with variables for interpolation; may be repeated")
	flags.StringVar(&f.directory, "project-directory", "", "`DIR` that relative paths start from")
}

// NewCommand returns dockless stack with its subcommands. Version is this program's.
func NewCommand(version string) *cobra.Command {
	f := &stackFlags{version: version}
	cmd := &cobra.Command{
		Use:   "stack",
		Short: "A compose project on Podman",
		Long: `stack starts the services of a compose file through the Podman API, in parallel as
their dependencies allow, and waits until they are healthy. A service that dies
or never turns healthy ends the wait at once and says why.

Inside a job everything it makes belongs to the job and is removed with it.

docs/stack.md says where its commands differ from those of docker compose.`,
		Args: cmdline.KnownCommand,
		RunE: cmdline.ShowHelp,
	}
	f.register(cmd)
	cmd.AddCommand(
		newUpCommand(f), newDownCommand(f), newRunCommand(f), newExecCommand(f),
		newPsCommand(f), newLogsCommand(f), newTopCommand(f), newPortCommand(f), newListCommand(f), newImagesCommand(f),
		newStartCommand(f), newStopCommand(f), newRestartCommand(f), newKillCommand(f), newPauseCommand(f), newUnpauseCommand(f),
		newCopyCommand(f), newBuildCommand(f), newPullCommand(f), newConfigCommand(f), newWarmCommand(),
	)
	return cmd
}

// load reads the project, in a way that more may change. Inside a job its name ends
// with what tells the job apart, so that jobs which share a Podman do not share their
// services.
func (f *stackFlags) load(ctx context.Context, owner podmanrun.Owner, more ...func(*podmanrun.LoadOptions)) (*podmanrun.Project, error) {
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
	for _, change := range more {
		change(&options)
	}
	p, err := podmanrun.Load(ctx, options)
	if err == nil && owner.Job != "" && f.project == "" && environment["COMPOSE_PROJECT_NAME"] == "" {
		options.Name = p.Name() + "-" + mark(owner)
		p, err = podmanrun.Load(ctx, options)
	}
	if err != nil {
		return nil, cmdline.Unusable(err)
	}
	return p, nil
}

// mark tells a job apart from the others of a Podman. The id alone does not: Azure
// DevOps makes it from the job's name, so it is the same in every run of a pipeline
// and for every job without a name.
func mark(owner podmanrun.Owner) string {
	sum := sha256.Sum256([]byte(owner.Agent + "\n" + owner.Job))
	return hex.EncodeToString(sum[:4])
}

// part reads the project, warns about what is ignored of it, and returns the part
// of it that is these services.
func (f *stackFlags) part(cmd *cobra.Command, services []string, dependencies bool) (*podmanrun.Project, error) {
	p, err := f.load(cmd.Context(), jobOwner(), func(o *podmanrun.LoadOptions) { o.Services = services })
	if err != nil {
		return nil, err
	}
	for _, w := range p.Warnings() {
		console.Say(cmd.ErrOrStderr(), "warning: %s\n", w)
	}
	p = p.WithoutWarnings() // a start tells them too
	if p, err = p.Only(services, dependencies); err != nil {
		return nil, cmdline.Unusable(err)
	}
	return p, nil
}

// idle is for commands that need no active service: what they are about was started
// by name, from behind a profile say.
func idle(o *podmanrun.LoadOptions) { o.Idle = true }

// name returns the project's name, without reading a file when -p gives it.
func (f *stackFlags) name(ctx context.Context) (string, error) {
	if f.project != "" {
		return f.project, nil
	}
	p, err := f.load(ctx, jobOwner(), idle)
	if err != nil {
		return "", err
	}
	return p.Name(), nil
}

// services completes names of services, as many as the command takes.
func (f *stackFlags) services(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveDefault
		}
		p, err := f.load(cmd.Context(), jobOwner())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return p.ServiceNames(), cobra.ShellCompDirectiveNoFileComp
	}
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
	if err := settings.Load(&logConfig, &config); err != nil {
		return err
	}
	ctx := cmd.Context()
	c, err := podmanrun.Open(ctx, config, logging.New(cmd.ErrOrStderr(), settings.Quieter(logConfig)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	return use(ctx, c)
}

// onProject is [withPodman] for commands that need no more of the project than its
// name.
func (f *stackFlags) onProject(cmd *cobra.Command, use func(ctx context.Context, c *podmanrun.Client, project string) error) error {
	name, err := f.name(cmd.Context())
	if err != nil {
		return err
	}
	return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error { return use(ctx, c, name) })
}

// seconds is a flag for a duration that also takes a plain number of seconds, as
// docker compose does.
type seconds struct {
	value time.Duration
	set   bool
}

func (s *seconds) String() string {
	if !s.set {
		return ""
	}
	return s.value.String()
}

func (s *seconds) Type() string { return "duration" }

func (s *seconds) Set(text string) error {
	d, err := time.ParseDuration(text)
	if n, nerr := strconv.ParseUint(text, 10, 31); nerr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d < 0 {
		return errors.New("it is no duration such as 10s, and no number of seconds")
	}
	s.value, s.set = d, true
	return nil
}

// pointer is nil unless the flag was given.
func (s *seconds) pointer() *time.Duration {
	if !s.set {
		return nil
	}
	return &s.value
}

// needArgs refuses fewer than n arguments with a usage error that names them.
func needArgs(n int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= n {
			return nil
		}
		return hint.With(cmdline.Usagef("%s needs %s", cmd.CommandPath(), names), "run %s --help for its arguments and flags", cmd.CommandPath())
	}
}

// both joins two checks of arguments.
func both(a, b cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := a(cmd, args); err != nil {
			return err
		}
		return b(cmd, args)
	}
}

// valuesOf reads flags of the form NAME=VALUE; a NAME alone has the value of the
// environment, and is left out when there is none.
func valuesOf(flag string, list []string) (map[string]string, error) {
	out := make(map[string]string, len(list))
	for _, text := range list {
		name, value, given := strings.Cut(text, "=")
		if name == "" {
			return nil, hint.With(cmdline.Usagef("%s %q has no name", flag, text), "write %s NAME=VALUE", flag)
		}
		if !given {
			if value, given = os.LookupEnv(name); !given {
				continue
			}
		}
		out[name] = value
	}
	return out, nil
}

// passed turns the exit code of somebody else's command into ours.
func passed(code int, err error) error {
	if err == nil && code != 0 {
		return cmdline.ExitWith(code)
	}
	return err
}

func examples(lines ...string) string {
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "  dockless stack %s", line)
	}
	return b.String()
}
