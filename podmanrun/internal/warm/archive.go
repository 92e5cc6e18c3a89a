package warm

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that reading an archive takes; the fastest level uses
// 4 MiB.
const maxWindow = 8 << 20

// Pack writes a tar archive into a file, compressed. What [Copy] leaves out is left
// out. More than limit bytes on disk are [ErrTooLarge].
func Pack(ctx context.Context, file string, archive io.Reader, limit int64) (tally Tally, err error) {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return tally, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	bounded := &boundedWriter{to: f, left: limit}
	z, err := zstd.NewWriter(bounded, zstd.WithEncoderConcurrency(2), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return tally, err
	}
	out := tar.NewWriter(z)
	err = eachEntry(ctx, archive, func(h *tar.Header, content io.Reader) error {
		if leftOut(path.Base(h.Name), h.FileInfo().Mode()) {
			return nil
		}
		tally.Files++
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(out, content)
		return err
	})
	err = errors.Join(err, out.Close(), z.Close())
	tally.Bytes = limit - bounded.left
	return tally, err
}

// Unpack writes what [Pack] has written as a plain archive again.
func Unpack(ctx context.Context, to io.Writer, packed io.Reader) (tally Tally, err error) {
	z, err := zstd.NewReader(bufio.NewReaderSize(packed, 1<<20), zstd.WithDecoderConcurrency(2), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return tally, err
	}
	defer z.Close()
	out := tar.NewWriter(to)
	err = eachEntry(ctx, z, func(h *tar.Header, content io.Reader) error {
		tally.Files++
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		_, err := io.Copy(out, content)
		return err
	})
	if err != nil {
		return tally, err
	}
	return tally, out.Close()
}

// eachEntry calls use for every entry of an archive.
func eachEntry(ctx context.Context, archive io.Reader, use func(*tar.Header, io.Reader) error) error {
	in := tar.NewReader(archive)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading an archive: %w", err)
		}
		if err := use(h, in); err != nil {
			return err
		}
	}
}

// boundedWriter refuses what is more than it may take.
type boundedWriter struct {
	to   io.Writer
	left int64
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		return 0, fmt.Errorf("%w: it is more than what is left of the room for it", ErrTooLarge)
	}
	n, err := b.to.Write(p)
	b.left -= int64(n)
	return n, err
}
