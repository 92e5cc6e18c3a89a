package bake

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/docker/go-units"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/buildflags"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// layoutPrefix marks a named context that is a directory in the OCI image layout.
const layoutPrefix = "oci-layout://"

// Build is one target as a request. Links are the named contexts that are the
// images of other targets; [Run] adds them to the request.
type Build struct {
	Target  string
	Request imagebuild.Request
	Links   map[string]string // named context → target
}

// RequestOptions are what requests have that no file says. The zero value has no
// environment for secrets, loads nothing and has no cache repository.
type RequestOptions struct {
	LookupEnv func(string) (string, bool)
	Load      func() (io.WriteCloser, error) // opens where an image is loaded; nil makes loading an error
	Cache     buildcache.Policy              // of all targets; its name is set for each
}

// Requests turns the targets into requests, each after those that it is built
// from. Everything that is wrong is reported at once.
func (p *Plan) Requests(o RequestOptions) ([]Build, error) {
	var (
		out  []Build
		errs []error
	)
	for _, name := range p.names() {
		b, err := p.Targets[name].build(name, o)
		if err == nil {
			err = b.Request.Validate()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", name, err))
		}
		out = append(out, b)
	}
	return out, errors.Join(errs...)
}

// names returns the targets, bases first, else by name.
func (p *Plan) names() []string {
	var out []string
	var visit func(string)
	visit = func(name string) {
		t, ok := p.Targets[name]
		if !ok || slices.Contains(out, name) {
			return
		}
		for _, base := range t.links() {
			visit(base)
		}
		out = append(out, name)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Targets)) {
		visit(name)
	}
	return out
}

// dockerfile returns where the Dockerfile is: on this machine, or in a context
// that BuildKit fetches.
func (t *Target) dockerfile() (file string, inside bool) {
	if t.Dockerfile == nil || t.Context == nil {
		return "", false
	}
	if file, ok := strings.CutPrefix(*t.Dockerfile, herePrefix); ok {
		// Beside a remote context, a relative path would be one inside of it.
		if abs, err := filepath.Abs(file); err == nil && remote(*t.Context) {
			return abs, false
		}
		return filepath.Clean(file), false
	}
	if filepath.IsAbs(*t.Dockerfile) {
		return *t.Dockerfile, false // with whatever context
	}
	if remote(*t.Context) {
		return path.Clean(*t.Dockerfile), true
	}
	return filepath.Join(*t.Context, *t.Dockerfile), false
}

func (t *Target) build(name string, o RequestOptions) (Build, error) {
	var errs []error
	b := Build{Target: name, Links: make(map[string]string)}
	r := &b.Request
	*r = imagebuild.Request{
		Context: *t.Context, Tags: t.Tags, Platforms: t.Platforms, BuildArgs: t.Args, Labels: t.Labels,
		NoCacheFilter: t.NoCacheFilter, Ulimits: t.Ulimits, Allow: t.Entitlements, Target: plainText(t.Target), Network: plainText(t.Network),
		NoCache: t.NoCache != nil && *t.NoCache, Pull: t.Pull != nil && *t.Pull,
		Contexts: t.places(), Annotations: make(map[string]string), Attestations: make(map[string]string),
	}
	if r.Network == "default" {
		r.Network = ""
	}
	if *t.Context == "-" || *t.Dockerfile == "-" {
		errs = append(errs, errors.New("a context or Dockerfile cannot come from the standard input"))
	}
	if t.DockerfileInline != nil {
		r.DockerfileText = strings.NewReader(*t.DockerfileInline)
	} else if *t.Dockerfile != "Dockerfile" {
		r.Dockerfile, _ = t.dockerfile()
	}
	for context, where := range t.Contexts {
		if base, ok := strings.CutPrefix(where, linkPrefix); ok {
			b.Links[context] = base
		}
	}
	for _, a := range t.Annotations {
		key, value, found := strings.Cut(a, "=")
		if !found {
			errs = append(errs, fmt.Errorf("the annotation %q is not key=value", a))
		}
		r.Annotations[key] = value
	}
	for _, a := range t.Attest {
		if a.disabled() {
			continue
		}
		settings := maps.Clone(Entry(a))
		delete(settings, "type")
		r.Attestations[a["type"]] = settings.String()
	}
	for _, host := range slices.Sorted(maps.Keys(t.ExtraHosts)) {
		for address := range strings.SplitSeq(t.ExtraHosts[host], ",") {
			r.AddHosts = append(r.AddHosts, host+":"+address)
		}
	}
	if t.ShmSize != nil {
		var err error
		if r.ShmSize, err = units.RAMInBytes(*t.ShmSize); err != nil {
			errs = append(errs, hint.With(fmt.Errorf("shm-size %q is no size", *t.ShmSize), "write it like 128m"))
		}
	}
	if call := plainText(t.Call); call != "" && call != "build" {
		errs = append(errs, hint.With(fmt.Errorf("it is not built but asked for %s", call), "use docker buildx bake for it, or write --set %s.call=build", name))
	}
	r.Cache = o.Cache
	r.Cache.Name = cacheName(name, t.Tags)
	errs = append(errs, t.entries(r, o)...)
	return b, errors.Join(errs...)
}

// entries adds what a target has in the form of flags.
func (t *Target) entries(r *imagebuild.Request, o RequestOptions) []error {
	var errs []error
	s := buildflags.Surroundings{LookupEnv: o.LookupEnv}
	for _, e := range t.Secrets {
		secret, err := buildflags.ParseSecret(e.String(), s)
		r.Secrets, errs = append(r.Secrets, secret), append(errs, err)
	}
	for _, a := range t.SSH {
		agent, err := buildflags.ParseSSH(a.String(), s)
		r.SSH, errs = append(r.SSH, agent), append(errs, err)
	}
	for _, e := range t.CacheFrom {
		entry, err := buildflags.ParseCache(e.String())
		r.CacheFrom, errs = append(r.CacheFrom, entry), append(errs, err)
	}
	for _, e := range t.CacheTo {
		entry, err := buildflags.ParseCache(e.String())
		r.CacheTo, errs = append(r.CacheTo, entry), append(errs, err)
	}
	for _, e := range t.Outputs {
		switch {
		case pushes(e) && len(e) <= 2 && (len(e) == 1 || e["push"] != ""):
			r.Push = true
		case e["type"] == "docker" && e["dest"] == "" && o.Load == nil:
			errs = append(errs, hint.With(errors.New("there is nothing to load the image into"), "write it to a file with type=docker,dest=FILE"))
		case e["type"] == "docker" && e["dest"] == "":
			r.Load = o.Load
		default:
			out, err := buildflags.ParseOutput(e.String(), s)
			r.Outputs, errs = append(r.Outputs, out), append(errs, err)
		}
	}
	return errs
}

// pushes reports whether an output goes to a registry.
func pushes(e Entry) bool {
	return e["type"] == "registry" || e["type"] == "image" && e["push"] == "true"
}

// cacheName names the caches of a target: targets of one file often make images
// of one name, or from one directory, and must not overwrite each other's.
func cacheName(target string, tags []string) string {
	name := ""
	if len(tags) > 0 {
		if named, err := reference.ParseNormalizedNamed(tags[0]); err == nil {
			name = reference.Path(named)
		}
	}
	if name == "" {
		if dir, err := filepath.Abs("."); err == nil {
			name = filepath.Base(dir)
		}
	}
	if path.Base(name) == target {
		return name
	}
	return name + "/" + target
}

func plainText(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
