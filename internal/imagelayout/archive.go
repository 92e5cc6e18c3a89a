package imagelayout

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/hint"
)

// WriteArchive writes an image to w as the tar archive that `docker load` and
// `podman load` read: an OCI layout with a manifest.json beside it. Of an image
// for several platforms it takes the one for platform, where empty is this
// machine's.
func (l Layout) WriteArchive(ctx context.Context, image, platform string, w io.Writer) error {
	d, named, err := l.find(image)
	if err != nil {
		return err
	}
	if err := l.Archive(ctx, d, []reference.Named{named}, ArchiveOptions{Platform: platform}, w); err != nil {
		return fmt.Errorf("loading %s: %w", image, err)
	}
	return nil
}

// ArchiveOptions say what of an image goes into an archive. The zero value is the
// image for this machine's platform.
type ArchiveOptions struct {
	// Platform is the one to take of an image for several; empty is this machine's.
	Platform string
	// All takes the image as it is, for all its platforms and with attestations. Such
	// an archive is an OCI layout and nothing else.
	All bool
}

// Archive writes what d describes to w as [Layout.WriteArchive] does, under names.
func (l Layout) Archive(ctx context.Context, d ocispecs.Descriptor, names []reference.Named, o ArchiveOptions, w io.Writer) error {
	if !o.All {
		want := platforms.DefaultSpec()
		if o.Platform != "" {
			var err error
			if want, err = platforms.Parse(o.Platform); err != nil {
				return fmt.Errorf("%q is no platform", o.Platform)
			}
		}
		var err error
		if d, err = l.forPlatform(d, want); err != nil {
			return err
		}
	}
	return l.writeArchive(ctx, d, names, !o.All, tar.NewWriter(w))
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

// Blob reads a small blob, such as a manifest.
func (l Layout) Blob(d digest.Digest) ([]byte, error) {
	if err := d.Validate(); err != nil {
		return nil, err
	}
	return os.ReadFile(l.blob(d))
}

func (l Layout) readJSON(d digest.Digest, into any) error {
	data, err := l.Blob(d)
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

func (l Layout) writeArchive(ctx context.Context, d ocispecs.Descriptor, names []reference.Named, forDocker bool, tw *tar.Writer) error {
	blobs, err := l.closure(d, nil)
	if err != nil {
		return err
	}
	slices.Sort(blobs)
	for _, b := range slices.Compact(blobs) {
		if err := l.writeBlob(ctx, tw, b); err != nil {
			return err
		}
	}
	index := ocispecs.Index{MediaType: ocispecs.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, n := range names {
		named := d
		named.Annotations = map[string]string{annotationName: n.String(), ocispecs.AnnotationRefName: n.String()}
		index.Manifests = append(index.Manifests, named)
	}
	if len(names) == 0 {
		d.Annotations = nil
		index.Manifests = append(index.Manifests, d)
	}
	files := []archiveFile{
		{ocispecs.ImageLayoutFile, ocispecs.ImageLayout{Version: ocispecs.ImageLayoutVersion}},
		{ocispecs.ImageIndexFile, index},
	}
	if forDocker {
		docker, err := l.dockerManifest(d, names)
		if err != nil {
			return err
		}
		files = append(files, archiveFile{"manifest.json", []dockerManifest{docker}})
	}
	for _, file := range files {
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

// archiveFile is one JSON file of an archive.
type archiveFile struct {
	name    string
	content any
}

// closure returns the blobs of what d describes, itself first, after those in out.
func (l Layout) closure(d ocispecs.Descriptor, out []digest.Digest) ([]digest.Digest, error) {
	out = append(out, d.Digest)
	if !isIndex(d.MediaType) {
		var manifest ocispecs.Manifest
		if err := l.readJSON(d.Digest, &manifest); err != nil {
			return nil, err
		}
		out = append(out, manifest.Config.Digest)
		for _, layer := range manifest.Layers {
			out = append(out, layer.Digest)
		}
		return out, nil
	}
	var index ocispecs.Index
	if err := l.readJSON(d.Digest, &index); err != nil {
		return nil, err
	}
	for _, m := range index.Manifests {
		if isIndex(m.MediaType) {
			return nil, fmt.Errorf("the index %s holds another one", d.Digest) // nobody builds that, and it could hold itself
		}
		var err error
		if out, err = l.closure(m, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (l Layout) dockerManifest(d ocispecs.Descriptor, names []reference.Named) (dockerManifest, error) {
	var manifest ocispecs.Manifest
	if err := l.readJSON(d.Digest, &manifest); err != nil {
		return dockerManifest{}, err
	}
	out := dockerManifest{Config: blobName(manifest.Config.Digest)}
	for _, n := range names {
		out.RepoTags = append(out.RepoTags, reference.FamiliarString(n))
	}
	for _, layer := range manifest.Layers {
		out.Layers = append(out.Layers, blobName(layer.Digest))
	}
	return out, nil
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
