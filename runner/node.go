package runner

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// node is one record of the timeline and its log. Its methods may be called
// concurrently; those that say so expect its lock to be held.
type node struct {
	x *execution

	mu      sync.Mutex
	record  job.Record
	console *console
	result  job.Result // what commands and the task said so far
	failed  bool       // a command failed, which outlives a retry's fresh start
	done    chan struct{}
	deaf    bool // output is dropped
}

// newNode makes a record; nothing is reported yet.
func (x *execution) newNode(id job.RecordID, kind, name, refName string, order int) *node {
	return &node{
		x:       x,
		console: newConsole(x.masks, x.rep, id),
		done:    make(chan struct{}),
		record: job.Record{
			ID: id, Type: kind, Name: name, RefName: refName, Order: order,
			WorkerName: x.cfg.AgentName, Attempt: 1,
		},
	}
}

// child makes a record below the job's.
func (x *execution) child(id job.RecordID, name, refName string) *node {
	x.order++
	n := x.newNode(id, job.TypeTask, name, refName, x.order)
	n.record.ParentID = x.m.JobID.Record()
	return n
}

// pending reports the record as waiting for its turn.
func (n *node) pending() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.record.State = job.Pending
	n.report()
}

// start reports the record as running.
func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.record.State = job.InProgress
	n.record.StartTime = now()
	n.report()
}

// complete ends the record and its log.
func (n *node) complete(result job.Result, code string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.console.flush()
	n.record.State, n.record.Result, n.record.ResultCode = job.Completed, result, code
	n.record.FinishTime, n.record.PercentComplete, n.record.CurrentOperation = now(), 100, ""
	n.report()
}

func now() *job.Time {
	t := job.At(time.Now())
	return &t
}

// report passes a masked copy of the record on. The lock is held.
func (n *node) report() {
	r := n.record
	mask := n.x.masks.Mask
	r.Name, r.RefName, r.CurrentOperation, r.ResultCode = mask(r.Name), mask(r.RefName), mask(r.CurrentOperation), mask(r.ResultCode)
	r.WorkerName = mask(r.WorkerName)
	r.Issues = slices.Clone(r.Issues)
	r.Variables = maps.Clone(r.Variables)
	n.x.rep.UpdateRecord(r)
}

// print writes one line of the agent's own into the log.
func (n *node) print(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.console.print(text)
}

// warning adds a warning to the record.
func (n *node) warning(text string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.warn(text)
}

// error adds an error to the record, followed by the advice that goes with it.
func (n *node) error(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault(err.Error())
	for _, advice := range hint.All(err) {
		n.console.print("hint: " + advice)
	}
}

// fault adds an error. The lock is held.
func (n *node) fault(text string) { n.issue(job.Issue{Type: job.Error, Message: text}) }

// warn adds a warning. The lock is held.
func (n *node) warn(text string) { n.issue(job.Issue{Type: job.Warning, Message: text}) }

// issue writes an issue into the log and, as long as there is room, onto the
// record; it is counted always (protocol §7.2). The lock is held.
func (n *node) issue(i job.Issue) {
	count := &n.record.ErrorCount
	if i.Type == job.Warning {
		count = &n.record.WarningCount
	}
	*count++
	if *count > job.MaxIssues {
		n.console.print("##[" + string(i.Type) + "]" + i.Message)
		return // reported with the record's next change
	}
	line := n.console.next()
	n.console.print("##[" + string(i.Type) + "]" + i.Message)
	data := map[string]string{"logFileLineNumber": strconv.Itoa(line), "type": string(i.Type)}
	for key, value := range i.Data {
		data[key] = n.x.masks.Mask(value)
	}
	i.Data, i.Message = data, n.x.masks.Mask(i.Message)
	if i.Category == "" {
		i.Category = "General"
	}
	n.record.Issues = append(n.record.Issues, i)
	n.report()
}

// debug writes a line that is shown only while the job is being debugged. The
// lock is held.
func (n *node) debug(text string) {
	if n.x.vars.Bool("system.debug", false) {
		// Masked first: a secret of several lines is not found with a tag in each.
		for line := range strings.Lines(n.x.masks.Mask(text)) {
			n.console.print("##[debug]" + strings.TrimRight(line, "\r\n"))
		}
	}
}
