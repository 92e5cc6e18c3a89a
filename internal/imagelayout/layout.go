// Package imagelayout keeps built images in a directory until somebody pushes or
// loads them, byte for byte as they were built.
package imagelayout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/distribution/reference"
	"github.com/gofrs/flock"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/moby/buildkit/client/ociindex"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagename"
	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/registryhttp"
)

// ErrNotFound says that a [Layout] holds no image of a name.
var ErrNotFound = errors.New("there is no such image")

// annotationName is where BuildKit and containerd keep an image's full name.
const annotationName = "io.containerd.image.name"

// layoutLockTimeout bounds the wait for another build that enters its image.
const layoutLockTimeout = 10 * time.Second

// Layout is a directory in the OCI image layout in which builds keep images
// until somebody pushes or loads them, each under its full names. Several
// processes may use one at a time. The zero value is no directory.
type Layout struct{ Dir string }

// Image is one name in a [Layout].
type Image struct {
	Name   string // in full
	Digest digest.Digest
}

// Images returns what the layout holds, in the order it was built. A directory
// that does not exist holds nothing.
func (l Layout) Images() ([]Image, error) {
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, d := range index.Manifests {
		if n := d.Annotations[annotationName]; n != "" {
			out = append(out, Image{Name: n, Digest: d.Digest})
		}
	}
	return out, nil
}

func (l Layout) index() (ocispecs.Index, error) {
	var index ocispecs.Index
	data, err := os.ReadFile(filepath.Join(l.Dir, ocispecs.ImageIndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return index, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &index)
	}
	if err != nil {
		return index, fmt.Errorf("reading the images in %s: %w", l.Dir, err)
	}
	return index, nil
}

// find returns the descriptor of an image, with [ErrNotFound] when there is
// none.
func (l Layout) find(image string) (ocispecs.Descriptor, reference.Named, error) {
	named, err := imagename.Full(image)
	if err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	index, err := l.index()
	if err != nil {
		return ocispecs.Descriptor{}, nil, err
	}
	for _, d := range index.Manifests {
		if d.Annotations[annotationName] == named.String() {
			return d, named, nil
		}
	}
	return ocispecs.Descriptor{}, nil, hint.With(fmt.Errorf("finding %s: %w", image, ErrNotFound),
		"build the image under this name in the same job first")
}

// Put enters names for a descriptor.
func (l Layout) Put(ctx context.Context, d ocispecs.Descriptor, names ...string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, layoutLockTimeout, fmt.Errorf("another process holds the lock for %s", layoutLockTimeout))
	defer cancel()
	lock := flock.New(filepath.Join(l.Dir, ".lock"))
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return fmt.Errorf("entering the image in %s: %w", l.Dir, err)
	}
	entries := make([]ociindex.NameOrTag, len(names))
	for i, n := range names {
		entries[i] = ociindex.Name(n)
	}
	err := ociindex.NewStoreIndex(l.Dir).Put(d, entries...)
	if err := errors.Join(err, lock.Close()); err != nil {
		return fmt.Errorf("entering the image in %s: %w", l.Dir, err)
	}
	return nil
}

// Tag gives an image a second name, as `docker tag` does.
func (l Layout) Tag(ctx context.Context, image, newName string) error {
	d, _, err := l.find(image)
	if err != nil {
		return err
	}
	named, err := imagename.Full(newName)
	if err != nil {
		return err
	}
	d.Annotations = nil
	return l.Put(ctx, d, named.String())
}

// PushOptions say how to reach the registry.
type PushOptions struct {
	Auth     *registryauth.Auth
	Insecure []string // registries, host[:port], without TLS or with an unchecked certificate
}

// Push sends an image to the registry of its name, byte for byte as it was
// built, and returns its digest. It returns [ErrNotFound] when the layout
// has no image of that name.
func (l Layout) Push(ctx context.Context, image string, o PushOptions) (digest.Digest, error) {
	d, named, err := l.find(image)
	if err != nil {
		return "", err
	}
	if err := l.PushAs(ctx, d, named, o); err != nil {
		return "", err
	}
	return d.Digest, nil
}

// PushAs sends what d describes to a registry under a name.
func (l Layout) PushAs(ctx context.Context, d ocispecs.Descriptor, named reference.Named, o PushOptions) error {
	return pushing(ctx, named, o, func(ref name.Reference) error { return l.push(ctx, d, ref, o) })
}

// PutManifest gives a manifest or index a name in a registry whose repository
// holds what it refers to.
func PutManifest(ctx context.Context, manifest remote.Taggable, named reference.Named, o PushOptions) error {
	return pushing(ctx, named, o, func(ref name.Reference) error {
		return remote.Put(ref, manifest, o.remote(ctx)...)
	})
}

// GetManifest reads a manifest or index from a registry, once and without another try.
func GetManifest(ctx context.Context, named reference.Named, o PushOptions) ([]byte, error) {
	ref, err := o.reference(named)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of %s: %w", named, err)
	}
	got, err := remote.Get(ref, append(o.remote(ctx), remote.WithRetryPredicate(func(error) bool { return false }))...)
	if err != nil {
		return nil, fmt.Errorf("reading the manifest of %s: %w", named, err)
	}
	return got.Manifest, nil
}

// reference is a name as the registry's client has it.
func (o PushOptions) reference(named reference.Named) (name.Reference, error) {
	var opts []name.Option
	if slices.Contains(o.Insecure, reference.Domain(named)) {
		opts = append(opts, name.Insecure)
	}
	return name.ParseReference(named.String(), opts...)
}

func (o PushOptions) remote(ctx context.Context) []remote.Option {
	return []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(o.Auth), remote.WithTransport(registryhttp.Shared(o.Insecure))}
}

// pushing lets push send to a registry and says what went wrong there.
func pushing(ctx context.Context, named reference.Named, o PushOptions, push func(name.Reference) error) error {
	ref, err := o.reference(named)
	if err != nil {
		return fmt.Errorf("pushing %s: %w", named, err)
	}
	if err := push(ref); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return advisePush(fmt.Errorf("pushing %s: %w", named, err), ref)
	}
	return nil
}

func (l Layout) push(ctx context.Context, d ocispecs.Descriptor, ref name.Reference, o PushOptions) error {
	index, err := layout.ImageIndexFromPath(l.Dir)
	if err != nil {
		return err
	}
	hash, err := v1.NewHash(d.Digest.String())
	if err != nil {
		return err
	}
	opts := o.remote(ctx)
	if isIndex(d.MediaType) {
		child, err := index.ImageIndex(hash)
		if err != nil {
			return err
		}
		return remote.WriteIndex(ref, child, opts...)
	}
	img, err := index.Image(hash)
	if err != nil {
		return err
	}
	return remote.Write(ref, img, opts...)
}

func isIndex(mediaType string) bool {
	return mediaType == ocispecs.MediaTypeImageIndex || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}

// advisePush adds a hint where the operator can act.
func advisePush(err error, ref name.Reference) error {
	if refusal, ok := errors.AsType[*transport.Error](err); ok && (refusal.StatusCode == 401 || refusal.StatusCode == 403) {
		return hint.With(err, "log in to %s, with docker login or the task Docker@2, under an account that may push", ref.Context().RegistryStr())
	}
	return err
}
