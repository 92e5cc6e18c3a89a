package imagebuild

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/distribution/reference"
	"github.com/moby/buildkit/client"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagelayout"
	"github.com/dockless-ci/dockless/internal/scratchdir"
)

// partsPattern names directories with the parts of one image.
const partsPattern = ".dockless-parts-*"

// merger brings the parts of an image that several nodes built together, and puts
// the index over them to wherever the build was asked to put it.
//
// When the image goes to registries only, every node pushes its part there by
// digest. Otherwise the parts come to a directory of the merger's and are pushed
// from there too: two exporters of one solve need not write the same bytes, because
// an attestation holds the names that its exporter was given.
type merger struct {
	r           *Request
	names       []reference.Named
	wanted      []ocispecs.Platform
	annotations []annotation
	here        bool            // the image comes to this machine
	dir         string          // for it and for archives; "" when there is nothing to put there
	parts       *scratchdir.Dir // what dir is, removed by close
}

// newMerger returns the merger of a build with so many parts, and nil when its one
// part is all there is to it.
func newMerger(ctx context.Context, w *work, parts int) (*merger, error) {
	several := len(w.wanted) > 1 || len(w.r.Attestations) > 0
	docker := w.r.Load != nil || slices.ContainsFunc(w.r.Outputs, func(o Output) bool { return o.Type == client.ExporterDocker && !o.IsStore() })
	if parts < 2 && (!several || !docker) { // an archive of Docker's own has one image: BuildKit leaves the choice to us
		return nil, nil //nolint:nilnil // see the comment
	}
	for _, o := range w.r.Outputs {
		if parts > 1 && o.Type == client.ExporterLocal && o.Attrs["mode"] == "delete" {
			return nil, hint.With(errors.New("-o type=local,mode=delete cannot be used when several nodes build: each would delete what the others wrote"),
				"leave out mode=delete and give the output a directory of its own")
		}
	}
	m := &merger{r: w.r, names: w.names, wanted: w.wanted, annotations: w.annotations}
	m.here = m.keeps() || len(m.remotes()) > 1
	if !m.here && !slices.ContainsFunc(w.r.Outputs, func(o Output) bool { return o.Type == client.ExporterTar }) {
		return m, nil
	}
	// In the layout, from where its blobs need only be renamed.
	store := m.store()
	if store != "" {
		if err := os.MkdirAll(store, 0o755); err != nil { //nolint:gosec // image content is no secret, and other users load it
			return nil, fmt.Errorf("keeping the image: %w", err)
		}
	}
	var err error
	if m.parts, err = scratchdir.Make(ctx, store, partsPattern); err != nil {
		return nil, fmt.Errorf("keeping the parts of the image: %w", err)
	}
	m.dir = m.parts.Path
	return m, nil
}

// close removes what the parts left.
func (m *merger) close() error {
	if m == nil || m.parts == nil {
		return nil
	}
	return m.parts.Remove()
}

// keeps reports whether anybody takes the image from this machine.
func (m *merger) keeps() bool {
	return m.r.Layout != "" || m.r.Load != nil || slices.ContainsFunc(m.r.Outputs, func(o Output) bool {
		return o.Type == client.ExporterOCI || o.Type == client.ExporterDocker
	})
}

// store returns the layout that shall hold the image in the end, "" for none.
func (m *merger) store() string {
	if m.r.Layout != "" {
		return m.r.Layout
	}
	for _, o := range m.r.Outputs {
		if o.IsStore() {
			return o.Dest
		}
	}
	return ""
}

func (m *merger) layout(i int) string { return filepath.Join(m.dir, strconv.Itoa(i), "layout") }
func (m *merger) tar(i, output int) string {
	return filepath.Join(m.dir, fmt.Sprintf("%d-%d.tar", i, output))
}

// finish merges so many parts into index and hands it to whoever shall have it,
// the registries last: nothing can undo a push.
func (m *merger) finish(ctx context.Context, parts int, index *assembled) error {
	kept := imagelayout.Layout{}
	if m.here && index != nil {
		var err error
		if kept, err = m.keep(ctx, parts, index); err != nil {
			return err
		}
	}
	for j, o := range m.r.Outputs {
		if o.Type != client.ExporterTar {
			continue
		}
		err := writeTo(func() (io.WriteCloser, error) { return o.open(nil) }, func(w io.Writer) error { return m.joinTars(ctx, parts, j, w) })
		if err != nil {
			return fmt.Errorf("writing %s: %w", o.Dest, err)
		}
	}
	if index == nil {
		return nil
	}
	return m.pushAll(ctx, kept, index)
}

// keep puts the image into its layout, which it returns, and makes archives from
// there.
func (m *merger) keep(ctx context.Context, parts int, index *assembled) (imagelayout.Layout, error) {
	into := imagelayout.Layout{Dir: m.store()}
	if into.Dir == "" {
		into.Dir = filepath.Join(m.dir, "all")
	}
	for i := range parts {
		if err := into.Adopt(imagelayout.Layout{Dir: m.layout(i)}); err != nil {
			return into, err
		}
	}
	if err := into.PutBlob(index.Digest, index.raw); err != nil {
		return into, err
	}
	names := make([]string, len(m.names))
	for i, n := range m.names {
		names[i] = n.String()
	}
	if err := into.Put(ctx, ocispecs.Descriptor{MediaType: index.Descriptor.MediaType, Digest: index.Digest, Size: index.Size}, names...); err != nil {
		return into, err
	}
	if m.r.Load != nil {
		err := writeTo(m.r.Load, func(w io.Writer) error {
			return into.Archive(ctx, index.Descriptor, m.names, imagelayout.ArchiveOptions{}, w)
		})
		if err != nil {
			return into, fmt.Errorf("loading the image: %w", err)
		}
	}
	for _, o := range m.r.Outputs {
		if o.IsStore() || o.Type != client.ExporterOCI && o.Type != client.ExporterDocker {
			continue
		}
		err := writeTo(func() (io.WriteCloser, error) { return o.open(nil) }, func(w io.Writer) error {
			return into.Archive(ctx, index.Descriptor, m.namesOf(o), imagelayout.ArchiveOptions{All: o.Type == client.ExporterOCI}, w)
		})
		if err != nil {
			return into, fmt.Errorf("writing %s: %w", o.Dest, err)
		}
	}
	return into, nil
}

// joinTars writes the entries of all parts as one archive. Each part has its
// platforms in directories of their own.
func (m *merger) joinTars(ctx context.Context, parts, output int, w io.Writer) error {
	out := tar.NewWriter(w)
	for i := range parts {
		if err := copyTar(ctx, out, m.tar(i, output)); err != nil {
			return err
		}
	}
	return out.Close()
}

func copyTar(ctx context.Context, out *tar.Writer, file string) (err error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the part had nothing to say
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	in := tar.NewReader(f)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil {
			err = out.WriteHeader(h)
		}
		if err == nil {
			_, err = io.Copy(out, in) //nolint:gosec // our own node wrote it, and it goes to a file as large
		}
		if err != nil {
			return err
		}
	}
}

// writeTo opens a writer, lets f write and closes it.
func writeTo(open func() (io.WriteCloser, error), f func(io.Writer) error) error {
	w, err := open()
	if err != nil {
		return err
	}
	return errors.Join(f(w), w.Close())
}
