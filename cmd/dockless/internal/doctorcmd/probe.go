package doctorcmd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/doctor"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/probe"
)

// probePage asks what the page of shared memory tells the probes, or whether an agent
// could make it.
func (x *examination) probePage(context.Context) doctor.Result {
	path := x.Job.ProbeFile
	if path == "" {
		return skipped("DOCKLESS_PROBE_FILE is empty: there are no probes")
	}
	const own = "set DOCKLESS_PROBE_FILE to a file of this agent's own in a directory that this user may write, best in /dev/shm, or to nothing"
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		dir := filepath.Dir(path)
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return failed(hint.With(fmt.Errorf("no page can be made in %s: %w", dir, err), own))
		}
		return onMemory(dir, ok("there is none yet; an agent can make it in %s", dir))
	}
	if err != nil {
		return failed(hint.With(err, own))
	}
	if owner, known := info.Sys().(*syscall.Stat_t); known && int(owner.Uid) != os.Geteuid() {
		return failed(hint.With(fmt.Errorf("%s belongs to user %d, and an agent of user %d does not take it over", path, owner.Uid, os.Geteuid()),
			"remove the file, or set DOCKLESS_PROBE_FILE to another; if an agent of that user runs here, run doctor as that user"))
	}
	page, err := probe.Open(path)
	if err != nil {
		return failed(hint.With(err, own))
	}
	defer func() { _ = page.Close() }() // it was only read
	if live := page.Ask(probe.IsLive, probe.Query{}); !live.OK {
		return failed(hint.With(fmt.Errorf("%s: %s", path, live.Text),
			"start the agent, which takes a page over that a dead one left, and look into its log when it runs; without an agent here, remove %s", path))
	}
	ready := page.Ask(probe.IsReady, probe.Query{})
	if !ready.OK {
		return warned("dockless-probe ready and the agent's log say what it waits for", "live, but %s", strings.TrimSpace(ready.Text))
	}
	return onMemory(filepath.Dir(path), ok("%s", ready.Text))
}

// onMemory is r, or a warning when dir is on a disk.
func onMemory(dir string, r doctor.Result) doctor.Result {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC {
		return r
	}
	return warned("set DOCKLESS_PROBE_FILE to a file in /dev/shm", "%s is on a disk, which then takes a write every few seconds; %s", dir, r.Detail)
}
