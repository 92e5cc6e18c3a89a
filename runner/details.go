package runner

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
)

// mostDetails is how many records one step may have below its own. Each is kept
// until the step ends, and nobody reads a tree of more.
const mostDetails = 10_000

// The service keeps names of 256 characters, and shows an operation in one line.
const (
	mostName      = 256     // of a name or type, in bytes
	mostOperation = 1 << 10 // in bytes
)

// details is what a step reports below its record: a timeline of its own, made
// with its first record. It is guarded by the lock of the node.
type details struct {
	timeline job.TimelineID
	records  map[job.RecordID]job.Record
	order    []job.RecordID // as they were made
}

// logDetail makes or changes a record below that of the step (protocol §8.10).
func logDetail(a *attempt, c command.Command) error {
	id, err := guidOf(c, "id")
	if err != nil {
		return err
	}
	if id == "" {
		return errors.New("the property id is missing")
	}
	d := &a.details
	r, known := d.records[id]
	if !known {
		if r, err = a.newDetail(id, c); err != nil {
			return err
		}
	}
	if err := a.changeDetail(&r, c); err != nil {
		return err
	}
	if parent, err := guidOf(c, "parentid"); err != nil || parent != "" {
		_, there := d.records[parent]
		switch {
		case err != nil:
			return err
		case !there:
			return fmt.Errorf("the parent %s is not known", parent)
		case r.ParentID != "" && r.ParentID != parent:
			return fmt.Errorf("the record has the parent %s, which cannot change", r.ParentID)
		case d.under(parent, id):
			return fmt.Errorf("the parent %s is the record itself or below it", parent)
		}
		r.ParentID = parent
	}
	if !known {
		setState(&r, cmp.Or(r.State, job.InProgress))
		d.order = append(d.order, id)
	}
	d.records[id] = r
	a.reportDetail(r)
	return nil
}

// under reports whether record id is, or is below, record top. The lock is held.
func (d *details) under(id, top job.RecordID) bool {
	for id != "" && id != top {
		id = d.records[id].ParentID
	}
	return id == top
}

// newDetail makes a record, and with the first one the timeline. The lock is held.
func (a *attempt) newDetail(id job.RecordID, c command.Command) (job.Record, error) {
	d := &a.details
	for _, name := range []string{"name", "type"} {
		if c.Property(name) == "" {
			return job.Record{}, fmt.Errorf("the property %s is missing, which a new record needs", name)
		}
	}
	if len(d.records) == mostDetails {
		return job.Record{}, fmt.Errorf("the step has %d records of its own already", mostDetails)
	}
	if d.timeline == "" {
		d.timeline = job.TimelineID(uuid.NewString())
		a.node.record.Details = &job.TimelineReference{ID: d.timeline}
		a.node.report()
	}
	if d.records == nil {
		d.records = make(map[job.RecordID]job.Record)
	}
	return job.Record{
		ID: id, Timeline: d.timeline, StartTime: now(), Attempt: 1, WorkerName: a.x.cfg.AgentName,
	}, nil
}

// changeDetail takes what the command says into r. Texts are masked before they are
// cut, so that no part of a secret is left. The lock is held.
func (a *attempt) changeDetail(r *job.Record, c command.Command) error {
	for name, to := range map[string]*string{"name": &r.Name, "type": &r.Type} {
		if v := c.Property(name); v != "" {
			*to = cut(a.x.masks.Mask(v), mostName)
		}
	}
	if c.Data != "" {
		r.CurrentOperation = cut(a.x.masks.Mask(c.Data), mostOperation)
	}
	for name, to := range map[string]*int{"order": &r.Order, "progress": &r.PercentComplete} {
		if v := c.Property(name); v != "" {
			n, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil || n < 0 || name == "progress" && n > 100 {
				return fmt.Errorf("the %s %q cannot be used", name, v)
			}
			*to = n
		}
	}
	for name, to := range map[string]**job.Time{"starttime": &r.StartTime, "finishtime": &r.FinishTime} {
		if v := c.Property(name); v != "" {
			t, err := readTime(v)
			if err != nil {
				return fmt.Errorf("the %s %q is no time", name, v)
			}
			*to = &t
		}
	}
	if v := c.Property("result"); v != "" {
		result, ok := titled(v)
		if !ok {
			return fmt.Errorf("the result %q is not known", v)
		}
		r.Result = result
	}
	if v := c.Property("state"); v != "" {
		setState(r, detailState(v))
	}
	return nil
}

// detailState reads a state as the command spells it; in any other spelling it is
// pending.
func detailState(text string) job.State {
	switch text {
	case "InProgress":
		return job.InProgress
	case "Completed":
		return job.Completed
	}
	return job.Pending
}

// setState moves r on. One that was completed stays so, and one that is under way
// does not go back: servers refuse both.
func setState(r *job.Record, state job.State) {
	switch {
	case state == job.Completed:
		if r.PercentComplete = 100; r.FinishTime == nil {
			r.FinishTime = now()
		}
		if r.Result == "" {
			r.Result = job.Succeeded
		}
	case r.State == job.Completed || state == job.Pending && r.State == job.InProgress:
		return
	}
	r.State = state
}

// reportDetail passes a masked copy on. The lock is held.
func (a *attempt) reportDetail(r job.Record) {
	mask := a.x.masks.Mask
	r.Name, r.Type, r.CurrentOperation, r.WorkerName = mask(r.Name), mask(r.Type), mask(r.CurrentOperation), mask(r.WorkerName)
	a.x.rep.UpdateRecord(r)
}

// closeDetails completes the records that the step left open, and forgets all.
func (e *entry) closeDetails(result job.Result) {
	e.node.mu.Lock()
	defer e.node.mu.Unlock()
	for _, id := range e.details.order {
		if r := e.details.records[id]; r.State != job.Completed {
			r.Result = result
			setState(&r, job.Completed)
			(&attempt{entry: e, x: e.node.x}).reportDetail(r)
		}
	}
	e.details.records, e.details.order = nil, nil
}

// guidOf returns a property that is a GUID, in the usual spelling; "" when it is
// absent or all zeros.
func guidOf(c command.Command, name string) (job.RecordID, error) {
	text := strings.TrimSpace(c.Property(name))
	if text == "" {
		return "", nil
	}
	id, err := uuid.Parse(text)
	if err != nil {
		return "", fmt.Errorf("the %s %q is no GUID", name, text)
	}
	if id == uuid.Nil {
		return "", nil
	}
	return job.RecordID(id.String()), nil
}

// readTime reads the spellings in which scripts write a time; without a zone it
// is UTC.
func readTime(text string) (job.Time, error) {
	var failure error
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "01/02/2006 15:04:05", time.RFC1123, "2006-01-02"} {
		t, err := time.Parse(layout, strings.TrimSpace(text))
		if err == nil {
			return job.At(t), nil
		}
		failure = err
	}
	return job.Time{}, failure
}
