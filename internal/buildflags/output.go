package buildflags

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/truepath"
)

// results reads where the result goes. What stands for --push and --load becomes
// those: a push has the credentials and the registries without TLS of the request.
func (f *Flags) results(c *collector, s Surroundings, r *imagebuild.Request) {
	streams := 0
	for _, o := range each(c, "output", f.outputs, func(v string) (imagebuild.Output, error) { return ParseOutput(v, s) }) {
		if o.Dest == "-" {
			streams++
		}
		c.note("output", f.mayDelete(s, o))
		switch {
		case o.Type == "docker" && o.Dest == "":
			if !f.named(o) {
				c.note("output", hint.With(fmt.Errorf("the image would be loaded as %s, not as %s", strings.Join(f.tags, ", "), o.Attrs["name"]), "leave out the name, or give it with --tag"))
				continue
			}
			f.Load = true
			f.name(r, o)
			if delete(o.Attrs, "name"); len(o.Attrs) > 0 {
				c.note("output", hint.With(errors.New("an image that is loaded takes no settings"), "write it to a file with a dest, or leave the settings out"))
			}
		case o.Type == "image" && !f.named(o):
			r.Outputs = append(r.Outputs, o) // beside what --push pushes
		case o.Type == "image" && isTrue(o.Attrs["push"]) && !isTrue(o.Attrs["push-by-digest"]) && r.PushAttrs == nil:
			r.Push = true
			f.pushAs(r, o)
		case o.Type == "image" && f.push && r.PushAttrs == nil:
			f.pushAs(r, o)
		default:
			r.Outputs = append(r.Outputs, o)
		}
	}
	if streams > 1 {
		c.errs = append(c.errs, hint.With(errors.New("--output: only one output can go to the standard output"), "give the others a dest"))
	}
	onlyFiles := len(r.Outputs) > 0 && !r.Push && !f.Load && !slices.ContainsFunc(r.Outputs, func(o imagebuild.Output) bool { return o.Type != "local" && o.Type != "tar" })
	if f.ImageIDFile != "" && onlyFiles {
		c.errs = append(c.errs, hint.With(errors.New("--iidfile: outputs of type local and tar are no image, and have no digest"), "leave out --iidfile, or add an output of another type"))
	}
}

// pushAs makes o the way in which the tags are pushed.
func (f *Flags) pushAs(r *imagebuild.Request, o imagebuild.Output) {
	f.name(r, o)
	r.PushAttrs = maps.Clone(o.Attrs)
	delete(r.PushAttrs, "push")
	delete(r.PushAttrs, "name")
}

// name takes the name of an output where no tag is given.
func (f *Flags) name(r *imagebuild.Request, o imagebuild.Output) {
	if len(f.tags) == 0 && o.Attrs["name"] != "" {
		r.Tags = append(r.Tags, strings.Split(o.Attrs["name"], ",")...)
	}
}

// named reports whether an output has no other names than the tags.
func (f *Flags) named(o imagebuild.Output) bool {
	name := o.Attrs["name"]
	if name == "" || len(f.tags) == 0 {
		return true
	}
	return slices.Equal(slices.Sorted(slices.Values(strings.Split(name, ","))), slices.Sorted(slices.Values(f.tags)))
}

func isTrue(text string) bool {
	yes, err := strconv.ParseBool(text)
	return yes && err == nil
}

// mayDelete refuses an output that would delete files outside of the working
// directory, unless that is allowed.
func (f *Flags) mayDelete(s Surroundings, o imagebuild.Output) error {
	if o.Type != "local" || o.Attrs["mode"] != "delete" || slices.Contains(f.allow, allowDelete) {
		return nil
	}
	if base := s.path("."); !truepath.Within(o.Dest, base) || truepath.Of(o.Dest) == truepath.Of(base) {
		return hint.With(fmt.Errorf("mode=delete would delete what else is in %s", o.Dest), "write to a directory below the working directory, or add --allow %s", allowDelete)
	}
	return nil
}

// ParseOutput reads a value of -o: type=…,dest=…,key=value…, a directory alone
// for type=local, or "-" alone for a tar archive on the standard output. A type
// docker without a dest is meant for the local engine, as --load is.
func ParseOutput(flag string, s Surroundings) (imagebuild.Output, error) {
	out := imagebuild.Output{Attrs: make(map[string]string)}
	switch {
	case flag == "-":
		out.Type, out.Dest = "tar", "-"
	case flag != "" && !strings.ContainsAny(flag, ",="):
		out.Type, out.Dest = "local", flag
	default:
		err := fields(flag, func(key, value string, found bool) error {
			switch {
			case !found:
				return fmt.Errorf("--output %q: %q is not key=value", flag, key)
			case key == "type":
				out.Type = value
			case key == "dest":
				out.Dest = value
			default:
				out.Attrs[key] = value
			}
			return nil
		})
		if err != nil {
			return imagebuild.Output{}, err
		}
	}
	switch out.Type {
	case "registry":
		out.Type = "image"
		out.Attrs["push"] = "true"
	case "local", "tar", "oci", "docker", "image", "cacheonly":
	case "":
		return imagebuild.Output{}, hint.With(fmt.Errorf("--output %q has no type", flag), "write -o type=local,dest=directory")
	default:
		return imagebuild.Output{}, hint.With(fmt.Errorf("--output %q: there is no type %q", flag, out.Type), "use local, tar, oci, docker, image, registry or cacheonly")
	}
	return out, s.place(&out, flag)
}

// place checks and completes where an output goes.
func (s Surroundings) place(out *imagebuild.Output, flag string) error {
	switch out.Type {
	case "image", "cacheonly":
		if out.Dest != "" {
			return fmt.Errorf("--output %q: type %s has no dest", flag, out.Type)
		}
		return nil
	}
	if out.Dest == "" && out.Type != "local" && out.Type != "docker" && !out.IsStore() {
		out.Dest = "-"
	}
	switch {
	case out.Dest == "" && out.Type == "docker" && !out.IsStore():
	case out.Dest == "":
		return hint.With(fmt.Errorf("--output %q has no dest", flag), "write -o type=%s,dest=directory", out.Type)
	case out.Dest != "-":
		out.Dest = s.path(out.Dest)
	case out.Type == "local" || out.IsStore():
		return fmt.Errorf("--output %q: a directory cannot go to the standard output", flag)
	case s.Stdout == nil:
		return hint.With(fmt.Errorf("--output %q has no dest, and there is no pipe or file on the standard output", flag), "write -o type=%s,dest=file", out.Type)
	default:
		out.Stdout = s.Stdout
	}
	return nil
}
