package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"

	"github.com/google/shlex"
	"github.com/spf13/pflag"

	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
)

// buildFlags adds what the input arguments says, flags as of `docker build`, to
// a request. A flag that is not known is an error, never passed over; those on
// what is shown have no effect, because a log is always plain and shows what was
// built, and --load has none, because the image stays within the job.
func (d *dockerStep) buildFlags(r *imagebuild.Request, arguments string) error {
	words, err := shlex.Split(arguments)
	if err != nil {
		return fmt.Errorf("reading the input arguments: %w", err)
	}
	set := pflag.NewFlagSet("arguments", pflag.ContinueOnError)
	set.Usage = func() {}
	var f buildflags.Flags
	f.Register(set)
	if err := set.Parse(words); err != nil { // its message names the flag
		return hint.With(fmt.Errorf("reading the input arguments: %w", err), "use flags of docker build that BuildKit knows, or build in a script step")
	}
	if set.NArg() > 0 {
		return fmt.Errorf("reading the input arguments: %q is no flag", set.Arg(0))
	}
	around := buildflags.Surroundings{
		Dir:       d.x.path(""),
		LookupEnv: func(name string) (string, bool) { v, ok := d.env[name]; return v, ok },
		Open:      d.x.open,
	}
	asked, err := f.Request(around, r.Context)
	if f.Query.Method != "" {
		err = errors.Join(err, hint.With(errors.New("--call and --check build nothing"), "run dockless build --check in a script step"))
	}
	if f.Builder != "" {
		err = errors.Join(err, hint.With(errors.New("--builder: the agent has one builder"), "leave out --builder, or build in a script step"))
	}
	err = errors.Join(err, d.mayRead(asked.SSH))
	if err != nil {
		return fmt.Errorf("reading the input arguments: %w", err)
	}
	d.metadata, d.imageID = d.fileOf(f.MetadataFile), d.fileOf(f.ImageIDFile)
	if err := d.mayWrite(asked); err != nil {
		return err
	}
	d.tellDropped(set, f.Load)
	d.merge(r, asked)
	return nil
}

// tellDropped says which flags have no effect in a job.
func (d *dockerStep) tellDropped(set *pflag.FlagSet, load bool) {
	if load {
		d.node.print("--load and an output of type docker without a dest have no effect: the image stays within the job.")
	}
	for _, name := range []string{"progress", "quiet"} {
		if set.Changed(name) {
			d.node.print("--" + name + " has no effect: the log of a step is always plain.")
		}
	}
}

// fileOf is where a file that an argument names is; empty names none.
func (d *dockerStep) fileOf(name string) string {
	if name == "" {
		return ""
	}
	return d.x.path(name)
}

// mayWrite refuses places that the containers of the job could not write to, and
// has archives made with create. BuildKit itself writes directories.
func (d *dockerStep) mayWrite(asked imagebuild.Request) error {
	places := []string{d.metadata, d.imageID}
	for i, o := range asked.Outputs {
		places = append(places, o.Dest)
		asked.Outputs[i].Create = func(path string) (*os.File, error) { return d.x.create("arguments", path) }
	}
	for _, c := range asked.CacheTo {
		if c.Type == "local" {
			places = append(places, c.Attrs["dest"])
		}
	}
	var errs []error
	for _, place := range places {
		if place != "" {
			_, err := d.x.target("arguments", place)
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// write writes a file that an argument names.
func (d *dockerStep) write(path string, data []byte) error {
	f, err := d.x.create("arguments", path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// merge lets what the arguments ask for join what the other inputs do.
func (d *dockerStep) merge(r *imagebuild.Request, asked imagebuild.Request) {
	inputs := *r
	*r = asked
	r.Context, r.Layout, r.Auth, r.Insecure, r.Cache, r.Open = inputs.Context, inputs.Layout, inputs.Auth, inputs.Insecure, inputs.Cache, inputs.Open
	if r.Dockerfile == "" {
		r.Dockerfile = inputs.Dockerfile
	}
	r.Tags = append(inputs.Tags, asked.Tags...)
	r.Labels = inputs.Labels
	if r.Labels == nil {
		r.Labels = make(map[string]string)
	}
	maps.Copy(r.Labels, asked.Labels)
	r.Provenance = d.x.provenance()
}

// mayRead refuses SSH keys that are hidden from the job. A socket cannot be
// opened, and need not be.
func (d *dockerStep) mayRead(list []imagebuild.SSH) error {
	for _, s := range list {
		for _, path := range s.Paths {
			key, err := d.x.open(path)
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("--ssh %s: %w", s.ID, err)
			}
			if err == nil {
				_ = key.Close() // read only
			}
		}
	}
	return nil
}

// provenance says where the images of the job come from, in the server's words.
func (x *execution) provenance() imagebuild.Provenance {
	o := job.OriginOf(func(name string) string {
		switch {
		case name == "system.jobId":
			return string(x.m.JobID)
		case name == "system.jobDisplayName" && x.said(name) == "":
			return x.m.JobDisplayName
		}
		return x.said(name)
	})
	return imagebuild.Provenance{Builder: o.Run, Source: o.Source, Revision: o.Revision, Run: o.Number, Job: o.Name}
}
