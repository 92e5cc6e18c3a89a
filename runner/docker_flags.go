package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/google/shlex"
	"github.com/spf13/pflag"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// buildFlags applies the input arguments, flags as of `docker build`, to a
// request. A flag that is not known is an error, never passed over.
func (d *dockerStep) buildFlags(r *imagebuild.Request, arguments string) error {
	words, err := shlex.Split(arguments)
	if err != nil {
		return fmt.Errorf("reading the input arguments: %w", err)
	}
	f := pflag.NewFlagSet("arguments", pflag.ContinueOnError)
	f.Usage = func() {}
	var args, labels, tags, platforms, secrets, ssh, from, to []string
	var file string
	f.StringArrayVar(&args, "build-arg", nil, "")
	f.StringArrayVar(&labels, "label", nil, "")
	f.StringArrayVarP(&tags, "tag", "t", nil, "")
	f.StringSliceVar(&platforms, "platform", nil, "")
	f.StringArrayVar(&secrets, "secret", nil, "")
	f.StringArrayVar(&ssh, "ssh", nil, "")
	f.StringArrayVar(&from, "cache-from", nil, "")
	f.StringArrayVar(&to, "cache-to", nil, "")
	f.StringVarP(&file, "file", "f", "", "")
	f.StringVar(&d.metadata, "metadata-file", "", "")
	f.StringVar(&r.Target, "target", "", "")
	f.BoolVar(&r.NoCache, "no-cache", false, "")
	f.BoolVar(&r.Pull, "pull", false, "")
	f.Bool("force-rm", false, "")          // nothing is left behind anyway
	f.Bool("rm", true, "")                 // likewise
	f.String("progress", "plain", "")      // a log is always plain
	f.BoolP("quiet", "q", false, "")       // a log shows what was built
	f.Bool("load", false, "")              // the image stays within the job
	if err := f.Parse(words); err != nil { // its message names the flag
		return hint.With(fmt.Errorf("reading the input arguments: %w", err), "use flags of docker build that BuildKit knows, or build in a script step")
	}
	if f.NArg() > 0 {
		return fmt.Errorf("reading the input arguments: %q is no flag", f.Arg(0))
	}
	lookup := func(name string) (string, bool) { v, ok := d.env[name]; return v, ok }
	around := buildflags.Surroundings{Dir: d.x.path(""), LookupEnv: lookup, Open: d.x.open}
	if file != "" {
		r.Dockerfile = d.x.path(file)
	}
	if d.metadata != "" {
		d.metadata = d.x.path(d.metadata)
	}
	r.Tags, r.Platforms = append(r.Tags, tags...), platforms
	if r.BuildArgs, err = buildflags.ParsePairs(args, lookup); err != nil {
		return fmt.Errorf("reading the input arguments: %w", err)
	}
	more, err := buildflags.ParsePairs(labels, nil)
	if err != nil {
		return fmt.Errorf("reading the input arguments: %w", err)
	}
	if r.Labels == nil {
		r.Labels = make(map[string]string)
	}
	maps.Copy(r.Labels, more)
	parse := func(err error) error { return fmt.Errorf("reading the input arguments: %w", err) }
	for _, text := range secrets {
		s, err := buildflags.ParseSecret(text, around)
		if err != nil {
			return parse(err)
		}
		r.Secrets = append(r.Secrets, s)
	}
	for _, text := range ssh {
		s, err := buildflags.ParseSSH(text, around)
		if err != nil {
			return parse(err)
		}
		for _, path := range s.Paths {
			key, err := d.x.open(path) // a socket cannot be opened, and need not be
			if errors.Is(err, fs.ErrPermission) {
				return parse(err)
			}
			if err == nil {
				_ = key.Close() // read only
			}
		}
		r.SSH = append(r.SSH, s)
	}
	for texts, entries := range map[*[]string]*[]buildcache.Entry{&from: &r.CacheFrom, &to: &r.CacheTo} {
		for _, text := range *texts {
			c, err := buildflags.ParseCache(text)
			if err != nil {
				return parse(err)
			}
			*entries = append(*entries, c)
		}
	}
	return nil
}
