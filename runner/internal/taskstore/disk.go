package taskstore

import (
	"errors"
	"io/fs"
	"syscall"
)

// ofTheDisk reports whether err is what a disk answers that is full, broken or
// not ours to write, or a system that has too much open: nothing an archive can
// be blamed for.
func ofTheDisk(err error) bool {
	for _, e := range []error{
		fs.ErrPermission, syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
