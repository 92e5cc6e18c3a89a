package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseMemory gives back what booting or a job needed and an idle agent does
// not: free heap, and the pages of this program's own file that are mapped. Of
// the latter most are code that ran once; they stay in the page cache, shared
// with every other agent on the node, and come back at the first use.
func releaseMemory() error {
	debug.FreeOSMemory()
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer func() { _ = maps.Close() }() // nothing was written
	unchanged, err := unchangedMappings(maps, self)
	if err != nil {
		return fmt.Errorf("reading the program's mappings: %w", err)
	}
	for _, m := range unchanged {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("giving back the program's pages: %w", errno)
		}
	}
	return nil
}

// mapping is a part of the address space.
type mapping struct{ start, end uintptr }

// unchangedMappings reads what /proc/self/smaps says and returns the read-only
// mappings of the file path without a page that differs from the file. A page
// that is read-only now may have been written before: the dynamic linker fills
// in addresses and then protects them. Dropping those would lose them.
func unchangedMappings(smaps io.Reader, path string) ([]mapping, error) {
	var found []mapping
	var m mapping
	ours := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		line := lines.Text()
		if at, ok := readOnlyMapping(line, path); ok {
			m, ours = at, true
			continue
		}
		if fields := strings.Fields(line); ours && len(fields) > 1 && fields[0] == "Anonymous:" {
			if fields[1] == "0" {
				found = append(found, m)
			}
			ours = false
		}
	}
	return found, lines.Err()
}

// readOnlyMapping reads the first line of a mapping and reports where it lies when
// it maps the file path and cannot be written.
func readOnlyMapping(line, path string) (m mapping, ok bool) {
	if !strings.HasSuffix(line, " "+path) {
		return m, false
	}
	var perms string
	if n, err := fmt.Sscanf(line, "%x-%x %s", &m.start, &m.end, &perms); n != 3 || err != nil {
		return m, false
	}
	return m, len(perms) == 4 && perms[0] == 'r' && perms[1] == '-' && perms[3] == 'p' && m.end > m.start
}
