package bake

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/go-units"

	"github.com/dockless-ci/dockless/internal/hint"
)

// addCompose makes a target of every service that is built, and a group default
// of all of them.
func (d *definition) addCompose(ctx context.Context, files []File, o Options) error {
	names := make([]string, len(files))
	details := types.ConfigDetails{}
	for i, f := range files {
		names[i] = f.Name
		details.ConfigFiles = append(details.ConfigFiles, types.ConfigFile{Filename: f.Name, Content: f.Data})
	}
	fail := func(err error) error { return fmt.Errorf("reading %s: %w", strings.Join(names, ", "), err) }
	var err error
	if details.Environment, err = composeEnvironment(o); err != nil {
		return fail(err)
	}
	project, err := loader.LoadWithContext(ctx, details, func(l *loader.Options) {
		name := details.Environment["COMPOSE_PROJECT_NAME"]
		if name == "" {
			name = "bake"
		}
		l.SetProjectName(name, false)
		l.Profiles = []string{"*"}
		l.SkipNormalization = true
		l.SkipConsistencyCheck = true // what is not built is not our business
	})
	if err != nil {
		return fail(err)
	}
	all := &Group{Name: "default", Targets: []string{}}
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		service := project.Services[name]
		if service.Build == nil {
			continue
		}
		t, err := composeTarget(project, service)
		if err != nil {
			return fail(fmt.Errorf("services.%s.build: %w", name, err))
		}
		all.Targets = append(all.Targets, t.Name)
		d.addTarget(t)
	}
	d.addGroup(all)
	return nil
}

// composeEnvironment is what compose files may refer to: the environment, and
// below it .env in the working directory.
func composeEnvironment(o Options) (map[string]string, error) {
	env := o.environment()
	data, err := os.ReadFile(".env")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	values, err := dotenv.UnmarshalBytesWithLookup(data, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
	if err != nil {
		return nil, fmt.Errorf(".env: %w", err)
	}
	for k, v := range values {
		if _, set := env[k]; !set {
			env[k] = v
		}
	}
	maps.Copy(env, o.Vars)
	return env, nil
}

// targetName is how a service is called as a target: a dot would separate the
// key of an override.
func targetName(service string) string { return strings.ReplaceAll(service, ".", "_") }

func composeTarget(p *types.Project, s types.ServiceConfig) (*Target, error) {
	b := s.Build
	t := &Target{
		Name: targetName(s.Name), Context: set(b.Context), Dockerfile: set(b.Dockerfile), DockerfileInline: set(b.DockerfileInline),
		Contexts: composeContexts(b.AdditionalContexts), Labels: b.Labels, Tags: b.Tags, Target: set(b.Target), Platforms: b.Platforms,
		Network: set(b.Network), NoCacheFilter: b.NoCacheFilter, Entitlements: b.Entitlements,
	}
	if !nameOK.MatchString(t.Name) {
		return nil, hint.With(fmt.Errorf("the service cannot be a target: %q is no name for one", t.Name), "use letters, digits, - and _")
	}
	if len(t.Tags) == 0 && s.Image != "" {
		t.Tags = []string{s.Image}
	}
	if b.Privileged {
		t.Entitlements = append(t.Entitlements, securityInsecure)
	}
	if b.NoCache {
		t.NoCache = &b.NoCache
	}
	if b.Pull {
		t.Pull = &b.Pull
	}
	if b.ShmSize > 0 {
		t.ShmSize = set(units.BytesSize(float64(b.ShmSize)))
	}
	for _, name := range slices.Sorted(maps.Keys(b.Ulimits)) {
		u := b.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		t.Ulimits = append(t.Ulimits, fmt.Sprintf("%s=%d:%d", name, soft, hard))
	}
	for host, addresses := range b.ExtraHosts {
		t.ExtraHosts = laid(t.ExtraHosts, map[string]string{host: strings.Join(addresses, ",")})
	}
	args := b.Args.Resolve(func(name string) (string, bool) {
		if v, ok := s.Environment[name]; ok && v != nil {
			return *v, true
		}
		v, ok := p.Environment[name]
		return v, ok
	})
	for name, value := range args {
		if value != nil {
			t.Args = laid(t.Args, map[string]string{name: *value})
		}
	}
	for _, agent := range b.SSH {
		ssh := SSH{ID: agent.ID}
		if agent.Path != "" {
			ssh.Paths = []string{agent.Path}
		}
		t.SSH = append(t.SSH, ssh)
	}
	slices.SortFunc(t.SSH, func(a, b SSH) int { return strings.Compare(a.ID, b.ID) })
	for _, mount := range b.Secrets {
		source := p.Secrets[mount.Source]
		if source.External {
			return nil, hint.With(fmt.Errorf("the secret %s is external", mount.Source), "give it a file or an environment variable")
		}
		secret := Entry{"id": mount.Source}
		if source.File != "" {
			secret["src"] = source.File
		}
		if source.Environment != "" {
			secret["env"] = source.Environment
		}
		t.Secrets = append(t.Secrets, secret)
	}
	return t, composeEntries(t, b)
}

// composeEntries adds what compose files write in the form of flags, and the
// extension x-bake.
func composeEntries(t *Target, b *types.BuildConfig) error {
	var err error
	if t.CacheFrom, err = parseAll(cacheForm, b.CacheFrom); err != nil {
		return fmt.Errorf("cache_from: %w", err)
	}
	if t.CacheTo, err = parseAll(cacheForm, b.CacheTo); err != nil {
		return fmt.Errorf("cache_to: %w", err)
	}
	for _, a := range []struct{ kind, value string }{{"sbom", b.SBOM}, {"provenance", b.Provenance}} {
		if a.value == "" {
			continue
		}
		e, err := attestForm.parse(AttestEntry(a.kind, a.value))
		if err != nil {
			return fmt.Errorf("%s: %w", a.kind, err)
		}
		t.Attest = append(t.Attest, Attestation(e))
	}
	if x, ok := b.Extensions["x-bake"]; ok && x != nil {
		if err := extend(t, x); err != nil {
			return fmt.Errorf("x-bake: %w", err)
		}
	}
	return nil
}

// parseAll reads entries. A cache that is a list of references counts as several.
func parseAll(f form, list []string) ([]Entry, error) {
	var out []Entry
	return out, addAll(&out, f, list)
}

func addAll(to *[]Entry, f form, list []string) error {
	for _, text := range list {
		parts := []string{text}
		if f.what == "cache" && !strings.Contains(text, "=") {
			parts = strings.Split(text, ",")
		}
		for _, part := range parts {
			if part == "" {
				continue
			}
			e, err := f.parse(part)
			if err != nil {
				return err
			}
			*to = append(*to, e)
		}
	}
	return nil
}

// composeContexts turns services into targets.
func composeContexts(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for name, v := range m {
		for _, prefix := range []string{"service:", "target:"} {
			if service, ok := strings.CutPrefix(v, prefix); ok {
				v = "target:" + targetName(service)
			}
		}
		out[name] = v
	}
	return out
}

func set(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
