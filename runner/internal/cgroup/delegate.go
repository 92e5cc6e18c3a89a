package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Leaf is the name of the group that the agent moves into under version 2, and the
// one to name as DelegateSubgroup= in a systemd unit.
const Leaf = "dockless-agent"

// base is the group in which the groups of jobs are made.
func (h *hierarchy) base() string {
	if h.unified && filepath.Base(h.dir) == Leaf && h.dir != h.top {
		return filepath.Dir(h.dir)
	}
	return h.dir
}

// delegate makes sure that the groups in the base have controller, and returns the
// base. In version 2 a group with processes cannot have children with controllers,
// so the agent moves into a leaf beside them. It does so only in a group that it may
// write and in which it is alone: others would have to be moved as well, and would
// not know. Docker's and Kubernetes' way of entering such a container later, for an
// exec probe, is to follow its first process, so that still works (runc and crun).
func (h *hierarchy) delegate(controller string) (string, error) {
	if err := canStartInto(); err != nil {
		return "", err
	}
	base := h.base()
	if slices.Contains(strings.Fields(read(base, "cgroup.subtree_control")), controller) && base != h.dir {
		return base, nil
	}
	// The root of the whole machine has no type, and is nobody's to change.
	if kind := strings.TrimSpace(read(base, "cgroup.type")); kind != "domain" {
		return "", fmt.Errorf("%s is no group that can be divided (type %q)", base, kind)
	}
	if !slices.Contains(strings.Fields(read(base, "cgroup.controllers")), controller) {
		return "", fmt.Errorf("the %s controller is not delegated to %s", controller, base)
	}
	if unit(filepath.Base(base)) && !handedOver(base) {
		return "", fmt.Errorf("systemd has not delegated %s: its unit has no Delegate=yes", base)
	}
	if base == h.dir {
		if err := h.retreat(); err != nil {
			return "", err
		}
	}
	if err := put(base, "cgroup.subtree_control", "+"+controller); err != nil {
		h.advance(base)
		return "", err
	}
	return base, nil
}

// retreat moves the agent from its group into a leaf of it.
func (h *hierarchy) retreat() error {
	if err := h.alone(); err != nil {
		return err
	}
	// Moving goes by the right to write both; the second is ours once it was made.
	procs, err := os.OpenFile(filepath.Join(h.dir, "cgroup.procs"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_ = procs.Close() // nothing was written
	control, err := os.OpenFile(filepath.Join(h.dir, "cgroup.subtree_control"), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_ = control.Close() // as above
	leaf := filepath.Join(h.dir, Leaf)
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // as in makeTree
		return err
	}
	if err := put(leaf, "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
		return errors.Join(err, syscall.Rmdir(leaf))
	}
	h.dir, h.path = leaf, filepath.Join(h.path, Leaf)
	return nil
}

// alone returns nil when the agent is the only process in its group and nobody but
// an earlier agent has divided it.
func (h *hierarchy) alone() error {
	for pid := range strings.FieldsSeq(read(h.dir, "cgroup.procs")) {
		if pid != strconv.Itoa(os.Getpid()) {
			return fmt.Errorf("process %s is in the agent's group %s, too", pid, h.dir)
		}
	}
	entries, err := os.ReadDir(h.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != Leaf && !strings.HasPrefix(e.Name(), "dockless.") {
			return fmt.Errorf("somebody else has divided the agent's group %s (%s)", h.dir, e.Name())
		}
	}
	return nil
}

// advance moves the agent back when its group could not be divided after all.
func (h *hierarchy) advance(base string) {
	if put(base, "cgroup.procs", strconv.Itoa(os.Getpid())) == nil {
		_ = syscall.Rmdir(h.dir)
		h.dir, h.path = base, filepath.Dir(h.path)
	}
}
