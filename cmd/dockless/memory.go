package main

import (
	"bufio"
	"errors"
	"fmt"
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
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	var errs []error
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// Only mappings that cannot be written: dropping those loses nothing.
		start, end, ok := readOnlyMapping(lines.Text(), self)
		if !ok {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
			errs = append(errs, fmt.Errorf("giving back the program's pages: %w", errno))
		}
	}
	return errors.Join(append(errs, lines.Err(), maps.Close())...)
}

// readOnlyMapping reads a line of /proc/self/maps and reports where it lies when
// it maps the file path and cannot be written.
func readOnlyMapping(line, path string) (start, end uintptr, ok bool) {
	if !strings.HasSuffix(line, " "+path) {
		return 0, 0, false
	}
	var perms string
	if n, err := fmt.Sscanf(line, "%x-%x %s", &start, &end, &perms); n != 3 || err != nil {
		return 0, 0, false
	}
	return start, end, len(perms) == 4 && perms[0] == 'r' && perms[1] == '-' && perms[3] == 'p' && end > start
}
