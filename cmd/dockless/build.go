package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/logging"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/telemetry"
	"github.com/dockless-ci/dockless/podmanrun"
)

// buildFlags are the flags of docker buildx build, and one of ours.
type buildFlags struct {
	file, target, metadataFile, imageIDFile, cacheRepo string
	builder, progress, sbom, provenance                string
	tags, platforms, buildArgs, labels                 []string
	secrets, ssh, outputs, cacheFrom, cacheTo          []string
	push, load, noCache, pull, quiet                   bool
}

func newBuildCommand() *cobra.Command {
	f := &buildFlags{}
	cmd := &cobra.Command{
		Use:   "build [CONTEXT]",
		Short: "Build an image on BuildKit with a branch-aware registry cache",
		Long: `build does what docker buildx build does, with the same flags, on the builder that
dockless keeps. With --cache-repo or DOCKLESS_CACHE_REPO it imports the caches of
this branch, of the branch a pull request goes to and of the default branch, and
exports this branch's after the image is where it shall be. A cache registry that
is down never fails a build.`,
		Args: maxArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return runBuild(cmd, f, dir)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.file, "file", "f", "", `Dockerfile; "-" reads it from standard input (default CONTEXT/Dockerfile)`)
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "name of the image, `REPOSITORY:TAG`; may be repeated")
	flags.StringVar(&f.target, "target", "", "`STAGE` to build")
	flags.StringArrayVar(&f.platforms, "platform", nil, "`PLATFORM` to build for, for example linux/arm64; may be repeated")
	flags.StringArrayVar(&f.buildArgs, "build-arg", nil, "build argument `NAME=VALUE`, or NAME to take it from the environment")
	flags.StringArrayVar(&f.secrets, "secret", nil, "secret for RUN --mount=type=secret: `id=NAME`[,src=FILE|,env=VARIABLE]")
	flags.StringArrayVar(&f.ssh, "ssh", nil, "SSH agent or keys for RUN --mount=type=ssh: `ID`[=SOCKET|=KEY[,KEY]], default for the usual one")
	flags.StringArrayVar(&f.labels, "label", nil, "label `NAME=VALUE` of the image")
	flags.BoolVar(&f.push, "push", false, "push every tag")
	flags.BoolVar(&f.load, "load", false, "load the image into Podman")
	flags.StringArrayVarP(&f.outputs, "output", "o", nil, "further output: `type=KIND`,dest=PATH,… with local, tar, oci, docker or image")
	flags.StringArrayVar(&f.cacheFrom, "cache-from", nil, "cache to import: `type=registry,ref=REF`")
	flags.StringArrayVar(&f.cacheTo, "cache-to", nil, "cache to export: `type=registry,ref=REF`")
	flags.StringVar(&f.cacheRepo, "cache-repo", "", "repository `PREFIX` of the branch caches (default DOCKLESS_CACHE_REPO)")
	flags.BoolVar(&f.noCache, "no-cache", false, "run every step again")
	flags.BoolVar(&f.pull, "pull", false, "ask the registry for base images even if the builder has them")
	flags.StringVar(&f.metadataFile, "metadata-file", "", "write what was built to the JSON `FILE`")
	flags.StringVar(&f.imageIDFile, "iidfile", "", "write the image's digest to `FILE`")
	flags.StringVar(&f.sbom, "sbom", "", "attach a bill of materials, `WANTED`: true, false or generator settings")
	flags.StringVar(&f.provenance, "provenance", "", "attach provenance, `WANTED`: true, false or mode=max")
	flags.StringVar(&f.progress, "progress", "auto", "`FORM`: auto, tty, plain, rawjson or quiet")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "no progress; print the digest")
	flags.StringVar(&f.builder, "builder", "", "`NAME` of the builder (default BUILDX_BUILDER)")
	flags.Lookup("sbom").NoOptDefVal = "true"
	flags.Lookup("provenance").NoOptDefVal = "true"
	return cmd
}

func runBuild(cmd *cobra.Command, f *buildFlags, dir string) (err error) {
	var (
		settings jobSettings
		spans    telemetry.Config
	)
	if err := loadSettings(&settings, &spans); err != nil {
		return err
	}
	ctx := cmd.Context()
	request, err := f.request(cmd, dir)
	if err != nil {
		return usageError{err}
	}
	if f.cacheRepo == "" {
		f.cacheRepo = settings.CacheRepo
	}
	request.Insecure = settings.Insecure
	request.Cache = cacheOf(ctx, f.cacheRepo, dir)
	request.Cache.Mode = settings.CacheExport
	if request.Auth, err = registryauth.Load(dockerConfigDir()); err != nil {
		return err
	}
	if err := request.Validate(); err != nil {
		return usageError{err}
	}
	config, logConfig, err := builderSettings(cmd, userStateDir())
	if err != nil {
		return err
	}
	log := logging.New(cmd.ErrOrStderr(), quieter(logConfig))
	ctx, stopTelemetry, err := startTelemetry(ctx, spans, log)
	if err != nil {
		return err
	}
	defer stopTelemetry()
	clouds, err := openRegistries(log)
	if err != nil {
		return err
	}
	if request.Auth, err = request.Auth.With(clouds); err != nil {
		return err
	}
	builder, err := buildxsetup.Ensure(ctx, config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, builder.Close(ctx)) }()

	var loading *podmanLoad
	if f.load {
		loading = &podmanLoad{cmd: cmd}
		request.Load = func() (io.WriteCloser, error) { return loading.open(ctx) }
	}
	mode := f.progress
	if f.quiet {
		mode = "quiet"
	}
	images := imagebuild.New(builder, log, imagebuild.Options{StateDir: filepath.Join(userStateDir(), "builds")})
	defer closeImages(ctx, images, log) // the process ends with the exports
	result, err := images.Build(ctx, request, imagebuild.Progress{Mode: mode, Out: cmd.ErrOrStderr()})
	if err != nil {
		return err
	}
	return f.report(cmd, result)
}

// report writes what the flags ask for once the image is built.
func (f *buildFlags) report(cmd *cobra.Command, r *imagebuild.Result) error {
	if r.Export != nil && r.Export.Err != nil {
		say(cmd.ErrOrStderr(), "warning: no cache for the next build: %s\n", oneLine(r.Export.Err.Error()))
	}
	var errs []error
	if f.metadataFile != "" {
		errs = append(errs, r.WriteMetadata(f.metadataFile))
	}
	if f.imageIDFile != "" {
		errs = append(errs, os.WriteFile(f.imageIDFile, []byte(r.Digest.String()), 0o644)) //nolint:gosec // a digest is no secret
	}
	if f.quiet {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), r.Digest)
		errs = append(errs, err)
	} else {
		say(cmd.ErrOrStderr(), "%d of %d steps cached\n", r.Stats.Cached, r.Stats.Steps)
		for _, note := range r.Notes() {
			say(cmd.ErrOrStderr(), "%s\n", note)
		}
	}
	return errors.Join(errs...)
}

// request turns the flags into a request, reporting every bad one.
func (f *buildFlags) request(cmd *cobra.Command, dir string) (imagebuild.Request, error) {
	s := buildflags.Surroundings{LookupEnv: os.LookupEnv, Stdout: cmd.OutOrStdout()}
	r := imagebuild.Request{
		Context: dir, Dockerfile: f.file, Tags: f.tags, Target: f.target, Platforms: f.platforms,
		NoCache: f.noCache, Pull: f.pull, Push: f.push, Attestations: map[string]string{},
	}
	var errs []error
	if f.file == "-" {
		r.Dockerfile, r.DockerfileText = "", cmd.InOrStdin()
	}
	pairs := func(flags []string, lookup func(string) (string, bool)) map[string]string {
		m, err := buildflags.ParsePairs(flags, lookup)
		errs = append(errs, err)
		return m
	}
	r.BuildArgs, r.Labels = pairs(f.buildArgs, os.LookupEnv), pairs(f.labels, nil)
	for _, flag := range f.secrets {
		secret, err := buildflags.ParseSecret(flag, s)
		r.Secrets, errs = append(r.Secrets, secret), append(errs, err)
	}
	for _, flag := range f.ssh {
		agent, err := buildflags.ParseSSH(flag, s)
		r.SSH, errs = append(r.SSH, agent), append(errs, err)
	}
	for _, flag := range f.outputs {
		out, err := buildflags.ParseOutput(flag, s)
		r.Outputs, errs = append(r.Outputs, out), append(errs, err)
	}
	for _, flag := range f.cacheFrom {
		entry, err := buildflags.ParseCache(flag)
		r.CacheFrom, errs = append(r.CacheFrom, entry), append(errs, err)
	}
	for _, flag := range f.cacheTo {
		entry, err := buildflags.ParseCache(flag)
		r.CacheTo, errs = append(r.CacheTo, entry), append(errs, err)
	}
	for _, a := range []struct{ kind, flag string }{{"sbom", f.sbom}, {"provenance", f.provenance}} {
		if a.flag == "" {
			continue
		}
		attest, wanted, err := buildflags.ParseAttestation(a.flag)
		if errs = append(errs, err); wanted {
			r.Attestations[a.kind] = attest
		}
	}
	return r, errors.Join(errs...)
}

// cacheOf returns the cache policy for a context: the branch is the job's, and
// outside of a job the one that is checked out.
func cacheOf(ctx context.Context, repo, dir string) buildcache.Policy {
	p := buildcache.Policy{
		Repo:         repo,
		Branch:       os.Getenv("BUILD_SOURCEBRANCH"),
		TargetBranch: os.Getenv("SYSTEM_PULLREQUEST_TARGETBRANCH"),
	}
	if fork, _ := strconv.ParseBool(os.Getenv("SYSTEM_PULLREQUEST_ISFORK")); fork {
		p.Fork = cmp.Or(os.Getenv("SYSTEM_PULLREQUEST_SOURCEREPOSITORYURI"), "fork") // as the runner names it
	}
	if repo == "" {
		return p
	}
	symbolic := func(name string) string {
		out, err := exec.CommandContext(ctx, "git", "-C", dir, "symbolic-ref", "--quiet", name).Output()
		if err != nil { // no repository, or no such reference; the policy has a scope for that
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	if p.Branch == "" {
		p.Branch = symbolic("HEAD")
	}
	// What a clone was told; else what the service calls the first branch of a new
	// repository.
	p.DefaultBranch = cmp.Or(strings.TrimPrefix(symbolic("refs/remotes/origin/HEAD"), "refs/remotes/origin/"), "main")
	return p
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
	if err := loadSettings(&config); err != nil {
		return nil, err
	}
	client, err := podmanrun.Open(ctx, config, logging.New(l.cmd.ErrOrStderr(), quieter(logging.Config{})))
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
