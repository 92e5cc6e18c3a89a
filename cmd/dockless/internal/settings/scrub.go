package settings

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// envStartField is the place of env_start, the address of the environment
// block, in /proc/self/stat after the command's closing parenthesis
// (proc_pid_stat(5) counts it as field 50; state is field 3).
const envStartField = 50 - 3

// scrubProcEnviron overwrites the values of the named variables in the block
// that the kernel shows as /proc/self/environ, and then makes the process
// undumpable, so that only root may look at its memory. The variables that the
// Go runtime copied at start stay as they are.
func scrubProcEnviron(names []string) error {
	block, err := os.ReadFile("/proc/self/environ")
	if err != nil {
		return err
	}
	start, err := environAddress()
	if err != nil {
		return err
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = memory.Close() }() // nothing is buffered

	offset := 0
	for entry := range bytes.SplitSeq(block, []byte{0}) {
		name, value, _ := bytes.Cut(entry, []byte("="))
		if len(value) > 0 && slices.Contains(names, string(name)) {
			at := start + int64(offset+len(name)+1)
			if _, err := memory.WriteAt(bytes.Repeat([]byte("*"), len(value)), at); err != nil {
				return fmt.Errorf("overwriting %s: %w", name, err)
			}
		}
		offset += len(entry) + 1
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

func environAddress() (int64, error) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')'):]), " ")
	fields := strings.Fields(rest)
	if len(fields) <= envStartField {
		return 0, fmt.Errorf("/proc/self/stat has %d fields, too few for env_start", len(fields))
	}
	return strconv.ParseInt(fields[envStartField], 10, 64)
}
