package stackcmd

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/shlex"
	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/podmanrun"
)

// runFlags are the flags of stack run.
type runFlags struct {
	*stackFlags
	streams                   streamFlags
	options                   podmanrun.RunOptions
	env, labels               []string
	entrypoint, pull          string
	remove, build, noB, quiet bool
	waitTimeout               seconds
}

func newRunCommand(sf *stackFlags) *cobra.Command {
	f := &runFlags{stackFlags: sf, waitTimeout: seconds{value: 5 * time.Minute, set: true}}
	cmd := &cobra.Command{
		Use:   "run [flags] SERVICE [COMMAND] [ARG...]",
		Short: "Run one command in a container of its own",
		Long: `run starts what a service depends on and, as soon as the conditions of its depends_on
are met, one command in a new container that is made like the service's, connected
to standard input, output and error, and ends with the command's exit code. The
ports of the service are not published, and its names on networks are left to the
service, unless flags say otherwise. Its hooks are not run.

With --rm the container is removed afterwards, with --detach by Podman. When run is interrupted, the command
is stopped, and the container removed in any case.`,
		Example: examples("run --rm migrate", "run --rm -e SEED=1 -v ./seeds:/seeds db sh -c 'ls /seeds'", "run --rm --no-deps -p 8081:8080 web",
			"--project-name shop run --rm -T tests go test ./..."),
		Args:              needArgs(1, "a service"),
		ValidArgsFunction: sf.services(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	o := &f.options
	flags.BoolVar(&f.remove, "rm", false, "remove the container when the command has ended")
	flags.StringArrayVarP(&f.env, "env", "e", nil, "variable `NAME=VALUE`, or NAME to take it from the environment; may be repeated")
	flags.StringArrayVarP(&f.labels, "label", "l", nil, "label `NAME=VALUE` of the container; may be repeated")
	flags.StringArrayVarP(&o.Volumes, "volume", "v", nil, "further `VOLUME`: name:/path, ./dir:/path[:ro]; may be repeated")
	// In front of the command, -p is short for the project's name, see stackArguments.
	flags.StringVar(&f.project, "project-name", "", "`NAME` of the project")
	flags.StringArrayVarP(&o.Ports, "publish", "p", nil, "publish a `PORT`: 8080:80, 127.0.0.1::80; may be repeated")
	flags.BoolVarP(&o.ServicePorts, "service-ports", "P", false, "publish the ports of the service")
	flags.BoolVar(&o.Aliases, "use-aliases", false, "be found under the service's names on its networks")
	flags.StringVarP(&o.User, "user", "u", "", "run as `USER`")
	flags.StringVarP(&o.WorkDir, "workdir", "w", "", "run in `DIR` of the container")
	flags.StringVar(&f.entrypoint, "entrypoint", "", "`COMMAND` instead of the image's entrypoint; empty is none")
	flags.StringVar(&o.Name, "name", "", "`NAME` of the container")
	flags.BoolVar(&o.NoDeps, "no-deps", false, "start no dependencies")
	flags.BoolVar(&f.build, "build", false, "build the images first")
	flags.BoolVar(&f.noB, "no-build", false, "build nothing, even if an image is missing")
	flags.StringVar(&f.pull, "pull", "", "`POLICY` instead of each service's pull_policy: always, missing or never")
	flags.Var(&f.waitTimeout, "wait-timeout", "longest wait for the dependencies once all images are there, a `DURATION` or seconds; 0 is none")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	f.streams.register(cmd)
	return cmd
}

func (f *runFlags) run(cmd *cobra.Command, args []string) (err error) {
	o := f.options
	o.Service, o.Command, o.Keep, o.Detach = args[0], args[1:], !f.remove, f.streams.detach
	if o.Env, err = valuesOf("--env", f.env); err != nil {
		return err
	}
	if o.Labels, err = valuesOf("--label", f.labels); err != nil {
		return err
	}
	if cmd.Flags().Changed("entrypoint") {
		o.Entrypoint = []string{}
		if f.entrypoint != "" {
			if o.Entrypoint, err = shlex.Split(f.entrypoint); err != nil {
				return cmdline.Usagef("--entrypoint: %w", err)
			}
		}
	}
	if f.pull != "" {
		if err := cmdline.OneOf("--pull", f.pull, "always", "missing", "never"); err != nil {
			return err
		}
	}
	if o.Volumes, err = absoluteVolumes(o.Volumes); err != nil {
		return err
	}
	p, err := f.part(cmd, []string{o.Service}, true)
	if err != nil {
		return err
	}
	if f.pull != "" {
		p = p.WithPullPolicy(f.pull)
	}
	if err := o.Validate(p); err != nil {
		return cmdline.Unusable(err)
	}
	return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) error {
		o.UpOptions = upOptions(c)
		o.WaitTimeout, o.Rebuild = f.waitTimeout.value, f.build
		return f.start(ctx, cmd, c, p, o)
	})
}

// start shows how the dependencies come up, and then what the command says.
func (f *runFlags) start(ctx context.Context, cmd *cobra.Command, c *podmanrun.Client, p *podmanrun.Project, o podmanrun.RunOptions) (err error) {
	images := newStackImages(cmd, f.version, c)
	defer func() { err = errors.Join(err, images.close()) }()
	if !f.noB {
		o.Build = images.build
	}
	events, err := newStackDisplay(cmd.Context(), cmd.ErrOrStderr(), f.quiet)
	if err != nil {
		return err
	}
	o.Progress = events.event
	streams := f.streams.open(cmd)
	o.Streams = streams.Streams
	var startErr error
	ready := false
	o.Ready = func() {
		ready = true
		startErr = errors.Join(events.close(), streams.start())
	}
	code, name, err := c.Run(ctx, p, o)
	if !ready {
		err = errors.Join(err, events.close())
		printLastWords(cmd.ErrOrStderr(), err)
		return err
	}
	err = errors.Join(err, startErr, streams.stop())
	if err == nil && o.Detach {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), name)
	}
	return passed(code, err)
}

// absoluteVolumes makes the paths of this machine absolute.
func absoluteVolumes(list []string) ([]string, error) {
	out := make([]string, len(list))
	for i, volume := range list {
		out[i] = volume
		source, rest, found := strings.Cut(volume, ":")
		if !found || !strings.HasPrefix(source, ".") {
			continue
		}
		abs, err := filepath.Abs(source)
		if err != nil {
			return nil, err
		}
		out[i] = abs + ":" + rest
	}
	return out, nil
}
