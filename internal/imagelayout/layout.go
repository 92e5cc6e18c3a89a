// Package imagelayout keeps built images in a directory until somebody pushes or
// loads them, byte for byte as they were built.
package imagelayout

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/platforms"
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
	// Progress, when set, is told the bytes sent so far and in all, from another
	// goroutine than the caller's.
	Progress func(complete, total int64)
}

// pushAttempts is how often a push is begun. When a token ends just before the
// bytes of a layer are sent, go-containerregistry gets another and sends them once
// more, out of a file that it has closed. The next attempt goes on with the layers
// that are missing.
const pushAttempts = 4

// Push sends an image to the registry of its name, byte for byte as it was
// built, and returns its digest. It returns [ErrNotFound] when the layout
// has no image of that name.
func (l Layout) Push(ctx context.Context, image string, o PushOptions) (digest.Digest, error) {
	d, named, err := l.find(image)
	if err != nil {
		return "", err
	}
	var opts []name.Option
	if slices.Contains(o.Insecure, reference.Domain(named)) {
		opts = append(opts, name.Insecure)
	}
	ref, err := name.ParseReference(named.String(), opts...)
	if err != nil {
		return "", fmt.Errorf("pushing %s: %w", image, err)
	}
	err = l.push(ctx, d, ref, o)
	for attempt := 1; attempt < pushAttempts && errors.Is(err, fs.ErrClosed) && ctx.Err() == nil; attempt++ {
		err = l.push(ctx, d, ref, o)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", advisePush(fmt.Errorf("pushing %s: %w", named, err), ref)
	}
	return d.Digest, nil
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
	opts := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(o.Auth)}
	if o.Progress != nil {
		updates := make(chan v1.Update)
		told := make(chan struct{})
		go func() {
			defer close(told)
			for u := range updates { // closed by remote.Write when it returns
				if u.Error == nil {
					o.Progress(u.Complete, u.Total)
				}
			}
		}()
		defer func() { <-told }()
		opts = append(opts, remote.WithProgress(updates))
	}
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

// WriteArchive writes an image to w as the tar archive that `docker load` and
// `podman load` read: an OCI layout with a manifest.json beside it. Of an image
// for several platforms it takes the one for platform, where empty is this
// machine's.
func (l Layout) WriteArchive(ctx context.Context, image, platform string, w io.Writer) error {
	d, named, err := l.find(image)
	if err != nil {
		return err
	}
	want := platforms.DefaultSpec()
	if platform != "" {
		if want, err = platforms.Parse(platform); err != nil {
			return fmt.Errorf("loading %s: %q is no platform", image, platform)
		}
	}
	if d, err = l.forPlatform(d, want); err != nil {
		return fmt.Errorf("loading %s: %w", image, err)
	}
	if err := l.writeArchive(ctx, d, named, tar.NewWriter(w)); err != nil {
		return fmt.Errorf("loading %s: %w", image, err)
	}
	return nil
}

// forPlatform returns the manifest for a platform out of an index.
func (l Layout) forPlatform(d ocispecs.Descriptor, want ocispecs.Platform) (ocispecs.Descriptor, error) {
	if !isIndex(d.MediaType) {
		return d, nil
	}
	var index ocispecs.Index
	if err := l.readJSON(d.Digest, &index); err != nil {
		return d, err
	}
	match := platforms.Only(platforms.Normalize(want))
	var best *ocispecs.Descriptor
	for i, m := range index.Manifests {
		if m.Platform == nil || m.Platform.OS == "unknown" || !match.Match(*m.Platform) {
			continue // "unknown" is how attestations are marked
		}
		if best == nil || match.Less(*m.Platform, *best.Platform) {
			best = &index.Manifests[i]
		}
	}
	if best == nil {
		return d, hint.With(fmt.Errorf("it was not built for %s", platforms.FormatAll(want)), "build it for this platform with --platform")
	}
	return *best, nil
}

func (l Layout) blob(d digest.Digest) string {
	return filepath.Join(l.Dir, "blobs", d.Algorithm().String(), d.Encoded())
}

func (l Layout) readJSON(d digest.Digest, into any) error {
	if err := d.Validate(); err != nil {
		return err
	}
	data, err := os.ReadFile(l.blob(d))
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// dockerManifest is one entry of an archive's manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func (l Layout) writeArchive(ctx context.Context, d ocispecs.Descriptor, named reference.Named, tw *tar.Writer) error {
	var manifest ocispecs.Manifest
	if err := l.readJSON(d.Digest, &manifest); err != nil {
		return err
	}
	d.Annotations = map[string]string{annotationName: named.String(), ocispecs.AnnotationRefName: named.String()}
	index := ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex, Manifests: []ocispecs.Descriptor{d}}
	index.SchemaVersion = 2
	docker := dockerManifest{Config: blobName(manifest.Config.Digest), RepoTags: []string{reference.FamiliarString(named)}}
	blobs := []digest.Digest{d.Digest, manifest.Config.Digest}
	for _, layer := range manifest.Layers {
		docker.Layers = append(docker.Layers, blobName(layer.Digest))
		blobs = append(blobs, layer.Digest)
	}
	slices.Sort(blobs)
	for _, b := range slices.Compact(blobs) {
		if err := l.writeBlob(ctx, tw, b); err != nil {
			return err
		}
	}
	for _, file := range []struct {
		name    string
		content any
	}{
		{ocispecs.ImageLayoutFile, ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion}},
		{ocispecs.ImageIndexFile, index},
		{"manifest.json", []dockerManifest{docker}},
	} {
		data, err := json.Marshal(file.content)
		if err != nil {
			return err
		}
		if err := tw.WriteHeader(&tar.Header{Name: file.name, Mode: 0o644, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		if _, err := tw.Write(data); err != nil {
			return err
		}
	}
	return tw.Close()
}

func blobName(d digest.Digest) string {
	return strings.Join([]string{"blobs", d.Algorithm().String(), d.Encoded()}, "/")
}

func (l Layout) writeBlob(ctx context.Context, tw *tar.Writer, d digest.Digest) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := d.Validate(); err != nil {
		return err
	}
	f, err := os.Open(l.blob(d))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: blobName(d), Mode: 0o644, Size: info.Size(), Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
