package recent

import (
	"context"
	"sync/atomic"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

// Reporter is told what happens in a job, masked.
type Reporter interface {
	UpdateRecord(job.Record)
	WriteLine(record job.RecordID, line []byte)
	Attach(ctx context.Context, record job.RecordID, a job.Attachment)
	Waits() bool
}

// reporter sees everything first.
type reporter struct {
	j    *Job
	next Reporter
	last atomic.Pointer[tailOf] // a step prints many lines in a row
}

type tailOf struct {
	record job.RecordID
	tail   *statuspage.Tail
}

// Before returns a reporter that keeps what it is told and passes it on to next.
func (j *Job) Before(next Reporter) Reporter {
	if j == nil {
		return next
	}
	return &reporter{j: j, next: next}
}

// WriteLine implements [Reporter].
func (r *reporter) WriteLine(record job.RecordID, line []byte) {
	last := r.last.Load()
	if last == nil || last.record != record {
		last = &tailOf{record, r.j.tail(record)}
		r.last.Store(last)
	}
	if last.tail != nil {
		last.tail.Add(line)
	}
	r.next.WriteLine(record, line)
}

// tail finds the log of a record, or begins it. It is nil for the job's own record,
// which has the lines of all others, when the next job has begun, and above the bound.
func (j *Job) tail(record job.RecordID) *statuspage.Tail {
	j.mu.Lock()
	defer j.mu.Unlock()
	t := j.tails[record]
	if t == nil && !j.over && record != j.id.Record() && len(j.tails) < mostRecords {
		t = &statuspage.Tail{}
		j.tails[record] = t
	}
	return t
}

// UpdateRecord implements [Reporter].
func (r *reporter) UpdateRecord(record job.Record) {
	r.j.update(record)
	r.next.UpdateRecord(record)
}

func (j *Job) update(r job.Record) {
	if r.Timeline != "" {
		return // below a step's own record, thousands maybe
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	old, known := j.records[r.ID]
	if j.over || !known && len(j.records) == mostRecords {
		return
	}
	next := boundedRecord(old.Merge(r))
	next.ID = r.ID // which merging leaves alone
	j.details -= issuesSize(old.Issues)
	if !j.keep(issuesSize(next.Issues)) {
		next.Issues = nil
	}
	j.records[next.ID] = next
	if next.ID == j.id.Record() {
		j.shown.Name = next.Name
		return
	}
	if next.State == job.Completed && old.State != job.Completed && j.tails[next.ID] != nil {
		j.order = append(j.order, next.ID)
		j.shrink()
	}
}

// keep reports whether there is room for details of so many bytes, and takes it.
// The lock is held.
func (j *Job) keep(size int) bool {
	if size > 0 && j.details+size > mostDetails {
		j.left = true
		return false
	}
	j.details += size
	return true
}

// shrink drops logs of steps that ended until the others fit. The lock is held.
func (j *Job) shrink() {
	sum := 0
	for _, t := range j.tails {
		sum += t.Size()
	}
	for sum > mostLogBytes && len(j.order) > 1 {
		sum -= j.tails[j.order[0]].Size()
		delete(j.tails, j.order[0])
		j.order = j.order[1:]
	}
}

// Attach implements [Reporter].
func (r *reporter) Attach(ctx context.Context, record job.RecordID, a job.Attachment) {
	if a.Type == job.AttachmentBuild {
		r.j.build(a.Content)
	}
	r.next.Attach(ctx, record, a)
}

// Waits implements [Reporter].
func (r *reporter) Waits() bool { return r.next.Waits() }

func (j *Job) build(report []byte) {
	build, err := statuspage.ReadBuild(report)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over {
		return
	}
	if err != nil || len(j.builds) == mostBuilds {
		j.left = true // an attachment of a job may be anything
		return
	}
	if !j.keep(buildSize(build)) {
		build.Rows, build.Reasons = nil, nil
	}
	j.builds = append(j.builds, build)
}
