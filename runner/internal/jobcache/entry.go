package jobcache

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dockless-ci/dockless/runner/internal/tartree"
)

// An entry is one file: a line of JSON, then the folder as tar and zstd. Being one
// file, it is there whole or not at all.

// header is the first line of an entry.
type header struct {
	Key     Key       `json:"key"`
	Created time.Time `json:"created"`
	Digest  string    `json:"digest"` // of what follows, sha256 in hex
	Size    int64     `json:"size"`   // of what follows, bytes
}

// headerSize is how long the line is, filled with blanks: it is written when what
// follows is known. It bounds keys, too.
const headerSize = 16 << 10

var (
	errBroken = errors.New("the entry is damaged")
	errKey    = fmt.Errorf("the key is longer than %d bytes", headerSize-256)
)

// ErrTooLarge says that a folder is too large for the directory of caches.
var ErrTooLarge = errors.New("the folder is larger than what caches may take")

// maxWindow bounds the memory that an entry can ask for to be unpacked, in bytes;
// we write with 8 MiB.
const maxWindow = 64 << 20

// compressors is how many cores pack an entry beside whatever else the node does.
const compressors = 2

// write packs the folder at path into to. It fails with ErrTooLarge when the entry
// gets larger than most bytes.
func write(ctx context.Context, to *os.File, key Key, path string, most int64, open func(string) (*os.File, error)) (header, error) {
	h := header{Key: key, Created: time.Now().UTC()}
	if len(key.String()) > headerSize/2-256 { // JSON may double it
		return h, errKey
	}
	if _, err := to.Seek(headerSize, io.SeekStart); err != nil {
		return h, err
	}
	sum := &summing{to: to, sum: sha256.New(), left: most - headerSize}
	z, err := zstd.NewWriter(sum, zstd.WithEncoderConcurrency(compressors), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return h, err
	}
	_, err = tartree.Pack(ctx, z, path, tartree.Options{Open: open})
	if cerr := z.Close(); err == nil {
		err = cerr
	}
	if sum.left < 0 {
		err = ErrTooLarge // whatever that made of it
	}
	if err != nil {
		return h, err
	}
	h.Digest, h.Size = hex.EncodeToString(sum.sum.Sum(nil)), sum.written
	return h, h.put(to)
}

// put writes the first line.
func (h header) put(to *os.File) error {
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if len(line) >= headerSize {
		return errKey
	}
	line = append(line, bytes.Repeat([]byte{' '}, headerSize-1-len(line))...)
	_, err = to.WriteAt(append(line, '\n'), 0)
	return err
}

// readHeader reads the first line and leaves the file behind it.
func readHeader(from *os.File) (header, error) {
	var h header
	line := make([]byte, headerSize)
	if _, err := io.ReadFull(from, line); err != nil {
		return h, fmt.Errorf("%w: %w", errBroken, err)
	}
	if err := json.Unmarshal(line, &h); err != nil || len(h.Key) == 0 {
		return h, fmt.Errorf("%w: its first line cannot be read", errBroken)
	}
	info, err := from.Stat()
	if err != nil {
		return h, err
	}
	if info.Size() != headerSize+h.Size {
		return h, fmt.Errorf("%w: it has %d bytes, not %d", errBroken, info.Size(), headerSize+h.Size)
	}
	return h, nil
}

// sound reports whether what follows the first line of an entry is what was written.
func (h header) sound(file *os.File) bool {
	sum := sha256.New()
	_, err := io.Copy(sum, io.NewSectionReader(file, headerSize, h.Size))
	return err == nil && hex.EncodeToString(sum.Sum(nil)) == h.Digest
}

// unpack writes the folder of an entry, which stands behind its first line.
func unpack(ctx context.Context, from io.Reader, path string) error {
	z, err := zstd.NewReader(bufio.NewReaderSize(from, 1<<20), zstd.WithDecoderConcurrency(compressors), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return fmt.Errorf("%w: %w", errBroken, err)
	}
	defer z.Close()
	if err := tartree.Unpack(ctx, z, path, tartree.Limits{}); err != nil {
		return err
	}
	// The sum of all bytes stands behind the tar.
	if n, err := io.Copy(io.Discard, io.LimitReader(z, maxTrailer)); err != nil || n == maxTrailer {
		return errors.Join(errBroken, err)
	}
	return nil
}

// maxTrailer bounds what is behind the end of a tar, in bytes: writers fill up a
// block.
const maxTrailer = 1 << 20

// summing writes, counts and sums, and takes no more than is left.
type summing struct {
	to      io.Writer
	sum     hash.Hash
	written int64
	left    int64
}

// Write implements io.Writer.
func (s *summing) Write(p []byte) (int, error) {
	if s.left -= int64(len(p)); s.left < 0 {
		return 0, ErrTooLarge
	}
	n, err := s.to.Write(p)
	s.sum.Write(p[:n])
	s.written += int64(n)
	return n, err
}
