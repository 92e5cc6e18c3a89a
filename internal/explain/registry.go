package explain

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/registryauth"
	"github.com/dockless-ci/dockless/internal/registryhttp"
)

// ArtifactType is the type of a record as an OCI artifact.
const ArtifactType = "application/vnd.dockless.build-record.v1+json"

// layerType is that of its one layer, the packed record.
const layerType = types.MediaType(ArtifactType + "+gzip")

// Registry keeps records as OCI artifacts in the repository of the caches, for
// agents that have no state of their own. It may be used concurrently.
type Registry struct {
	Repository string // host[:port]/path
	Auth       *registryauth.Auth
	Insecure   []string // registries, host[:port], without TLS or with an unchecked certificate
}

const tagPrefix = "record."

// tag returns where the record of k is. All such tags have the full length of
// 128 characters. No cache's tag begins with "record." and is that long: those
// of branches are shorter, and those of forks begin with "fork.".
func (k Key) tag() string {
	sum := sha512.Sum512([]byte(k.id()))
	return (tagPrefix + hex.EncodeToString(sum[:]))[:128]
}

func (r Registry) ref(k Key) (name.Tag, error) {
	var opts []name.Option
	repo, err := name.NewRepository(r.Repository)
	if err != nil {
		return name.Tag{}, err
	}
	if slices.Contains(r.Insecure, repo.RegistryStr()) {
		opts = append(opts, name.Insecure)
	}
	return name.NewTag(r.Repository+":"+k.tag(), opts...)
}

func (r Registry) options(ctx context.Context) []remote.Option {
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(r.Auth), remote.WithTransport(registryhttp.Shared(r.Insecure)),
		remote.WithRetryPredicate(func(error) bool { return false }),
	}
}

// Load returns the record of k when there is one that is younger than after,
// else nil.
func (r Registry) Load(ctx context.Context, k Key, after time.Time) (*Record, error) {
	ref, err := r.ref(k)
	if err != nil {
		return nil, fmt.Errorf("finding the record of a build: %w", err)
	}
	got, err := remote.Get(ref, r.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("finding the record of a build: %w", err)
	}
	var m ocispecs.Manifest
	if err := json.Unmarshal(got.Manifest, &m); err != nil || m.ArtifactType != ArtifactType || len(m.Layers) != 1 || m.Layers[0].Size > maxPacked {
		return nil, fmt.Errorf("reading the record of a build: %s is none", ref)
	}
	if made, err := time.Parse(time.RFC3339Nano, m.Annotations[ocispecs.AnnotationCreated]); err == nil && !made.After(after) {
		return nil, nil //nolint:nilnil // documented
	}
	layer, err := remote.Layer(ref.Context().Digest(m.Layers[0].Digest.String()), r.options(ctx)...)
	if err != nil {
		return nil, fmt.Errorf("reading the record of a build: %w", err)
	}
	blob, err := layer.Compressed()
	if err != nil {
		return nil, fmt.Errorf("reading the record of a build: %w", err)
	}
	packed, err := io.ReadAll(io.LimitReader(blob, maxPacked+1))
	if err := errors.Join(err, blob.Close()); err != nil {
		return nil, fmt.Errorf("reading the record of a build: %w", err)
	}
	return Decode(packed)
}

// Save pushes rec as the record of k.
func (r Registry) Save(ctx context.Context, k Key, rec *Record) error {
	ref, err := r.ref(k)
	if err != nil {
		return fmt.Errorf("keeping the build's record in the registry: %w", err)
	}
	packed, err := rec.Encode()
	if err != nil {
		return err
	}
	layer, config := static.NewLayer(packed, layerType), static.NewLayer([]byte("{}"), ocispecs.MediaTypeEmptyJSON)
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Annotations: map[string]string{
		ocispecs.AnnotationCreated: rec.Time.UTC().Format(time.RFC3339Nano),
	}}
	for _, l := range []v1.Layer{config, layer} {
		if err := remote.WriteLayer(ref.Context(), l, r.options(ctx)...); err != nil {
			return fmt.Errorf("keeping the build's record in the registry: %w", err)
		}
	}
	if m.Config, err = descriptor(config); err != nil {
		return err
	}
	d, err := descriptor(layer)
	if err != nil {
		return err
	}
	m.Layers = []v1.Descriptor{d}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	// The manifest type of this library has no place for it.
	text = append([]byte(`{"artifactType":"`+ArtifactType+`",`), bytes.TrimPrefix(text, []byte("{"))...)
	if err := remote.Put(ref, manifest(text), r.options(ctx)...); err != nil {
		return fmt.Errorf("keeping the build's record in the registry: %w", err)
	}
	return nil
}

func descriptor(l v1.Layer) (v1.Descriptor, error) {
	d, err := l.Digest()
	if err != nil {
		return v1.Descriptor{}, err
	}
	size, err := l.Size()
	if err != nil {
		return v1.Descriptor{}, err
	}
	t, err := l.MediaType()
	return v1.Descriptor{MediaType: t, Digest: d, Size: size}, err
}

// manifest is the text of an OCI image manifest.
type manifest []byte

func (m manifest) RawManifest() ([]byte, error) { return m, nil }

// MediaType returns the manifest's type.
func (m manifest) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
