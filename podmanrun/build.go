package podmanrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

// BuildRequest is the section build of a service: what has to be built so that the
// service has an image. Paths are absolute.
type BuildRequest struct {
	Service string
	Image   string // name that the image shall have in Podman's storage
	// Progress takes lines to show while the image is built; it may be called
	// concurrently.
	Progress func(line string)

	Context          string // a directory or a URL
	Dockerfile       string // relative to Context unless absolute; empty is its usual place
	DockerfileInline string
	Contexts         map[string]string // further ones, by name
	Args             map[string]string
	Labels           map[string]string
	Target           string
	Tags             []string // further names
	Platforms        []string
	CacheFrom        []string
	CacheTo          []string
	NoCache          bool
	NoCacheFilter    []string
	Pull             bool
	Network          string
	ExtraHosts       []string // name:address
	Ulimits          []string // name=soft:hard
	ShmSize          int64    // bytes; zero is the builder's
	Allow            []string // entitlements
	SBOM, Provenance string
	Secrets          []BuildSecret
	SSH              []BuildSSH
}

// BuildSecret is a secret that steps of a build can mount: a file of this machine,
// or a value.
type BuildSecret struct {
	ID    string
	File  string // empty: Value
	Value mask.Secret
}

// BuildSSH is an agent that steps of a build can mount: the usual one when it has
// no path.
type BuildSSH struct{ ID, Path string }

// Builds returns what has to be built for the active services, by name.
func (p *Project) Builds() ([]BuildRequest, error) {
	var requests []BuildRequest
	for _, name := range p.ServiceNames() {
		s := p.compose.Services[name]
		if s.Build == nil {
			continue
		}
		r, err := buildRequest(p.compose, s)
		if err != nil {
			return nil, err
		}
		requests = append(requests, r)
	}
	return requests, nil
}

// buildRequest turns the section build of a service into plain words.
func buildRequest(p *types.Project, s types.ServiceConfig) (BuildRequest, error) {
	b := s.Build
	fail := func(err error) (BuildRequest, error) {
		return BuildRequest{}, fmt.Errorf("service %s: build: %w", s.Name, err)
	}
	r := BuildRequest{
		Service: s.Name, Image: imageName(p, s), Progress: func(string) {},
		Context: b.Context, Dockerfile: b.Dockerfile, DockerfileInline: b.DockerfileInline, Contexts: b.AdditionalContexts,
		Args: make(map[string]string, len(b.Args)), Labels: b.Labels, Target: b.Target, Tags: b.Tags, Platforms: b.Platforms,
		CacheFrom: b.CacheFrom, CacheTo: b.CacheTo, NoCache: b.NoCache, NoCacheFilter: b.NoCacheFilter, Pull: b.Pull,
		Network: b.Network, ExtraHosts: b.ExtraHosts.AsList(":"), ShmSize: int64(b.ShmSize),
		Allow: slices.Clone(b.Entitlements), SBOM: b.SBOM, Provenance: b.Provenance,
	}
	if b.Isolation != "" {
		return fail(errors.New("isolation is for Windows"))
	}
	if len(r.Platforms) == 0 && s.Platform != "" {
		r.Platforms = []string{s.Platform}
	}
	if b.Privileged {
		r.Allow = append(r.Allow, "security.insecure")
	}
	for name, source := range b.AdditionalContexts {
		if other, ok := strings.CutPrefix(source, ofService); ok {
			err := fmt.Errorf("additional_contexts: %s is the image of service %s, which is not supported", name, other)
			return fail(hint.With(err, "build it first and write docker-image://%s, or use dockless bake", other))
		}
	}
	for name, value := range b.Args {
		if value == nil { // it has the value that it has here, or none
			v, set := p.Environment[name]
			if !set {
				continue
			}
			value = &v
		}
		r.Args[name] = *value
	}
	for _, name := range slices.Sorted(maps.Keys(b.Ulimits)) {
		u := b.Ulimits[name]
		soft, hard := u.Soft, u.Hard
		if u.Single != 0 {
			soft, hard = u.Single, u.Single
		}
		r.Ulimits = append(r.Ulimits, name+"="+strconv.Itoa(soft)+":"+strconv.Itoa(hard))
	}
	for _, agent := range b.SSH {
		r.SSH = append(r.SSH, BuildSSH{ID: agent.ID, Path: agent.Path})
	}
	slices.SortFunc(r.SSH, func(a, b BuildSSH) int { return strings.Compare(a.ID, b.ID) })
	for _, mount := range b.Secrets {
		from := p.Secrets[mount.Source]
		if bool(from.External) {
			return fail(hint.With(fmt.Errorf("the secret %s is external", mount.Source), "give it a file or an environment variable"))
		}
		id := mount.Target
		if id == "" {
			id = mount.Source
		}
		// compose-go has put the value of an environment variable into Content.
		r.Secrets = append(r.Secrets, BuildSecret{ID: id, File: from.File, Value: mask.NewSecret(from.Content)})
	}
	return r, nil
}

// buildAll builds the images that are wanted, all at the same time, and tells for
// each name that services build whether it was built now.
func (u *up) buildAll(ctx context.Context, g *errgroup.Group) map[string]*future[bool] {
	builds := make(map[string]*future[bool])
	for _, name := range slices.Sorted(maps.Keys(u.project.Services)) {
		s := u.project.Services[name]
		image := imageName(u.project, s)
		if s.Build == nil || builds[image] != nil {
			continue
		}
		builds[image] = newFuture(g, func() (bool, error) { return u.build(ctx, s, image) })
	}
	return builds
}

// build builds the image of a service when it shall be, or is missing.
func (u *up) build(ctx context.Context, s types.ServiceConfig, image string) (bool, error) {
	if u.options.Build == nil {
		return false, nil
	}
	switch {
	case u.options.Rebuild, s.PullPolicy == types.PullPolicyBuild:
	case s.PullPolicy == types.PullPolicyAlways:
		return false, nil // the registry's is wanted
	default:
		exists, err := u.client.api.ImageExists(ctx, image)
		if err != nil || exists {
			return false, err
		}
	}
	r, err := buildRequest(u.project, s)
	if err != nil {
		return false, err
	}
	r.Progress = func(line string) { u.emit(Event{Service: s.Name, Kind: EventBuilding, Text: line}) }
	r.Progress("")
	if err := u.options.Build(ctx, r); err != nil {
		return false, fmt.Errorf("building its image: %w", err)
	}
	u.emit(Event{Service: s.Name, Kind: EventBuilt})
	return true, nil
}
