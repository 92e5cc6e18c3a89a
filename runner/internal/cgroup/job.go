package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// removeTimeout bounds how long the groups of a job may take to go: the kernel
	// needs moments after the last process ended.
	removeTimeout = 2 * time.Second
	removePause   = 10 * time.Millisecond
)

var errRemove = fmt.Errorf("removing control groups took longer than %s", removeTimeout)

// Job is the groups of a job. A nil Job makes groups that count what was waited
// for. Its methods may be called concurrently, Close last.
type Job struct {
	memory, cpu *hierarchy // where this process is; nil: unknown
	why         error
	counted     string     // group that kills of the agent's own are counted in; empty: none
	bounds      []bound    // the limits above all steps
	log         *kernelLog // nil: it cannot be read
	trees       []tree     // where steps get groups, the one that counts memory first; none: nowhere

	mu   sync.Mutex
	kept []*Group // whose processes outlived their step
}

// tree is the group of a job in one hierarchy.
type tree struct {
	*hierarchy
	group string   // its directory
	back  *os.File // version 1: takes a thread back into the agent's own group
}

// Open makes the groups of a job. It always returns a Job; Why says whether its
// steps have groups. The agent's name and the job's id are in the name of the group.
func Open(h Host, agent, id string) *Job { return open(h, name(agent, id), "memory") }

func open(h Host, name, controller string) *Job {
	j := &Job{}
	if j.memory, j.cpu, j.why = find(h); j.why != nil {
		return j
	}
	j.bounds = j.memory.bounds(j.memory.ancestors(j.memory.dir))
	if j.why = j.divide(name, controller); j.why == nil {
		j.log = openKernelLog(h.Log)
	}
	j.counted = j.memory.counted() // where the agent is by now
	return j
}

// Why returns the reason why steps have no groups of their own, or nil.
func (j *Job) Why() error {
	if j == nil {
		return errNone
	}
	return j.why
}

// divide makes the groups of the job in both hierarchies.
func (j *Job) divide(name, controller string) error {
	first, err := j.memory.makeTree(name, controller)
	if err != nil {
		return err
	}
	j.trees = append(j.trees, first)
	if j.cpu != nil && j.cpu != j.memory {
		// Without it the CPU time of processes that were waited for is known.
		if second, err := j.cpu.makeTree(name, ""); err == nil {
			j.trees = append(j.trees, second)
		}
	}
	return nil
}

// makeTree makes the group name where this process is.
func (h *hierarchy) makeTree(name, controller string) (_ tree, err error) {
	base := h.dir
	if h.unified {
		if base, err = h.delegate(controller); err != nil {
			return tree{}, err
		}
	} else if controller != "" && strings.TrimSpace(read(h.dir, "memory.use_hierarchy")) != "1" {
		// Before Linux 5.11 a group could stand outside its parent's limit.
		return tree{}, fmt.Errorf("the limits of %s do not hold for the groups in it", h.dir)
	}
	t := tree{hierarchy: h, group: filepath.Join(base, name)}
	if err := os.Mkdir(t.group, 0o755); err != nil && !errors.Is(err, os.ErrExist) { //nolint:gosec // as the kernel makes groups; there are no secrets in them
		return tree{}, err
	}
	if h.unified {
		err = put(t.group, "cgroup.subtree_control", "+"+controller)
	} else {
		t.back, err = os.OpenFile(filepath.Join(h.dir, "tasks"), os.O_WRONLY, 0)
	}
	if err != nil {
		return tree{}, errors.Join(err, syscall.Rmdir(t.group))
	}
	return t, nil
}

// put writes a word into a file of a group.
func put(dir, name, word string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(word)
	return errors.Join(err, f.Close())
}

// name is the name of the group of a job. Dots separate its parts, so none is in
// them, and no file of the kernel's begins like it.
func name(agent, id string) string { return "dockless." + plain(agent) + "." + plain(id) }

// plain makes text a part of a file name. A part has at most 64 bytes; a job's id
// has 36, and file names of 255 are allowed.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '_'
	}, text)
	return text[:min(len(text), 64)]
}

// Late is a step whose processes lived on and lacked memory after it.
type Late struct {
	Step  string // as given to [Job.Step]
	Kills uint64
	Limit Limit
}

// Close removes the groups of the job. Processes that are still in one, because
// they shall outlive the job, go to the agent's own group. It returns the kills that
// came after their steps had ended, and an error when a group could not be removed.
func (j *Job) Close(ctx context.Context) ([]Late, error) {
	if j == nil || len(j.trees) == 0 {
		return nil, nil
	}
	var late []Late
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, g := range j.kept {
		if kills := g.Kills(); kills > g.final.Kills {
			late = append(late, Late{Step: g.name, Kills: kills - g.final.Kills, Limit: g.limit()})
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, errRemove)
	defer cancel()
	var errs []error
	for _, t := range j.trees {
		errs = append(errs, t.remove(ctx))
	}
	j.log.close()
	j.trees, j.kept = nil, nil
	return late, errors.Join(errs...)
}

// remove removes the group of the job and all in it.
func (t tree) remove(ctx context.Context) error {
	if t.back != nil {
		_ = t.back.Close() // each word was taken or refused when it was written
	}
	for {
		err := empty(ctx, t.group, t.dir)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if retry.Wait(ctx, removePause) != nil {
			return fmt.Errorf("removing control group %s: %w", t.group, errors.Join(err, context.Cause(ctx)))
		}
	}
}

// deepest bounds how many levels of groups of its own making a job may have for
// them to be removed.
const deepest = 32

// empty removes dir and the groups in it, after their processes were moved to the
// group at to; none are moved when to is empty. It gives up when ctx ends: how much
// there is to remove is up to the job.
func empty(ctx context.Context, dir, to string) error { return emptyAt(ctx, dir, to, deepest) }

func emptyAt(ctx context.Context, dir, to string, levels int) error {
	if err := syscall.Rmdir(dir); err == nil || levels == 0 || ctx.Err() != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			_ = emptyAt(ctx, filepath.Join(dir, e.Name()), to, levels-1) // dir stays when it fails
		}
	}
	if to != "" {
		for pid := range strings.FieldsSeq(read(dir, "cgroup.procs")) {
			if ctx.Err() != nil {
				break
			}
			_ = put(to, "cgroup.procs", pid) // it may be gone by now
		}
	}
	return syscall.Rmdir(dir)
}

// RemoveLeftovers removes the groups that a dead agent left of a job, as far as
// they are empty; the processes of the job were ended before. It waits a little for
// the last of them. What cannot be removed is left: an empty group harms nobody.
func RemoveLeftovers(ctx context.Context, h Host, agent, id string) {
	ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, errRemove)
	defer cancel()
	memory, cpu, _ := find(h)
	for _, at := range []*hierarchy{memory, cpu} {
		if at == nil {
			continue
		}
		group := filepath.Join(at.base(), name(agent, id))
		for errors.Is(empty(ctx, group, ""), syscall.EBUSY) && retry.Wait(ctx, removePause) == nil {
		}
	}
}
