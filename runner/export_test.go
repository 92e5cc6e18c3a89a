package runner

import (
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// SetMinute makes a minute of a step's timeout last d.
func (r *Runner) SetMinute(d time.Duration) { r.minute = d }

// Builtins lists the built-ins as messages name them, and whether each is built in
// always.
func Builtins() map[job.TaskReference]bool {
	all := make(map[job.TaskReference]bool, len(builtins))
	for key, t := range builtins {
		id, major, _ := strings.Cut(key, "@")
		all[job.TaskReference{ID: id, Name: t.name, Version: major + ".0.0"}] = t.onlyHere
	}
	return all
}

// Waterfall lists the steps of a build.
var Waterfall = waterfall
