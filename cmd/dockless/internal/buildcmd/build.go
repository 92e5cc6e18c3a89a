// Package buildcmd knows the commands that have BuildKit build images: build and bake,
// which take the flags of docker buildx, and builder, which looks after the nodes that
// they build on. Here are the flags and what is shown; internal/imagebuild builds.
package buildcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/imageworks"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/podmanrun"
)

// buildFlags are the flags of docker buildx build, and ours.
type buildFlags struct {
	buildflags.Flags
	version   string // of this program
	cacheRepo string
	explain   string // "text" or "json"; empty explains nothing
}

// NewBuildCommand returns dockless build. Version is this program's.
func NewBuildCommand(version string) *cobra.Command {
	f := &buildFlags{version: version}
	cmd := &cobra.Command{
		Use:   "build [flags] [CONTEXT]",
		Short: "Build an image on BuildKit with a branch-aware registry cache",
		Long: `build does what docker buildx build does, with the same flags, on the builder that
dockless keeps. With --cache-repo or DOCKLESS_CACHE_REPO it imports the caches of
this branch, of the branch a pull request goes to and of the default branch, and
exports this branch's after the image is where it shall be. A cache registry that
is down never fails a build.

CONTEXT is a directory (default "."), the URL of a Git repository or of a tar
archive, or "-" for an archive or a Dockerfile on standard input.`,
		DisableFlagsInUseLine: true,
		Args:                  cmdline.MaxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return runBuild(cmd, f, dir)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return nil, cobra.ShellCompDirectiveFilterDirs
		},
	}
	flags := cmd.Flags()
	f.Register(flags)
	flags.StringVar(&f.cacheRepo, "cache-repo", "", "repository `PREFIX` of the branch caches (default DOCKLESS_CACHE_REPO)")
	flags.StringVar(&f.explain, "explain", "", "say why steps ran, as `FORM`: text or json")
	flags.Lookup("explain").NoOptDefVal = "text"
	buildflags.SetGroup(flags, "cache-repo", buildflags.GroupCache)
	buildflags.SetGroup(flags, "explain", buildflags.GroupShow)
	words := buildflags.Words()
	words["explain"] = []string{"text", "json"}
	for name, list := range words {
		cmdline.CompleteWords(cmd, name, list...)
	}
	cmd.SetUsageFunc(func(cmd *cobra.Command) error {
		_, err := fmt.Fprintf(cmd.OutOrStderr(), "Usage:\n  %s\n\n%s", cmd.UseLine(), buildflags.Usages(cmd.Flags()))
		return err
	})
	return cmd
}

func runBuild(cmd *cobra.Command, f *buildFlags, dir string) error {
	var (
		jobs  settings.Job
		spans telemetry.Config // looked at here too, so that a bad one is told at once
	)
	if err := settings.Load(&jobs, &spans); err != nil {
		return err
	}
	progress, err := f.progress(cmd)
	if err != nil {
		return err
	}
	request, err := f.request(cmd, dir)
	if err != nil {
		return cmdline.Unusable(err)
	}
	ctx := cmd.Context()
	request.Insecure = jobs.Insecure
	request.Cache = imageworks.CacheOf(ctx, cmp.Or(f.cacheRepo, jobs.CacheRepo), dir)
	request.Cache.Mode = jobs.CacheExport
	if err := request.Validate(); err != nil {
		return cmdline.Unusable(err)
	}
	request.Provenance = imageworks.OriginOf(ctx, request)
	return imageworks.With(cmd, f.version, func(ctx context.Context, images imageworks.Images) error {
		request.Auth = images.Auth
		if f.Query.Method != "" {
			return f.query(cmd, images.Builder, request, progress)
		}
		if err := removeStale(f.ImageIDFile); err != nil {
			return err
		}
		if f.Load {
			request.Load = func() (io.WriteCloser, error) { return loadIntoPodman(ctx, cmd) }
		}
		result, err := images.Build(ctx, request, progress)
		if err != nil {
			return err
		}
		return f.report(cmd, result)
	})
}

// progress says how the build is shown.
func (f *buildFlags) progress(cmd *cobra.Command) (imagebuild.Progress, error) {
	if f.explain != "" {
		if err := cmdline.OneOf("--explain", f.explain, "text", "json"); err != nil {
			return imagebuild.Progress{}, err
		}
	}
	if err := cmdline.OneOf("--progress", f.Progress, buildflags.Words()["progress"]...); err != nil {
		return imagebuild.Progress{}, err
	}
	mode := f.Progress
	switch {
	case f.Quiet && mode != "auto" && mode != "quiet":
		return imagebuild.Progress{}, hint.With(cmdline.Usagef("--quiet and --progress %s exclude each other", mode), "leave out one of them")
	case f.Quiet, mode == "quiet":
		f.Quiet, mode = true, "quiet"
	case mode == "none":
		mode = "quiet"
	}
	return imagebuild.Progress{Mode: mode, Out: cmd.ErrOrStderr()}, nil
}

// request turns the flags into a request, reporting every bad one.
func (f *buildFlags) request(cmd *cobra.Command, dir string) (imagebuild.Request, error) {
	around := buildflags.Surroundings{LookupEnv: os.LookupEnv, Stdin: cmd.InOrStdin(), Stdout: cmd.OutOrStdout()}
	if _, terminal := console.Terminal(around.Stdout); terminal {
		around.Stdout = nil // an archive would only spoil it
	}
	return f.Request(around, dir)
}

// removeStale removes what an earlier build left at path, so that nobody takes
// it for this one's should it fail.
func removeStale(path string) error {
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the earlier --iidfile: %w", err)
	}
	return nil
}

// report writes what the flags ask for once the image is built.
func (f *buildFlags) report(cmd *cobra.Command, r *imagebuild.Result) error {
	if r.Export != nil && r.Export.Err != nil {
		console.Say(cmd.ErrOrStderr(), "warning: no cache for the next build: %s\n", console.OneLine(r.Export.Err.Error()))
	}
	var errs []error
	if f.MetadataFile != "" {
		errs = append(errs, r.WriteMetadata(f.MetadataFile))
	}
	if f.ImageIDFile != "" {
		errs = append(errs, os.WriteFile(f.ImageIDFile, []byte(r.Digest.String()), 0o644)) //nolint:gosec // a digest is no secret
	}
	if f.Quiet {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), r.Digest)
		errs = append(errs, err)
	} else if f.Progress != "none" && f.Progress != "rawjson" {
		if _, terminal := console.Terminal(cmd.ErrOrStderr()); terminal && r.Digest != "" {
			console.Say(cmd.ErrOrStderr(), "%s\n", strings.TrimSpace(strings.Join(r.Names, " ")+" "+r.Digest.String()))
		}
		console.Say(cmd.ErrOrStderr(), "%d of %d steps cached\n", r.Stats.Cached, r.Stats.Steps)
		for _, note := range r.Notes() {
			console.Say(cmd.ErrOrStderr(), "%s\n", note)
		}
	}
	if f.explain != "" {
		errs = append(errs, printReasons(cmd, f.explain, r))
	}
	return errors.Join(errs...)
}

// podmanLoad streams an image archive into Podman. Its Close waits until Podman
// has read all of it.
type podmanLoad struct {
	cmd    *cobra.Command
	client *podmanrun.Client
	pipe   *io.PipeWriter
	done   chan error
}

func (l *podmanLoad) open(ctx context.Context) (io.WriteCloser, error) {
	var config podmanrun.Config
	if err := settings.Load(&config); err != nil {
		return nil, err
	}
	client, err := podmanrun.Open(ctx, config, logging.New(l.cmd.ErrOrStderr(), settings.Quieter(logging.Config{})))
	if err != nil {
		return nil, hint.With(err, "without Podman, write the image to a file with -o type=docker,dest=FILE")
	}
	r, w := io.Pipe()
	l.client, l.pipe, l.done = client, w, make(chan error, 1)
	go func() {
		_, err := client.LoadImage(ctx, r)
		r.CloseWithError(err) // a failed load ends the writer
		l.done <- err
	}()
	return l, nil
}

func (l *podmanLoad) Write(p []byte) (int, error) { return l.pipe.Write(p) }

func (l *podmanLoad) Close() error {
	return errors.Join(l.pipe.Close(), <-l.done, l.client.Close())
}
