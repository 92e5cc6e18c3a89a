package job

import "time"

// Wait is what a job has behind it when an agent begins it, by this machine's clock.
// The zero value says that it is not known.
type Wait struct {
	Queued   time.Time // when the server took the job in
	Assigned time.Time // when it chose the agent; not before Queued
}
