package statuspage

import (
	"context"
	"time"
)

// Source is what there is to show, as it is when it is asked. Its methods are
// called concurrently and every second by each who looks: they read memory, or the
// part of a stored log that is asked for, and wait for nobody.
type Source interface {
	// Overview lists at most most jobs, and all that run.
	Overview(ctx context.Context, most int) Overview
	// Job returns one job with its steps; false when it is not known, or no more.
	Job(id string) (Job, bool)
	// Log returns at most most lines of a step, from line from on, or the last ones
	// when from is not positive; false when there is no log, or no more.
	Log(job, step string, from, most int) (Log, bool)
}

// Overview is the first page. Parts that are empty are left out.
type Overview struct {
	Name    string // of this process, for example "Agent build-1"
	Version string
	Server  string   // address of Azure DevOps; empty: this is one
	Metrics string   // address of the metrics; empty: there are none
	Facts   []Fact   // further things to know
	Agents  []Agent  // one, or all that are registered
	Pools   []Pool   // of an emulator
	Health  *Health  // nil: nothing beats here
	Stacks  []Stack  // that run now
	Jobs    []Job    // the newest first; steps are not needed
	Total   int      // jobs that there are
	Running []Job    // those of all that run, the newest first; steps are not needed
	Notes   []string // what an operator should know of what is missing here
}

// Fact is one thing and its name.
type Fact struct{ Name, Value string }

// Agent is one agent.
type Agent struct {
	Name, Pool, Version string
	State               string    // offline, idle, busy or draining
	Since               time.Time // of State; zero: not known
	Job                 string    // id of the job it has; empty: none
	JobName             string
}

// Pool is a pool of agents.
type Pool struct {
	Name                    string
	Agents, Online, Waiting int // Waiting are jobs
}

// Health is what the process says of itself on its probe page.
type Health struct {
	Live, Ready Verdict
	Slots       []Slot
}

// Verdict is the answer to one question of a probe.
type Verdict struct {
	OK   bool
	Text string
}

// Slot is one loop and its last beat.
type Slot struct {
	Name, State, Reason string
	Age, Allowed        time.Duration
	Asked               bool // whether its age counts: a loop that was stopped is not asked
}

// Late reports whether the loop has been silent for longer than it may.
func (s Slot) Late() bool { return s.Asked && s.Age > s.Allowed }

// Stack is a set of containers that belong together.
type Stack struct {
	Name     string
	Services []Service
}

// Service is one container.
type Service struct {
	Name   string
	State  string // created, running, exited, …
	Health string // starting, healthy or unhealthy; empty: it has no healthcheck
}

// Job is one job. A zero time has not come yet.
type Job struct {
	ID       string // in addresses, stable
	Name     string
	Pipeline string // and the number of the run
	Agent    string
	Pool     string
	State    string // queued, assigned, running or completed
	Result   string // succeeded, succeededWithIssues, failed, canceled, skipped or abandoned
	Reason   string // why it ended so, if somebody said

	Queued, Started, Finished time.Time

	Steps  []Step
	Builds []Build
	Notes  []string
}

// Open reports whether more is to be expected of the job.
func (j Job) Open() bool { return j.State != "completed" }

// Step is one record of the job's timeline.
type Step struct {
	ID, Name          string
	State             string // pending, inProgress or completed
	Result            string
	Operation         string // what it does now, if it says so
	Percent           int    // of its work, if it says so
	Started, Finished time.Time
	Errors, Warnings  int
	Issues            []Issue
	HasLog            bool
}

// Issue is a warning or an error of a step.
type Issue struct {
	Kind    string // error or warning
	Message string
}

// Build is one image build that a step did.
type Build struct {
	Step      string // reference name
	Digest    string
	Platforms []string
	Steps     int // that were needed
	Cached    int // of these
	Took      time.Duration
	Rows      []BuildRow // empty: only the sums above are known
	Reasons   []string   // why steps ran, when there are no rows to say it
}

// BuildRow is one step of a build.
type BuildRow struct {
	Name   string
	Cached bool
	Start  time.Duration // since the build began
	Took   time.Duration // zero for what was cached
	Reason string        // why it ran
}

// Log is a part of a log.
type Log struct {
	First int      // number of the first of Lines, counted from one
	Lines [][]byte // without endings; not changed by anybody
	Kept  int      // number of the first line that can still be asked for
	Total int      // lines so far
	Open  bool     // more may come
	// Numbers are those of Lines when some in between are missing, which were not
	// sent while the step ran; nil when none are.
	Numbers []int
}

// number is that of the i-th line.
func (l *Log) number(i int) int {
	if l.Numbers != nil {
		return l.Numbers[i]
	}
	return l.First + i
}

// end is the number behind the last line.
func (l *Log) end() int {
	if n := len(l.Numbers); n > 0 {
		return l.Numbers[n-1] + 1
	}
	return l.First + len(l.Lines)
}

// gap makes the numbers explicit.
func (l *Log) gap() {
	if l.Numbers == nil {
		l.Numbers = make([]int, len(l.Lines), cap(l.Lines))
		for i := range l.Lines {
			l.Numbers[i] = l.First + i
		}
	}
}
