package imagebuild

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/distribution/reference"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/imagelayout"
)

// cacheSize returns how many bytes the layers of a cache in a registry have there.
// BuildKit does not tell how many of them an export had to send.
func (s *solver) cacheSize(ctx context.Context, ref string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return 0, err
	}
	manifest, err := imagelayout.GetManifest(ctx, named, imagelayout.PushOptions{Auth: s.r.Auth, Insecure: s.r.Insecure})
	if err != nil {
		return 0, err
	}
	return sizeOfLayers(manifest)
}

// sizeOfLayers adds up what a cache consists of: a manifest with its layers, or, in the
// older form, an index that has them where others have manifests.
func sizeOfLayers(manifest []byte) (int64, error) {
	var m struct{ Layers, Manifests []ocispecs.Descriptor }
	if err := json.Unmarshal(manifest, &m); err != nil {
		return 0, fmt.Errorf("reading the manifest of a cache: %w", err)
	}
	var size int64
	for _, d := range slices.Concat(m.Layers, m.Manifests) {
		size += max(d.Size, 0)
	}
	return size, nil
}
