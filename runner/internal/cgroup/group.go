package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Group accounts the processes of a step. A nil Group accounts nothing. Its methods
// may be called concurrently, Close last.
type Group struct {
	job    *Job
	name   string
	dirs   []string   // one for each tree of the job; none: there is no group
	tasks  []*os.File // version 1: takes a thread into each of them
	place  *os.File   // version 2: the directory
	bounds []bound
	before uint64 // kills in the agent's own group when the step began
	watch  *watch // nil: the kernel keeps the peak itself

	mu      sync.Mutex
	outside bool          // a process could not be put into the group
	spent   time.Duration // CPU time of what was waited for
	largest uint64        // process, in bytes
	blurred bool          // largest may be the agent's own size
	kills   uint64        // the most there were
	final   Usage
}

// Step makes the group of a step; name is unique in the job. Where no group can be
// made, what is returned accounts the processes that are waited for.
func (j *Job) Step(name string) *Group {
	g := &Group{job: j, name: name}
	if j == nil || j.memory == nil {
		return g
	}
	g.bounds = make([]bound, len(j.bounds))
	for i, b := range j.bounds {
		b.hits, b.known = j.memory.hits(b.dir)
		g.bounds[i] = b
	}
	g.before, _ = j.memory.kills(j.counted)
	for _, t := range j.trees {
		dir := filepath.Join(t.group, plain(name))
		if err := g.open(t, dir); err != nil {
			g.abandon()
			break
		}
	}
	if len(g.dirs) > 0 {
		g.watch = newWatch(j.memory, g.dirs[0])
	}
	return g
}

// open makes the group in one tree.
func (g *Group) open(t tree, dir string) (err error) {
	err = os.Mkdir(dir, 0o755)       //nolint:gosec // as in makeTree
	if errors.Is(err, os.ErrExist) { // of a dead agent that ran the same job: its counts are old
		_ = syscall.Rmdir(dir)
		err = os.Mkdir(dir, 0o755) //nolint:gosec // as in makeTree
	}
	if err != nil {
		return err
	}
	g.dirs = append(g.dirs, dir)
	if t.unified {
		g.place, err = os.Open(dir)
		return err
	}
	tasks, err := os.OpenFile(filepath.Join(dir, "tasks"), os.O_WRONLY, 0)
	if err == nil {
		g.tasks = append(g.tasks, tasks)
	}
	return err
}

// abandon undoes half a start.
func (g *Group) abandon() {
	g.closeFiles()
	for _, dir := range g.dirs {
		_ = syscall.Rmdir(dir)
	}
	g.dirs = nil
}

func (g *Group) closeFiles() {
	for _, f := range append(g.tasks, g.place) {
		if f != nil {
			_ = f.Close() // each word was taken or refused when it was written
		}
	}
	g.tasks, g.place = nil, nil
}

// Ended takes note of a process that was waited for.
func (g *Group) Ended(state *os.ProcessState) {
	if g == nil || state == nil {
		return
	}
	size, blurred := residentSet(state)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.spent += state.UserTime() + state.SystemTime()
	if size > g.largest {
		g.largest, g.blurred = size, blurred
	}
}

// Close returns what the processes of the step used and removes the group. One in
// which processes live on stays until the job's end: they are not touched.
func (g *Group) Close() Usage {
	if g == nil {
		return Usage{}
	}
	g.watch.stop()
	usage := g.Usage()
	g.mu.Lock()
	g.final = usage
	g.mu.Unlock()
	g.closeFiles()
	var errs []error
	for _, dir := range g.dirs {
		if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 {
		g.job.mu.Lock()
		defer g.job.mu.Unlock()
		g.job.kept = append(g.job.kept, g)
	}
	return usage
}
