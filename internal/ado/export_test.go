package ado

import "time"

// SetCompletePause changes how long Complete waits between its attempts.
func (r *Reporter) SetCompletePause(d time.Duration) { r.pause = d }
