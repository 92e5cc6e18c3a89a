package imagebuild

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagename"
	"github.com/dockless-ci/dockless/internal/registryauth"
)

// Request says what to build, how, and where the result goes. Its zero value
// lacks a context; every other field may be left out. A Request is not changed
// by a build and may be used again, unless its DockerfileText is a stream.
type Request struct {
	// Context is a directory, or the URL of a Git repository or tar archive that
	// BuildKit fetches itself. It is empty for a ContextArchive, and for a
	// DockerfileText that needs none.
	Context string
	// ContextArchive, when set, is the context as a tar archive, compressed or not.
	ContextArchive *io.SectionReader
	// Dockerfile is the path of the Dockerfile on this machine, or its URL; empty
	// is "Dockerfile" in the context. With an archive as context, or a URL, a
	// relative path is one inside.
	Dockerfile string
	// DockerfileText, when set, is the Dockerfile itself ("-f -").
	DockerfileText io.Reader

	Tags      []string // image references; one without a tag gets "latest"
	Target    string   // stage to build; empty is the last
	Platforms []string // for example linux/arm64; empty is the node's own
	BuildArgs map[string]string
	Labels    map[string]string
	// Annotations are by key, as of --annotation: the key may begin with the levels
	// they are for, "manifest:", "index:", "manifest[linux/amd64]:" or
	// "index,manifest-descriptor:"; without one they are for manifests.
	Annotations map[string]string
	// Contexts are the named contexts of --build-context: a directory, the URL of a
	// Git repository or tar archive, docker-image://…, oci-layout://….
	Contexts map[string]string
	Secrets  []Secret
	SSH      []SSH
	NoCache  bool // run every step again
	// NoCacheFilter names the stages whose steps are run again.
	NoCacheFilter []string
	Pull          bool     // ask the registry for base images even if the node has them
	AddHosts      []string // lines of /etc/hosts for steps, name:address, where host-gateway is an address
	Ulimits       []string // limits of steps, name=soft[:hard]
	ShmSize       int64    // bytes of /dev/shm in steps; zero is BuildKit's default
	Network       string   // of steps without one of their own: "", "none" or "host"
	CgroupParent  string
	Allow         []string // entitlements that the build may use, as of --allow
	// Resources bound what each step may use, by the names of --resource: memory
	// and memory-swap in bytes, cpu-shares, cpu-period and cpu-quota, cpuset-cpus
	// and cpuset-mems.
	Resources map[string]string
	// Attestations are by type, "sbom" or "provenance", with their settings, for
	// example "mode=max"; an empty setting is the default of the type.
	Attestations map[string]string
	Provenance   Provenance // what an attestation of that type says beside them

	Push bool // push every tag
	// PushAttrs are settings of the exporter that pushes, as of -o type=image, for
	// example compression=zstd.
	PushAttrs map[string]string

	Layout  string                         // directory of a [imagelayout.Layout] that keeps the image under its tags
	Load    func() (io.WriteCloser, error) // opens where the image goes as an archive that `docker load` and `podman load` read
	Outputs []Output                       // further outputs, as of -o

	CacheFrom []buildcache.Entry // as of --cache-from, beside those of Cache
	CacheTo   []buildcache.Entry // as of --cache-to, beside that of Cache
	Cache     buildcache.Policy

	// Insecure names registries, host[:port], that are spoken to without TLS or
	// with a certificate that nobody checks. Those on localhost need no mention.
	Insecure []string
	Auth     *registryauth.Auth // credentials for registries; nil is none

	// Open opens the files of the context and the Dockerfile; nil is os.Open. A
	// caller that may read more than the one it builds for narrows it.
	Open func(path string) (*os.File, error)
}

// Provenance says where a build comes from. It is told to BuildKit only when the
// provenance is attested; empty fields are left out. A build is compared with the
// last one of the same Source.
type Provenance struct {
	Builder  string // URL of the run that builds, for the SLSA builder ID
	Source   string // URL of the repository, without credentials
	Revision string // commit
	Run      string // number or name of the run
	Job      string // name of its job
}

// Secret is a value that steps can mount by its ID. Open is called once per
// build, before it starts; the value is in no log, layer or cache key.
type Secret struct {
	ID   string
	Open func(context.Context) ([]byte, error)
}

// SSH is an agent that steps can mount by its ID: the path of an agent's socket,
// or those of private keys.
type SSH struct {
	ID    string
	Paths []string
}

// Output is one further output of a build: an exporter type of BuildKit, its
// settings, and where it goes on this machine. Dest is a directory for the type
// "local" and for "oci" with tar=false, else a file, or "-" for Stdout.
type Output struct {
	Type   string
	Dest   string
	Attrs  map[string]string
	Stdout io.Writer
	// Create makes the file Dest for an archive; nil is os.Create, below directories
	// that are made, too.
	Create func(path string) (*os.File, error)
}

// Validate reports everything in r that can be known to be wrong without
// BuildKit, with hints.
func (r *Request) Validate() error {
	var errs []error
	if err := r.checkFiles(); err != nil {
		errs = append(errs, err)
	}
	if _, err := r.references(); err != nil {
		errs = append(errs, err)
	}
	if _, err := r.platforms(); err != nil {
		errs = append(errs, err)
	}
	if r.NoCache && len(r.NoCacheFilter) > 0 {
		errs = append(errs, hint.With(errors.New("--no-cache and --no-cache-filter exclude each other"), "leave out --no-cache to build only some stages again"))
	}
	if syntax, ok := r.BuildArgs[argSyntax]; ok && strings.TrimSpace(syntax) == "" {
		errs = append(errs, hint.With(errors.New("the build argument "+argSyntax+" is empty"), "leave it out to build with the frontend that the Dockerfile names"))
	}
	if r.Push && len(r.Tags) == 0 {
		errs = append(errs, hint.With(errors.New("there is no name to push the image to"), "give the image a tag with --tag"))
	}
	for _, s := range r.Secrets {
		if s.ID == "" || s.Open == nil {
			errs = append(errs, errors.New("a secret needs an id and a source"))
		}
	}
	for kind := range r.Attestations {
		if kind != "sbom" && kind != "provenance" {
			errs = append(errs, fmt.Errorf("there is no attestation of type %q", kind))
		}
	}
	stores := 0
	if r.Layout != "" {
		stores++
	}
	for _, o := range r.Outputs {
		if o.IsStore() {
			stores++
		}
	}
	if stores > 1 {
		errs = append(errs, errors.New("a build can write into one OCI layout directory at most"))
	}
	return errors.Join(errs...)
}

// remote reports whether BuildKit fetches the context itself, or gets it as an
// archive.
func (r *Request) remote() bool { return r.ContextArchive != nil || IsRemote(r.Context) }

// noContext reports whether nothing but the Dockerfile is there.
func (r *Request) noContext() bool {
	return r.Context == "" && r.ContextArchive == nil && r.DockerfileText != nil
}

// dockerfile returns where the Dockerfile is on this machine.
func (r *Request) dockerfile() string {
	if r.Dockerfile == "" {
		return filepath.Join(r.Context, "Dockerfile")
	}
	return r.Dockerfile
}

func (r *Request) checkFiles() error {
	if isURL(r.Dockerfile) && r.remote() {
		return hint.With(fmt.Errorf("the Dockerfile %s is not in the context, which is elsewhere too", r.Dockerfile),
			"fetch the Dockerfile first, and name the file with --file, as an absolute path")
	}
	if r.noContext() {
		return nil
	}
	if r.Context == "" && r.ContextArchive == nil {
		return hint.With(errors.New("the build has no context"), "name the directory to build from")
	}
	if r.ContextArchive != nil {
		return nil
	}
	if r.remote() {
		return r.checkURL()
	}
	info, err := os.Stat(r.Context)
	if err != nil {
		return hint.With(fmt.Errorf("reading the build context: %w", err), "name an existing directory to build from")
	}
	if !info.IsDir() {
		return hint.With(fmt.Errorf("the build context %s is no directory", r.Context), "name an existing directory to build from")
	}
	if r.DockerfileText != nil || isURL(r.Dockerfile) {
		return nil
	}
	file := r.dockerfile()
	info, err = os.Stat(file)
	if err != nil && r.Dockerfile == "" {
		// The frontend also accepts the name in lower case.
		info, err = os.Stat(filepath.Join(r.Context, "dockerfile"))
	}
	if err != nil {
		return hint.With(fmt.Errorf("reading the Dockerfile: there is no %s", file), "name the Dockerfile with --file, relative to the working directory")
	}
	if info.IsDir() {
		return hint.With(fmt.Errorf("reading the Dockerfile: %s is a directory", file), "name the Dockerfile with --file, relative to the working directory")
	}
	return nil
}

// cache returns the cache policy with a name: that of the first tag's repository,
// else that of the context's directory.
func (r *Request) cache() buildcache.Policy {
	p := r.Cache
	if p.Name == "" && len(r.Tags) > 0 {
		if named, err := imagename.Full(r.Tags[0]); err == nil {
			p.Name = reference.Path(named)
		}
	}
	if p.Name == "" && !r.remote() && !r.noContext() {
		if abs, err := filepath.Abs(r.Context); err == nil {
			p.Name = filepath.Base(abs)
		}
	}
	return p
}

// references returns the tags in full, each once.
func (r *Request) references() ([]reference.Named, error) {
	var (
		out  []reference.Named
		errs []error
	)
	for _, tag := range r.Tags {
		named, err := imagename.Full(tag)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !slices.ContainsFunc(out, func(o reference.Named) bool { return o.String() == named.String() }) {
			out = append(out, named)
		}
	}
	return out, errors.Join(errs...)
}

func (r *Request) platforms() ([]ocispecs.Platform, error) {
	var (
		out  []ocispecs.Platform
		errs []error
	)
	for _, list := range r.Platforms {
		for name := range strings.SplitSeq(list, ",") {
			p, err := platforms.Parse(strings.TrimSpace(name))
			if err != nil {
				errs = append(errs, hint.With(fmt.Errorf("%q is no platform", name), "use names like linux/amd64 and linux/arm64"))
				continue
			}
			p = platforms.Normalize(p)
			if !slices.ContainsFunc(out, func(o ocispecs.Platform) bool { return platforms.FormatAll(o) == platforms.FormatAll(p) }) {
				out = append(out, p)
			}
		}
	}
	return out, errors.Join(errs...)
}

// IsStore reports whether the output is a directory of content.
func (o Output) IsStore() bool {
	return (o.Type == "oci" || o.Type == "docker") && o.Attrs["tar"] == "false"
}
