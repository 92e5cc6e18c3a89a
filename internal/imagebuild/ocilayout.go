package imagebuild

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/hint"
)

const (
	ociPrefix   = "oci-layout://"
	imagePrefix = "docker-image://"
	// annotationFull is where BuildKit and containerd keep an image's full name.
	annotationFull = "io.containerd.image.name"
)

var errReadOnly = errors.New("a build context is only read")

// lastTag is a tag at the end of a path.
var lastTag = regexp.MustCompile(`:(\w[\w.-]{0,127})$`)

// cutLayout parts what follows oci-layout:// into a directory and, each may be
// empty, a tag and a digest.
func cutLayout(place string) (dir, tag string, d digest.Digest, err error) {
	dir = place
	if before, after, ok := strings.Cut(place, "@"); ok && strings.Contains(after, ":") && !strings.Contains(after, "/") {
		if d, err = digest.Parse(after); err != nil {
			return "", "", "", fmt.Errorf("%q is no digest", after)
		}
		dir = before
	}
	if m := lastTag.FindStringSubmatch(dir); m != nil {
		dir, tag = strings.TrimSuffix(dir, m[0]), m[1]
	}
	return dir, tag, d, nil
}

// openLayout finds the image that place, a directory with :tag or @digest, means
// in an OCI layout. The only image of a layout needs neither.
func openLayout(place string, open func(string) (*os.File, error)) (content.Store, digest.Digest, error) {
	if open == nil {
		open = os.Open
	}
	dir, tag, d, err := cutLayout(place)
	if err != nil {
		return nil, "", err
	}
	layout := &layoutStore{dir: dir, open: open}
	if d == "" {
		if d, err = layout.find(tag); err != nil {
			return nil, "", hint.With(err, "write oci-layout://DIRECTORY:TAG or oci-layout://DIRECTORY@DIGEST")
		}
	}
	f, _, err := layout.blob(d)
	if err != nil {
		return nil, "", fmt.Errorf("reading the image %s in %s: %w", d, dir, err)
	}
	return layout, d, f.Close()
}

// layoutStore reads the blobs of an OCI layout. BuildKit's own store would make
// directories in it. It is safe for concurrent use.
type layoutStore struct {
	dir  string
	open func(string) (*os.File, error)
}

// find returns the digest of the image with a tag, which is "latest" when empty.
func (l *layoutStore) find(tag string) (digest.Digest, error) {
	file := filepath.Join(l.dir, ocispecs.ImageIndexFile)
	f, err := l.open(file)
	if err != nil {
		return "", fmt.Errorf("reading the OCI layout: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only
	var index ocispecs.Index
	if err := json.NewDecoder(io.LimitReader(f, maxIndex)).Decode(&index); err != nil {
		return "", fmt.Errorf("%s is no index of an OCI layout", file) // what else it is may be a secret
	}
	wanted := tag
	if wanted == "" {
		wanted = "latest"
	}
	var names []string
	for _, m := range index.Manifests {
		full := m.Annotations[annotationFull]
		for _, name := range []string{m.Annotations[ocispecs.AnnotationRefName], full} {
			if name == wanted || name != "" && strings.HasSuffix(name, ":"+wanted) {
				return m.Digest, m.Digest.Validate()
			}
			if name != "" {
				names = append(names, name)
			}
		}
	}
	if len(index.Manifests) == 1 && (tag == "" || len(names) == 0) {
		return index.Manifests[0].Digest, index.Manifests[0].Digest.Validate()
	}
	return "", fmt.Errorf("the OCI layout %s has no image %s; it has %s", l.dir, wanted, strings.Join(append(names, fmt.Sprintf("%d in all", len(index.Manifests))), ", "))
}

func (l *layoutStore) blob(d digest.Digest) (*os.File, int64, error) {
	if err := d.Validate(); err != nil { // it becomes a part of a path
		return nil, 0, err
	}
	f, err := l.open(filepath.Join(l.dir, "blobs", d.Algorithm().String(), d.Encoded()))
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file", f.Name())
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Info tells the size of a blob.
func (l *layoutStore) Info(_ context.Context, d digest.Digest) (content.Info, error) {
	f, size, err := l.blob(d)
	if err != nil {
		return content.Info{}, err
	}
	return content.Info{Digest: d, Size: size}, f.Close()
}

// blobReader is an open blob.
type blobReader struct {
	*os.File
	size int64
}

func (b blobReader) Size() int64 { return b.size }

// ReaderAt opens a blob; the caller closes it.
func (l *layoutStore) ReaderAt(_ context.Context, d ocispecs.Descriptor) (content.ReaderAt, error) {
	f, size, err := l.blob(d.Digest)
	if err != nil {
		return nil, err
	}
	return blobReader{f, size}, nil
}

// The rest of a store is refused: nothing here changes, or is being written.

// Update is refused.
func (l *layoutStore) Update(context.Context, content.Info, ...string) (content.Info, error) {
	return content.Info{}, errReadOnly
}

// Walk is refused.
func (l *layoutStore) Walk(context.Context, content.WalkFunc, ...string) error { return errReadOnly }

// Delete is refused.
func (l *layoutStore) Delete(context.Context, digest.Digest) error { return errReadOnly }

// Status is refused.
func (l *layoutStore) Status(context.Context, string) (content.Status, error) {
	return content.Status{}, errReadOnly
}

// ListStatuses is refused.
func (l *layoutStore) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, errReadOnly
}

// Abort is refused.
func (l *layoutStore) Abort(context.Context, string) error { return errReadOnly }

// Writer is refused.
func (l *layoutStore) Writer(context.Context, ...content.WriterOpt) (content.Writer, error) {
	return nil, errReadOnly
}
