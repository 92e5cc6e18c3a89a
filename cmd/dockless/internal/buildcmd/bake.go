package buildcmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/imageworks"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/settings"
	"github.com/dockless-ci/dockless/internal/bake"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// bakeFlags are the flags of docker buildx bake, and one of ours.
type bakeFlags struct {
	version                                    string // of this program
	files, sets, vars, allow                   []string
	metadataFile, builder, cacheRepo, progress string
	sbom, provenance, list, output             string
	push, load, noCache, pull, print           bool
}

// NewBakeCommand returns dockless bake. Version is this program's.
func NewBakeCommand(version string) *cobra.Command {
	f := &bakeFlags{version: version}
	cmd := &cobra.Command{
		Use:   "bake [TARGET...]",
		Short: "Build the targets of a compose, JSON or HCL bake file",
		Long: `bake does what docker buildx bake does, on the builder that dockless keeps: it reads
compose files and JSON bake files, and HCL through the docker-buildx plugin, and
builds the targets, several at a time and each after those that it is built from.
Without TARGET the target or group "default" is built, without --file whatever of
compose.yaml, docker-bake.json, docker-bake.hcl and their like there is.

docs/bake.md says what differs from buildx.`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
		ValidArgsFunction: func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
			return f.complete(cmd, prefix)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&f.files, "file", "f", nil, `bake or compose `+"`FILE`"+`, "-" for standard input; may be repeated, later ones override`)
	flags.StringArrayVar(&f.sets, "set", nil, "override `PATTERN.KEY=VALUE`, += adds; may be repeated")
	flags.StringArrayVar(&f.vars, "var", nil, "value of a variable, `NAME=VALUE`; may be repeated")
	flags.StringArrayVar(&f.allow, "allow", nil, "let the files use `WHAT`: network.host, security.insecure, device, ssh, fs=PATH, fs.read=PATH or fs.write=PATH")
	flags.BoolVar(&f.print, "print", false, "print the resolved targets as JSON and build nothing")
	flags.StringVar(&f.list, "list", "", "list `WHAT` the files have, targets or variables, and build nothing")
	flags.StringVar(&f.output, "output", "text", "`FORM` of --list: text or json")
	flags.BoolVar(&f.push, "push", false, "push every target that has no other output")
	flags.BoolVar(&f.load, "load", false, "load every target that is an image into Podman")
	flags.BoolVar(&f.noCache, "no-cache", false, "run every step again")
	flags.BoolVar(&f.pull, "pull", false, "ask the registry for base images even if the builder has them")
	flags.StringVar(&f.sbom, "sbom", "", "attach a bill of materials, `WANTED`: true, false or generator settings")
	flags.StringVar(&f.provenance, "provenance", "", "attach provenance, `WANTED`: true, false or mode=max")
	flags.StringVar(&f.metadataFile, "metadata-file", "", "write what was built, by target, to the JSON `FILE`")
	flags.StringVar(&f.cacheRepo, "cache-repo", "", "repository `PREFIX` of the branch caches (default DOCKLESS_CACHE_REPO)")
	flags.StringVar(&f.progress, "progress", "auto", "`FORM`: auto, tty, plain, rawjson or quiet")
	flags.StringVar(&f.builder, "builder", "", "`NAME` of the builder (default BUILDX_BUILDER)")
	return cmd
}

func (f *bakeFlags) run(cmd *cobra.Command, targets []string) error {
	if err := errors.Join(f.readList(), cmdline.OneOf("--output", f.output, "text", "json")); err != nil {
		return err
	}
	if f.list != "" && f.print {
		return hint.With(cmdline.Usagef("--print and --list exclude each other"), "leave out one of them")
	}
	files, o, err := f.read(cmd, targets)
	if err != nil {
		return cmdline.Unusable(err)
	}
	ctx := cmd.Context()
	switch f.list {
	case "targets":
		return f.listTargets(cmd, files, o)
	case "variables":
		return f.listVariables(cmd, files, o)
	}
	plan, err := bake.Resolve(ctx, files, o)
	if err != nil {
		return cmdline.Unusable(err)
	}
	if f.print {
		return console.PrintJSON(cmd.OutOrStdout(), plan)
	}
	access, err := bake.ParseAccess(f.allow)
	if err != nil {
		return cmdline.Unusable(err)
	}
	access.AnyFile = bake.CheckOff(os.Getenv("BUILDX_BAKE_ENTITLEMENTS_FS"))
	if err := plan.Check(access); err != nil {
		return cmdline.Unusable(err)
	}
	return f.build(cmd, plan)
}

// readList takes --list in buildx's form, type=targets,format=json, apart.
func (f *bakeFlags) readList() error {
	if f.list == "" {
		return nil
	}
	list := ""
	for field := range strings.SplitSeq(f.list, ",") {
		switch key, value, found := strings.Cut(field, "="); {
		case !found:
			list = field
		case key == "type":
			list = value
		case key == "format" && value == "json":
			f.output = "json"
		case key == "format" && value == "table":
		default:
			return hint.With(cmdline.Usagef("--list has no %q", field), "write --list targets or --list variables, with --output json for JSON")
		}
	}
	f.list = list
	return cmdline.OneOf("--list", list, "targets", "variables")
}

// read reads the files and turns the flags into what is wanted of them.
func (f *bakeFlags) read(cmd *cobra.Command, targets []string) ([]bake.File, bake.Options, error) {
	o := bake.Options{Targets: targets, Set: f.overrides(cmd), Vars: make(map[string]string), Environ: os.Environ()}
	if len(targets) > 0 && strings.Contains(targets[0], "://") {
		return nil, o, hint.With(fmt.Errorf("the bake files of %s are not on this machine", targets[0]), "check the repository out and bake there")
	}
	for _, v := range f.vars {
		name, value, found := strings.Cut(v, "=")
		if !found || name == "" {
			return nil, o, hint.With(fmt.Errorf("the variable %q is not NAME=VALUE", v), "write --var NAME=VALUE")
		}
		o.Vars[name] = value
	}
	names := f.files
	if len(names) == 0 {
		separator := cmp.Or(os.Getenv("BUILDX_BAKE_PATH_SEPARATOR"), string(os.PathListSeparator))
		for name := range strings.SplitSeq(os.Getenv("BUILDX_BAKE_FILE"), separator) {
			if name = strings.TrimSpace(name); name != "" {
				names = append(names, name)
			}
		}
	}
	files, err := bake.Read(names, cmd.InOrStdin())
	return files, o, err
}

// overrides returns those of --set and those that other flags stand for.
func (f *bakeFlags) overrides(cmd *cobra.Command) []string {
	sets := slices.Clone(f.sets)
	if f.push {
		sets = append(sets, "*.push=true")
	}
	if f.load {
		sets = append(sets, "*.load=true")
	}
	for flag, value := range map[string]bool{"no-cache": f.noCache, "pull": f.pull} {
		if cmd.Flags().Changed(flag) {
			sets = append(sets, fmt.Sprintf("*.%s=%t", flag, value))
		}
	}
	for kind, value := range map[string]string{"sbom": f.sbom, "provenance": f.provenance} {
		if value != "" {
			sets = append(sets, "*.attest="+bake.AttestEntry(kind, value))
		}
	}
	return sets
}

// build builds the targets of a plan.
func (f *bakeFlags) build(cmd *cobra.Command, plan *bake.Plan) error {
	var jobs settings.Job
	if err := settings.Load(&jobs); err != nil {
		return err
	}
	ctx := cmd.Context()
	builds, err := plan.Requests(bake.RequestOptions{
		LookupEnv: os.LookupEnv,
		Load:      func() (io.WriteCloser, error) { return loadIntoPodman(ctx, cmd) },
		Cache:     imageworks.CacheOf(ctx, cmp.Or(f.cacheRepo, jobs.CacheRepo), "."),
	})
	if err != nil {
		return cmdline.Unusable(err)
	}
	return imageworks.With(cmd, f.version, func(ctx context.Context, images imageworks.Images) error {
		for i := range builds {
			r := &builds[i].Request
			r.Insecure, r.Auth, r.Cache.Mode = jobs.Insecure, images.Auth, jobs.CacheExport
			r.Provenance = imageworks.OriginOf(ctx, *r)
		}
		shown, err := newBakeDisplay(cmd.Context(), cmd.ErrOrStderr(), f.progress, len(builds) > 1)
		if err != nil {
			return cmdline.Unusable(err)
		}
		results, err := bake.Run(ctx, builds, func(ctx context.Context, target string, r imagebuild.Request) (*imagebuild.Result, error) {
			defer shown.ended(target)
			return images.Build(ctx, r, imagebuild.Progress{Observe: shown.observe(target)})
		})
		if err = errors.Join(err, shown.close()); err != nil {
			return err
		}
		return f.report(cmd, builds, results)
	})
}

// report says how each target went, in the order of the builds.
func (f *bakeFlags) report(cmd *cobra.Command, builds []bake.Build, results map[string]*imagebuild.Result) error {
	metadata := make(map[string]any, len(results))
	for _, b := range builds {
		r := results[b.Target]
		metadata[b.Target] = r.Metadata
		if r.Export != nil && r.Export.Err != nil {
			console.Say(cmd.ErrOrStderr(), "warning: no cache for the next build of %s: %s\n", b.Target, console.OneLine(r.Export.Err.Error()))
		}
		if f.progress != "quiet" && f.progress != "rawjson" {
			console.Say(cmd.ErrOrStderr(), "%s: %d of %d steps cached\n", b.Target, r.Stats.Cached, r.Stats.Steps)
		}
	}
	if f.metadataFile == "" {
		return nil
	}
	return (&imagebuild.Result{Metadata: metadata}).WriteMetadata(f.metadataFile)
}

// loadIntoPodman opens a way for one image into Podman.
func loadIntoPodman(ctx context.Context, cmd *cobra.Command) (io.WriteCloser, error) {
	return (&podmanLoad{cmd: cmd}).open(ctx)
}
