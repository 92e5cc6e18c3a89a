package statuspage

import "time"

// view is what the templates are given. Which parts are set depends on the page.
type view struct {
	Title    string
	Now      time.Time
	Refresh  int    // seconds until a browser without JavaScript asks again; 0: nothing will change
	Events   string // address of what changes; empty: nothing will
	Still    string // address of the same page that does not load itself again
	Missing  string
	Overview Overview
	Running  []running
	// MoreRunning are jobs that run besides those.
	MoreRunning int
	Job         Job
	Step        Step
	Log         Log
	Live        *Step // the running step of Job whose log is shown, or nil
	Window      window
}

// running is a job on the first page.
type running struct {
	Job  Job
	Live *Step // nil: no step of it runs that has a log
	Tail Log
}

// window is the part of a log that is shown and the way to the others.
type window struct {
	Base                 string // address of the log
	First, Last          int    // numbers of lines; Last is First-1 when there is none
	Previous, Next       int    // first lines of the parts beside; 0: none
	Beginning, Following bool   // whether the log's first line is shown, and its last
}
