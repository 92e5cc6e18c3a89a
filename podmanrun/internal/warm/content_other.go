//go:build !linux

package warm

import (
	"io"
	"os"
	"time"
)

// copyContent copies the first size bytes of a file.
func copyContent(to, from *os.File, size int64) error {
	_, err := io.CopyN(to, from, size)
	return err
}

// copyAttributes copies none: Podman's volumes are on Linux.
func copyAttributes(_, _ *os.File) error { return nil }

// setTimes sets none, for the same reason.
func setTimes(_ *os.File, _ time.Time) error { return nil }
