package ado

import (
	"log/slog"
	"time"
)

// SetLog changes where records that are dropped are noted. It is called before
// anything is reported.
func (r *Reporter) SetLog(log *slog.Logger) { r.details.log = log }

// SetCompletePause changes how long Complete waits between its attempts.
func (r *Reporter) SetCompletePause(d time.Duration) { r.pause = d }

// SetUploadPause changes how long an upload waits before its second attempt. It
// is called before anything is reported.
func (r *Reporter) SetUploadPause(d time.Duration) { r.pages.pause = d }

// LimitMemory leaves log text n chunks of memory, instead of chunkBudget.
func (r *Reporter) LimitMemory(n int) {
	r.pages.mu.Lock()
	defer r.pages.mu.Unlock()
	r.pages.budget.chunks = n
}

// Spooled returns how many bytes of log text are on the disk, and whether its
// file is open.
func (r *Reporter) Spooled() (bytes int64, open bool) {
	r.pages.mu.Lock()
	defer r.pages.mu.Unlock()
	return int64(r.pages.spool.used) * chunkSize, r.pages.spool.file != nil
}
