package imagebuild

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/content/proxy"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/imagelayout"
)

// maxIndex bounds an index that is read into memory, as registries do (the
// distribution specification asks them to take four mebibytes).
const maxIndex = 4 << 20

// assembled is the index over the parts of an image.
type assembled struct {
	ocispecs.Descriptor
	raw []byte
}

// RawManifest and MediaType are what go-containerregistry puts into a registry.
func (a *assembled) RawManifest() ([]byte, error) { return a.raw, nil }

// MediaType is that of an OCI index.
func (a *assembled) MediaType() (types.MediaType, error) { return types.OCIImageIndex, nil }

// assemble makes one index of the manifests of the parts: images in the order of
// the wanted platforms, then their attestations, as BuildKit does for one node.
func assemble(parts [][]ocispecs.Descriptor, wanted []ocispecs.Platform, annotations []annotation) (*assembled, error) {
	var images, attestations []ocispecs.Descriptor
	for _, part := range parts {
		for _, d := range part {
			list := &images
			if d.Platform != nil && d.Platform.OS == "unknown" {
				list = &attestations
			}
			if !slices.ContainsFunc(*list, func(o ocispecs.Descriptor) bool { return o.Digest == d.Digest && platformName(o) == platformName(d) }) {
				*list = append(*list, d)
			}
		}
	}
	place := func(d ocispecs.Descriptor) int {
		return slices.IndexFunc(wanted, func(p ocispecs.Platform) bool { return platforms.FormatAll(p) == platformName(d) })
	}
	slices.SortStableFunc(images, func(a, b ocispecs.Descriptor) int { return place(a) - place(b) })
	subject := func(d ocispecs.Descriptor) int {
		of := d.Annotations["vnd.docker.reference.digest"]
		return slices.IndexFunc(images, func(o ocispecs.Descriptor) bool { return o.Digest.String() == of })
	}
	slices.SortStableFunc(attestations, func(a, b ocispecs.Descriptor) int { return subject(a) - subject(b) })
	index := ocispecs.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispecs.MediaTypeImageIndex,
		Manifests: slices.Concat(images, attestations), Annotations: levelOf(annotations, exptypes.AnnotationIndex),
	}
	raw, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("making the index: %w", err)
	}
	return &assembled{raw: raw, Descriptor: ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw)),
		Annotations: levelOf(annotations, exptypes.AnnotationIndexDescriptor),
	}}, nil
}

func platformName(d ocispecs.Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	return platforms.FormatAll(platforms.Normalize(*d.Platform))
}

// descriptor is what the exporter of an image answered.
func descriptor(response map[string]string) (ocispecs.Descriptor, error) {
	var d ocispecs.Descriptor
	raw, err := base64.StdEncoding.DecodeString(response[exptypes.ExporterImageDescriptorKey])
	if err == nil {
		err = json.Unmarshal(raw, &d)
	}
	if err == nil {
		err = d.Digest.Validate()
	}
	if err != nil {
		return d, fmt.Errorf("reading what the node exported: %w", err)
	}
	return d, nil
}

// readManifests returns what the image of a part consists of. It is read where it came
// to, else on the node that built it, which keeps what it exported as long as the
// build is in its history.
func (s *solver) readManifests(ctx context.Context) ([]ocispecs.Descriptor, error) {
	d, err := descriptor(s.response)
	if err != nil {
		return nil, err
	}
	if d.MediaType != ocispecs.MediaTypeImageIndex {
		return []ocispecs.Descriptor{d}, nil
	}
	if d.Size > maxIndex {
		return nil, fmt.Errorf("the index of node %s has %d bytes, more than %d", s.node.Name, d.Size, maxIndex)
	}
	var raw []byte
	if s.merger.here {
		raw, err = imagelayout.Layout{Dir: s.merger.layout(s.number)}.Blob(d.Digest)
	} else {
		raw, err = content.ReadBlob(ctx, proxy.NewContentStore(s.client.ContentClient()), d)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the index of node %s: %w", s.node.Name, err)
	}
	return parseIndex(raw, d.Digest)
}

// parseIndex reads the manifests of an index that shall have a digest.
func parseIndex(raw []byte, want digest.Digest) ([]ocispecs.Descriptor, error) {
	if got := digest.FromBytes(raw); got != want {
		return nil, fmt.Errorf("the index %s has the content of %s", want, got)
	}
	var index ocispecs.Index
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&index); err != nil {
		return nil, fmt.Errorf("the index %s cannot be read: %w", want, err)
	}
	for _, m := range index.Manifests {
		if err := m.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("the index %s names the manifest %q: %w", want, m.Digest, err)
		}
	}
	if len(index.Manifests) == 0 {
		return nil, fmt.Errorf("the index %s names no manifest", want)
	}
	return index.Manifests, nil
}

// pushAll puts the index under every name. What it refers to comes from kept, or is
// in each of their repositories already when nothing was kept.
func (m *merger) pushAll(ctx context.Context, kept imagelayout.Layout, index *assembled) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(4) // as many as clients of a registry usually do at a time
	names := m.pushed()
	for _, n := range m.pushedByDigest() {
		canonical, err := reference.WithDigest(n, index.Digest)
		if err != nil {
			return fmt.Errorf("pushing %s: %w", n, err)
		}
		names = append(names, canonical)
	}
	for _, n := range names {
		g.Go(func() error {
			o := imagelayout.PushOptions{Auth: m.r.Auth, Insecure: m.r.Insecure}
			if kept.Dir != "" {
				return kept.PushAs(ctx, index.Descriptor, n, o)
			}
			return imagelayout.PutManifest(ctx, index, n, o)
		})
	}
	return g.Wait()
}

// repositories returns the names without tags, each once, comma-separated.
func repositories(names []reference.Named) string {
	var out []string
	for _, n := range names {
		if repo := reference.TrimNamed(n).String(); !slices.Contains(out, repo) {
			out = append(out, repo)
		}
	}
	return strings.Join(out, ",")
}
