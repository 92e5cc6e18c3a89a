package warm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// copyContent copies the first size bytes of a file: by reference (FICLONE), else
// part by part between its holes.
func copyContent(to, from *os.File, size int64) error {
	if unix.IoctlFileClone(int(to.Fd()), int(from.Fd())) == nil {
		return nil
	}
	for at := int64(0); at < size; {
		start, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // nothing but a hole is left
		}
		if err != nil {
			start = at // the file system knows no holes
		}
		end, err := unix.Seek(int(from.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			end = size
		}
		end = min(end, size)
		if err := copyPart(to, from, start, end); err != nil {
			return err
		}
		at = end
	}
	return to.Truncate(size)
}

// copyPart copies the bytes from start to end, inside of the kernel if that can.
func copyPart(to, from *os.File, start, end int64) error {
	for start < end {
		in, out := start, start
		n, err := unix.CopyFileRange(int(from.Fd()), &in, int(to.Fd()), &out, int(end-start), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			_, err := io.Copy(io.NewOffsetWriter(to, start), io.NewSectionReader(from, start, end-start))
			return err
		}
		if n == 0 {
			return fmt.Errorf("the file has got shorter: %w", io.ErrUnexpectedEOF)
		}
		start += int64(n)
	}
	return nil
}

// keptAttribute reports whether an extended attribute belongs to the content. Labels
// of SELinux do not: each container has its own.
func keptAttribute(name string) bool {
	return strings.HasPrefix(name, "user.") || strings.HasPrefix(name, "system.posix_acl_") || name == "security.capability"
}

func copyAttributes(to, from *os.File) error {
	size, err := unix.Flistxattr(int(from.Fd()), nil)
	if err != nil || size == 0 {
		return nil //nolint:nilerr // the file system has none
	}
	names := make([]byte, size)
	if size, err = unix.Flistxattr(int(from.Fd()), names); err != nil {
		return fmt.Errorf("listing the attributes of %s: %w", from.Name(), err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(names[:size]), "\x00"), "\x00") {
		if !keptAttribute(name) {
			continue
		}
		value := make([]byte, 64<<10) // the largest that there is
		n, err := unix.Fgetxattr(int(from.Fd()), name, value)
		if err != nil {
			return fmt.Errorf("reading attribute %s of %s: %w", name, from.Name(), err)
		}
		if err := unix.Fsetxattr(int(to.Fd()), name, value[:n], 0); err != nil {
			return fmt.Errorf("setting attribute %s of %s: %w", name, to.Name(), err)
		}
	}
	return nil
}

// setTimes sets when a file was changed last.
func setTimes(f *os.File, t time.Time) error {
	at := []unix.Timeval{unix.NsecToTimeval(t.UnixNano()), unix.NsecToTimeval(t.UnixNano())}
	return unix.Futimes(int(f.Fd()), at)
}
