package buildflags

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// Variables of the environment that buildx reads too.
const (
	envPlatform = "DOCKER_DEFAULT_PLATFORM"
	envEpoch    = "SOURCE_DATE_EPOCH"
	argInline   = "BUILDKIT_INLINE_CACHE"
)

// Query is a question to the Dockerfile's frontend, as of --call.
type Query struct {
	Method       string // in BuildKit's words: lint, outline, targets, subrequests.describe; empty builds
	JSON         bool
	IgnoreStatus bool // a check that finds something succeeds
}

// collector gathers the errors of all flags.
type collector struct{ errs []error }

// note keeps an error, and names the flag that it is about.
func (c *collector) note(flag string, err error) {
	if err == nil {
		return
	}
	if !strings.HasPrefix(err.Error(), "--") {
		err = fmt.Errorf("--%s: %w", flag, err)
	}
	c.errs = append(c.errs, err)
}

// each parses the values of a flag.
func each[T any](c *collector, flag string, values []string, parse func(string) (T, error)) []T {
	var out []T
	for _, v := range values {
		parsed, err := parse(v)
		if err != nil {
			c.note(flag, err)
			continue
		}
		out = append(out, parsed)
	}
	return out
}

// Request turns the parsed flags into the request for a build of a context: a
// directory, a URL, or "-" for standard input. It reports every bad flag, by
// name. Files of secrets are read when the build starts; standard input is read
// here, once nothing else is wrong.
func (f *Flags) Request(s Surroundings, context string) (imagebuild.Request, error) {
	var c collector
	r := imagebuild.Request{
		Tags: slices.Clone(f.tags), Target: f.target, Platforms: slices.Clone(f.platforms),
		NoCache: f.noCache, NoCacheFilter: slices.Clone(f.noCacheFilter), Pull: f.pull, Push: f.push,
		CgroupParent: f.cgroupParent,
	}
	f.refuse(&c)
	f.sources(&c, s, &r, context)
	f.arguments(&c, s, &r)
	f.sandbox(&c, &r)
	f.attestations(&c, &r)
	f.results(&c, s, &r)
	f.ask(&c)
	if err := errors.Join(c.errs...); err != nil {
		return r, err
	}
	return r, f.standardInput(s, &r, context)
}

// refuse reports flags that have no effect here.
func (f *Flags) refuse(c *collector) {
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		if f.set.Changed(name) {
			c.errs = append(c.errs, hint.With(fmt.Errorf("--%s is not known here", name), "%s", refused[name]))
		}
	}
}

// arguments reads what the Dockerfile and the image are told.
func (f *Flags) arguments(c *collector, s Surroundings, r *imagebuild.Request) {
	var err error
	r.BuildArgs, err = ParsePairs(f.buildArgs, s.lookup)
	c.note("build-arg", err)
	r.Labels, err = ParsePairs(f.labels, nil)
	c.note("label", err)
	r.Annotations, err = parseAnnotations(f.annotations)
	c.note("annotation", err)
	if _, given := r.BuildArgs[envEpoch]; !given && r.BuildArgs != nil {
		if v, _ := s.lookup(envEpoch); v != "" {
			r.BuildArgs[envEpoch] = v
		}
	}
	if len(r.Platforms) == 0 {
		if v, _ := s.lookup(envPlatform); v != "" {
			r.Platforms = []string{v}
		}
	}
	r.Secrets = each(c, "secret", f.secrets, func(v string) (imagebuild.Secret, error) { return ParseSecret(v, s) })
	r.CacheFrom = each(c, "cache-from", f.cacheFrom, ParseCache)
	r.CacheTo = each(c, "cache-to", f.cacheTo, ParseCache)
	for _, entry := range slices.Concat(r.CacheFrom, r.CacheTo) {
		for _, key := range []string{"src", "dest"} {
			if dir := entry.Attrs[key]; entry.Type == "local" && dir != "" {
				entry.Attrs[key] = s.path(dir)
			}
		}
	}
	if inline, _ := strconv.ParseBool(r.BuildArgs[argInline]); inline {
		r.CacheTo = append(r.CacheTo, buildcache.Entry{Type: "inline", Attrs: make(map[string]string)})
	}
}

// attestations reads --attest and the two flags for one type each, of which the
// latter count.
func (f *Flags) attestations(c *collector, r *imagebuild.Request) {
	r.Attestations = make(map[string]string)
	add := func(flag, kind, text string) {
		settings, wanted, err := ParseAttestation(text)
		if err != nil && flag == kind && !strings.Contains(text, "=") {
			// A context that stands behind the flag became its value.
			err = hint.With(errors.New(err.Error()), "write --%s=true, or --%s true before the context", flag, flag)
		}
		if err == nil && kind == "provenance" {
			err = checkMode(settings)
		}
		c.note(flag, err)
		delete(r.Attestations, kind)
		if err == nil && wanted {
			r.Attestations[kind] = settings
		}
	}
	for _, text := range f.attests {
		kind, settings, err := parseAttest(text)
		if err != nil {
			c.note("attest", err)
			continue
		}
		add("attest", kind, cmp.Or(settings, "true"))
	}
	if f.provenance != "" {
		add("provenance", "provenance", f.provenance)
	}
	if f.sbom != "" {
		add("sbom", "sbom", f.sbom)
	}
}

// checkMode reports a mode of provenance that BuildKit has not.
func checkMode(settings string) error {
	if settings == "" {
		return nil
	}
	return fields(settings, func(key, value string, _ bool) error {
		if key == "mode" && value != "min" && value != "max" {
			return hint.With(fmt.Errorf("there is no mode %q", value), "write mode=min, or mode=max for build arguments and steps too")
		}
		return nil
	})
}

// ask reads --call and --check.
func (f *Flags) ask(c *collector) {
	f.Query = Query{}
	if f.check {
		f.Query.Method = "lint"
		if f.set.Changed("call") {
			c.errs = append(c.errs, errors.New("--call and --check exclude each other"))
		}
		return
	}
	err := fields(f.call, func(key, value string, found bool) (err error) {
		switch {
		case !found && f.Query.Method == "":
			f.Query.Method = key
		case key == "format" && (value == "json" || value == "text"):
			f.Query.JSON = value == "json"
		case key == "ignorestatus":
			f.Query.IgnoreStatus, err = strconv.ParseBool(value)
		default:
			err = fmt.Errorf("there is no setting %q", key)
		}
		return err
	})
	switch f.Query.Method {
	case "check":
		f.Query.Method = "lint"
	case "build", "":
		f.Query.Method = ""
	case "lint", "outline", "targets", "subrequests.describe":
	default:
		err = errors.Join(err, fmt.Errorf("there is no method %q", f.Query.Method))
	}
	if err != nil {
		c.note("call", hint.With(err, "write --call build, check, outline or targets, with ,format=json for programs"))
	}
}
