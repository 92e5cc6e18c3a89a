package cgroup

import (
	"sync"
	"sync/atomic"
	"time"
)

// watchPeriod is how often the memory of a group is looked at where the kernel
// keeps no peak (Linux before 5.19): a step of a second still has ten looks.
const watchPeriod = 100 * time.Millisecond

// watch keeps the most that was seen of a group's memory.
type watch struct {
	h    *hierarchy
	dir  string
	most atomic.Uint64
	over chan struct{} // closed by stop
	wait sync.WaitGroup
}

// newWatch starts a watch over a group that needs one, else it returns nil.
func newWatch(h *hierarchy, dir string) *watch {
	if !h.unified || read(dir, h.files().peak) != "" || read(dir, h.files().now) == "" {
		return nil
	}
	w := &watch{h: h, dir: dir, over: make(chan struct{})}
	w.wait.Go(w.run)
	return w
}

func (w *watch) run() {
	tick := time.NewTicker(watchPeriod)
	defer tick.Stop()
	for {
		select {
		case <-w.over:
			return
		case <-tick.C:
			w.look()
		}
	}
}

func (w *watch) look() {
	now, _ := parseNumber(read(w.dir, w.h.files().now))
	for {
		most := w.most.Load()
		if now <= most || w.most.CompareAndSwap(most, now) {
			return
		}
	}
}

func (w *watch) peak() (uint64, bool) {
	w.look()
	most := w.most.Load()
	return most, most > 0
}

// stop ends the watch. It may be called on a nil watch, and once.
func (w *watch) stop() {
	if w != nil {
		close(w.over)
		w.wait.Wait()
	}
}
