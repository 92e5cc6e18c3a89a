package stackcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/credentials"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

// upFlags are the flags of stack up.
type upFlags struct {
	*stackFlags
	dryRun, removeOrphans, quiet, noDeps      bool
	detach, wait, attach                      bool
	build, noBuild, forceRecreate, noRecreate bool
	waitTimeout, timeout                      seconds
	pull, exportEnv, output                   string
	scale                                     []string
	session                                   attachedFlags
}

func newUpCommand(sf *stackFlags) *cobra.Command {
	f := &upFlags{stackFlags: sf, waitTimeout: seconds{value: 5 * time.Minute, set: true}}
	cmd := &cobra.Command{
		Use:   "up [SERVICE...]",
		Short: "Start services and wait until they are healthy",
		Long: `up starts the services, or those that are named and what they depend on, and waits
until all of them are healthy. What already runs from the same configuration is
kept; what was stopped is started; what has changed is made anew.

On a terminal it then shows what the services write until they end. Ctrl-C stops
them, a second Ctrl-C kills them; they stay there for the next up, or for down.
Anywhere else, and with --wait, it returns once everything is healthy, and with
--detach once everything is started.

A start that fails, or is interrupted, removes what it has made.`,
		Example: examples("up", "up --wait --wait-timeout 2m db cache", "up --build --abort-on-container-exit --exit-code-from tests",
			"up -d --scale web=3", "up --export-env stack.env && . ./stack.env"),
		ValidArgsFunction: sf.services(0),
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.BoolVar(&f.dryRun, "dry-run", false, "print the services in start order and start nothing")
	flags.BoolVarP(&f.detach, "detach", "d", false, "return once everything is started, whatever its health")
	flags.BoolVar(&f.wait, "wait", false, "return once everything is healthy, also on a terminal")
	flags.BoolVar(&f.attach, "attach", false, "show what the services write until they end, also without a terminal")
	flags.Var(&f.waitTimeout, "wait-timeout", "longest wait for everything to be healthy once all images are there, a `DURATION` or seconds; 0 is none")
	flags.BoolVar(&f.build, "build", false, "build the images of services with a build section first")
	flags.BoolVar(&f.noBuild, "no-build", false, "build nothing, even if an image is missing")
	flags.BoolVar(&f.noDeps, "no-deps", false, "leave the dependencies of the named services alone")
	flags.BoolVar(&f.forceRecreate, "force-recreate", false, "make the containers anew even if nothing has changed")
	flags.BoolVar(&f.noRecreate, "no-recreate", false, "keep the containers that are there whatever has changed")
	flags.StringVar(&f.pull, "pull", "", "`POLICY` instead of each service's pull_policy: always, missing or never")
	flags.BoolVar(&f.removeOrphans, "remove-orphans", false, "remove containers of services that the project no longer has")
	flags.StringArrayVar(&f.scale, "scale", nil, "number of containers, `SERVICE=N`; may be repeated")
	flags.VarP(&f.timeout, "timeout", "t", "`DURATION` or seconds between SIGTERM and SIGKILL when stopping, instead of each service's own")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print no progress")
	flags.StringVar(&f.exportEnv, "export-env", "", "write DOCKLESS_<SERVICE>_HOST and _PORT_<N> to `FILE`, for a shell to source")
	flags.StringVar(&f.output, "output", "text", "`FORM`: text or json")
	f.session.register(cmd)
	return cmd
}

// check refuses flags that contradict each other.
func (f *upFlags) check() error {
	if err := cmdline.OneOf("--output", f.output, "text", "json"); err != nil {
		return err
	}
	if f.pull != "" {
		if err := cmdline.OneOf("--pull", f.pull, "always", "missing", "never"); err != nil {
			return err
		}
	}
	for _, pair := range []struct {
		a, b   bool
		an, bn string
	}{
		{f.detach, f.attach, "--detach", "--attach"},
		{f.detach, f.wait, "--detach", "--wait"},
		{f.wait, f.attach, "--wait", "--attach"},
		{f.detach || f.wait, f.session.aborts(), "--detach or --wait", "--abort-on-container-exit, --abort-on-container-failure or --exit-code-from"},
		{f.build, f.noBuild, "--build", "--no-build"},
		{f.forceRecreate, f.noRecreate, "--force-recreate", "--no-recreate"},
		{f.output == "json", f.attach || f.session.aborts(), "--output json", "a command that stays attached"},
	} {
		if pair.a && pair.b {
			return hint.With(cmdline.Usagef("%s and %s exclude each other", pair.an, pair.bn), "leave out one of them")
		}
	}
	return nil
}

// attached reports whether the command stays with the services.
func (f *upFlags) attached(stdout io.Writer) bool {
	if f.attach || f.session.aborts() {
		return true
	}
	_, terminal := console.Terminal(stdout)
	return terminal && !f.detach && !f.wait && f.output == "text"
}

// project reads the project and changes it as the flags say.
func (f *upFlags) project(cmd *cobra.Command, services []string) (*podmanrun.Project, error) {
	scale, err := parseScale(f.scale)
	if err != nil {
		return nil, err
	}
	p, err := f.part(cmd, services, !f.noDeps)
	if err != nil {
		return nil, err
	}
	if p, err = p.Scaled(scale); err != nil {
		return nil, cmdline.Unusable(err)
	}
	if f.pull != "" {
		p = p.WithPullPolicy(f.pull)
	}
	if from := f.session.exitCodeFrom; from != "" && !slices.Contains(p.ServiceNames(), from) {
		return nil, hint.With(cmdline.Usagef("--exit-code-from %s is none of the services that are started", from), "the services are %s", strings.Join(p.ServiceNames(), ", "))
	}
	return p, nil
}

func (f *upFlags) run(cmd *cobra.Command, services []string) error {
	if err := f.check(); err != nil {
		return err
	}
	p, err := f.project(cmd, services)
	if err != nil {
		return err
	}
	if f.dryRun {
		return printPlan(cmd.OutOrStdout(), f.output, podmanrun.Plan(p))
	}
	return withPodman(cmd, func(ctx context.Context, c *podmanrun.Client) (err error) {
		images := newStackImages(cmd, f.version, c)
		defer func() { err = errors.Join(err, images.close()) }()
		options := f.options(c, services)
		if !f.noBuild {
			options.Build = images.build
		}
		start := time.Now()
		stack, err := showUp(ctx, cmd, c, p, options, f.quiet)
		if failed, ok := errors.AsType[*podmanrun.ServiceError](err); ok && f.output == "json" {
			return errors.Join(err, console.PrintJSON(cmd.OutOrStdout(), map[string]any{"error": failed}))
		}
		if err != nil {
			return err
		}
		env := stack.Environment()
		if f.exportEnv != "" {
			if err := writeEnv(f.exportEnv, env); err != nil {
				return err
			}
		}
		if f.output == "json" {
			return console.PrintJSON(cmd.OutOrStdout(), map[string]any{"project": stack.Project(), "environment": env})
		}
		attached := f.attached(cmd.OutOrStdout())
		state := "up"
		if f.detach {
			state = "started"
		}
		line := fmt.Sprintf("stack %s is %s after %s", stack.Project(), state, time.Since(start).Round(time.Millisecond))
		if attached {
			if !f.quiet {
				console.Say(cmd.ErrOrStderr(), "%s\n", line)
			}
			return f.session.attend(ctx, cmd, c, p, stack, f.timeout.pointer())
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), line)
		return err
	})
}

// options says how the stack is started.
func (f *upFlags) options(c *podmanrun.Client, services []string) podmanrun.UpOptions {
	o := upOptions(c)
	o.WaitTimeout, o.RemoveOrphans, o.Rebuild, o.Timeout = f.waitTimeout.value, f.removeOrphans, f.build, f.timeout.pointer()
	// Who waits for the end of a service judges it, and nobody before.
	o.NoWait = f.detach || f.session.aborts()
	switch {
	case f.forceRecreate:
		o.Recreate = podmanrun.RecreateAlways
		if len(services) > 0 {
			o.RecreateOnly = services
		}
	case f.noRecreate:
		o.Recreate = podmanrun.RecreateNever
	}
	return o
}

// upOptions are what every start of services of this process has in common.
func upOptions(c *podmanrun.Client) podmanrun.UpOptions {
	owner := jobOwner()
	return podmanrun.UpOptions{Owner: owner, Credentials: credentials.ForPulls(c.Log()), Warm: warmScopes(owner)}
}

// showUp starts a stack and shows how it comes up.
func showUp(ctx context.Context, cmd *cobra.Command, c *podmanrun.Client, p *podmanrun.Project, o podmanrun.UpOptions, quiet bool) (*podmanrun.Stack, error) {
	events, err := newStackDisplay(cmd.Context(), cmd.ErrOrStderr(), quiet)
	if err != nil {
		return nil, err
	}
	o.Progress = events.event
	stack, err := c.Up(ctx, p, o)
	if err := errors.Join(err, events.close()); err != nil {
		printLastWords(cmd.ErrOrStderr(), err)
		return nil, err
	}
	return stack, nil
}

func parseScale(list []string) (map[string]int, error) {
	scale := make(map[string]int, len(list))
	for _, text := range list {
		service, count, _ := strings.Cut(text, "=")
		n, err := strconv.ParseUint(count, 10, 10) // a thousand containers of one service are a typing error
		if err != nil || service == "" {
			return nil, hint.With(cmdline.Usagef("--scale %q says no number of containers", text), "write --scale SERVICE=N")
		}
		scale[service] = int(n)
	}
	return scale, nil
}

// printLastWords shows the last lines and the last healthcheck of the service
// that ended the start.
func printLastWords(w io.Writer, err error) {
	if failed, ok := errors.AsType[*podmanrun.ServiceError](err); ok {
		if details := failed.Details(); details != "" {
			console.Say(w, "%s\n", strings.TrimRight(details, "\n"))
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
		return console.PrintJSON(w, steps)
	}
	t := console.NewTable(w)
	console.Say(t, "WAVE\tSERVICE\tIMAGE\tREPLICAS\tNETWORKS\tVOLUMES\tAFTER\n")
	for _, s := range steps {
		after := make([]string, len(s.After))
		for i, d := range s.After {
			after[i] = d.Service + " (" + d.Condition + ")"
		}
		image := s.Image
		if s.Build {
			image += " (built)"
		}
		console.Say(t, "%d\t%s\t%s\t%d\t%s\t%s\t%s\n", s.Wave, s.Service, image, s.Replicas,
			strings.Join(s.Networks, ", "), strings.Join(s.Volumes, ", "), strings.Join(after, ", "))
	}
	return t.Flush()
}
