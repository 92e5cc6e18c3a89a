package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// LookupVariable is the environment entry that marks the processes of a job.
const LookupVariable = "VSTS_PROCESS_LOOKUP_ID"

// rounds is how often leftovers are looked for: one that forks while it is
// being killed is found the next time.
const rounds = 5

// Leftover is a process that outlived its job.
type Leftover struct {
	PID  int
	Name string // of its executable, as the kernel shows it
}

// KillLeftovers ends every process that carries lookupID in its environment,
// and returns those it ended. It looks until it finds no more. Processes of
// other users cannot be read and are passed over; on a system without /proc it
// finds nothing.
func KillLeftovers(ctx context.Context, lookupID string) ([]Leftover, error) {
	var ended []Leftover
	for range rounds {
		found, err := marked(lookupID)
		if err != nil {
			return ended, err
		}
		if len(found) == 0 {
			return ended, nil
		}
		for _, l := range found {
			if !slices.ContainsFunc(ended, func(e Leftover) bool { return e.PID == l.PID }) {
				ended = append(ended, l)
			}
		}
		if err := retry.Wait(ctx, 10*time.Millisecond); err != nil { // the kernel needs a moment to take them away
			return ended, fmt.Errorf("ending leftover processes: %w", err)
		}
	}
	return ended, nil
}

// marked kills the processes that carry the mark and returns them.
func marked(lookupID string) ([]Leftover, error) {
	directories, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("looking for leftover processes: %w", err)
	}
	var found []Leftover
	for _, dir := range directories {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || !carries(dir, lookupID) {
			continue
		}
		l, err := kill(pid, dir, lookupID)
		if err != nil {
			return found, err
		}
		if l != nil {
			found = append(found, *l)
		}
	}
	return found, nil
}

func carries(dir, lookupID string) bool {
	environ, err := os.ReadFile(filepath.Join(dir, "environ"))
	if err != nil {
		return false // it is gone, or belongs to somebody else
	}
	entry := []byte(LookupVariable + "=" + lookupID)
	return slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(e []byte) bool { return bytes.Equal(e, entry) })
}

// kill ends process pid when it still carries the mark. The handle is taken
// before the second look, so that a number that was given to another process in
// between does no harm.
func kill(pid int, dir, lookupID string) (*Leftover, error) {
	p, err := os.FindProcess(pid)
	if err != nil {
		return nil, nil //nolint:nilnil,nilerr // it is gone
	}
	defer p.Release() //nolint:errcheck // a handle that is only read
	if !carries(dir, lookupID) {
		return nil, nil //nolint:nilnil // another process by now
	}
	name, _ := os.ReadFile(filepath.Join(dir, "comm"))
	err = p.Kill()
	switch {
	case errors.Is(err, os.ErrProcessDone), errors.Is(err, fs.ErrPermission):
		return nil, nil //nolint:nilnil // nothing to end, or not ours to end
	case err != nil:
		return nil, fmt.Errorf("ending leftover process %d: %w", pid, err)
	}
	return &Leftover{PID: pid, Name: string(bytes.TrimSpace(name))}, nil
}
