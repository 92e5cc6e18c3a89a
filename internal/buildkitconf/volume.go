package buildkitconf

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Volume is the file system that buildkitd's root is on. The zero value is one
// that nothing is known about.
type Volume struct {
	Size int64 // bytes
	Free int64 // bytes that any user may still write
	// Reserve are bytes that only root may write, as on ext4. BuildKit counts them
	// as free; Free does not.
	Reserve int64
	Type    string // "ext4", "nfs", …; empty when unknown
}

// fileSystems names those that matter to BuildKit, by the numbers of statfs(2).
var fileSystems = map[int64]string{
	unix.NFS_SUPER_MAGIC: "nfs", unix.CIFS_SUPER_MAGIC: "cifs", unix.SMB2_SUPER_MAGIC: "smb2",
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs",
	unix.TMPFS_MAGIC: "tmpfs", unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.FUSE_SUPER_MAGIC: "fuse", 0x2fc12fc1: "zfs",
	unix.CEPH_SUPER_MAGIC: "ceph", unix.V9FS_MAGIC: "9p",
}

// StatVolume looks at the file system that path is on, or will be on once it is
// made: of a path that does not exist, the nearest parent counts.
func StatVolume(path string) (Volume, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return Volume{}, fmt.Errorf("looking at the disk: %w", err)
	}
	for {
		var st unix.Statfs_t
		err := unix.Statfs(path, &st)
		if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
			path = parent
			continue
		}
		if err != nil {
			return Volume{}, fmt.Errorf("looking at the disk of %s: %w", path, err)
		}
		block := int64(st.Bsize)
		// Bavail leaves out what ext4 keeps for root: buildkitd runs without it as a
		// rule, and with it the last five percent are no place to build in.
		return Volume{
			Size:    block * int64(st.Blocks),          //nolint:gosec // no disk has 2^63 bytes
			Free:    block * int64(st.Bavail),          //nolint:gosec // as above
			Reserve: block * int64(st.Bfree-st.Bavail), //nolint:gosec // as above
			Type:    fileSystems[int64(st.Type)],
		}, nil
	}
}
