package tartree

import (
	"archive/tar"
	"cmp"
	"fmt"
	"strings"
)

// Limits bound what a tar may hold; zero is a default that any real tree keeps.
type Limits struct {
	Entries int   // one million
	Bytes   int64 // of files, 64 GiB
}

const (
	defaultEntries = 1_000_000
	defaultBytes   = 64 << 30
	// maxName bounds the path of an entry, and the target of a link: what Linux
	// takes as a path.
	maxName = 4096
	// maxDepth bounds the directories above an entry. Removing a tree holds each of
	// them open.
	maxDepth = 256
)

func (l Limits) orDefault() Limits {
	return Limits{Entries: cmp.Or(l.Entries, defaultEntries), Bytes: cmp.Or(l.Bytes, defaultBytes)}
}

// admit takes an entry from what is left. [Pack] and [Unpack] ask the same, so that
// whatever one makes the other takes.
func (l *Limits) admit(h *tar.Header) error {
	name, _ := clean(h.Name)
	if l.Entries--; l.Entries < 0 {
		return fmt.Errorf("there are too many files and directories, from %.40q on", name)
	}
	switch {
	case len(h.Name) > maxName || strings.Count(name, "/") >= maxDepth:
		return fmt.Errorf("the path %.40q… has more than %d bytes or %d parts", name, maxName, maxDepth)
	case h.Typeflag == tar.TypeSymlink && len(h.Linkname) > maxName:
		return fmt.Errorf("the link %q leads to a path of more than %d bytes", name, maxName)
	}
	if h.Typeflag == tar.TypeReg {
		if l.Bytes -= h.Size; l.Bytes < 0 {
			return fmt.Errorf("the files are too large together, from %q on", name)
		}
	}
	return nil
}
