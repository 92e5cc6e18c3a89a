package runner

import "time"

// SetMinute makes a minute of a step's timeout last d.
func (r *Runner) SetMinute(d time.Duration) { r.minute = d }
