package emulator

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// timeline is a tree of records.
type timeline struct {
	id      job.TimelineID
	change  int
	changed time.Time
	records map[job.RecordID]*record
	order   []*record // as they were created
}

// record is a node of a timeline and the job it belongs to.
type record struct {
	wire recordWire
	job  *request
}

// recordWire is a record on the wire (§7.2). A nil member means "unchanged".
type recordWire struct {
	ID               job.RecordID               `json:"id"`
	ParentID         *job.RecordID              `json:"parentId"`
	Type             *string                    `json:"type"`
	Name             *string                    `json:"name"`
	StartTime        *job.Time                  `json:"startTime"`
	FinishTime       *job.Time                  `json:"finishTime"`
	CurrentOperation *string                    `json:"currentOperation"`
	PercentComplete  *int                       `json:"percentComplete"`
	State            *job.State                 `json:"state"`
	Result           *job.Result                `json:"result"`
	ResultCode       *string                    `json:"resultCode"`
	ChangeID         int                        `json:"changeId"`
	LastModified     *job.Time                  `json:"lastModified"`
	WorkerName       *string                    `json:"workerName"`
	Order            *int                       `json:"order"`
	RefName          *string                    `json:"refName"`
	Log              *logReference              `json:"log"`
	Details          *timelineReference         `json:"details"`
	ErrorCount       *int                       `json:"errorCount"`
	WarningCount     *int                       `json:"warningCount"`
	Issues           *[]job.Issue               `json:"issues"`
	Variables        map[string]recordVariable  `json:"variables"`
	Attempt          *int                       `json:"attempt"`
	Identifier       *string                    `json:"identifier,omitempty"`
	Previous         []json.RawMessage          `json:"previousAttempts"`
	Task             map[string]json.RawMessage `json:"task,omitempty"`
}

type recordVariable struct {
	Value    string `json:"value"`
	IsSecret bool   `json:"isSecret"`
}

type logReference struct {
	ID       int    `json:"id"`
	Location string `json:"location"`
}

type timelineReference struct {
	ID       job.TimelineID `json:"id"`
	ChangeID int            `json:"changeId"`
	Location *string        `json:"location"`
}

type timelineWire struct {
	ID            job.TimelineID `json:"id"`
	ChangeID      int            `json:"changeId"`
	LastChangedOn job.Time       `json:"lastChangedOn"`
	Location      *string        `json:"location"`
	Records       []recordWire   `json:"records"`
}

func newTimeline(id job.TimelineID, now time.Time) *timeline {
	return &timeline{id: id, changed: now, records: make(map[job.RecordID]*record)}
}

// copy returns the record in a form that later merges do not change: they
// replace what its members point at, only the variables are merged in place.
func (r *record) copy() recordWire {
	out := r.wire
	out.Variables = maps.Clone(out.Variables)
	return out
}

// value returns what p points at, or the zero value.
func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}

// merge applies the members of in that are not null (§7.2, S9) and returns the
// record. A record that does not exist is created.
func (t *timeline) merge(in recordWire, q *request, now time.Time) *record {
	r := t.records[in.ID]
	if r == nil {
		one := 1
		r = &record{job: q, wire: recordWire{ID: in.ID, Attempt: &one, Issues: &[]job.Issue{}, Variables: map[string]recordVariable{}, Previous: []json.RawMessage{}}}
		t.records[in.ID] = r
		t.order = append(t.order, r)
	}
	w := &r.wire
	take(&w.ParentID, in.ParentID)
	take(&w.Type, in.Type)
	take(&w.Name, in.Name)
	takeDate(&w.StartTime, in.StartTime)
	takeDate(&w.FinishTime, in.FinishTime)
	take(&w.CurrentOperation, in.CurrentOperation)
	take(&w.PercentComplete, in.PercentComplete)
	take(&w.State, in.State)
	take(&w.Result, in.Result)
	take(&w.ResultCode, in.ResultCode)
	take(&w.WorkerName, in.WorkerName)
	take(&w.Order, in.Order)
	take(&w.RefName, in.RefName)
	take(&w.Log, in.Log)
	take(&w.Details, in.Details)
	take(&w.ErrorCount, in.ErrorCount)
	take(&w.WarningCount, in.WarningCount)
	take(&w.Issues, in.Issues)
	take(&w.Identifier, in.Identifier)
	maps.Copy(w.Variables, in.Variables)
	t.changed, w.ChangeID, w.LastModified = now, t.change, date(now)
	return r
}

func take[T any](to **T, from *T) {
	if from != nil {
		*to = from
	}
}

// takeDate is take for dates, of which "no date" means null (§1.7).
func takeDate(to **job.Time, from *job.Time) {
	if from != nil && !from.IsZero() {
		*to = from
	}
}

// timelineOf finds a timeline of the plan.
func (p *plan) timelineOf(text string) (*timeline, error) {
	t := p.timelines[job.TimelineID(guid(text))]
	if t == nil {
		return nil, timelineNotFound(text)
	}
	return t, nil
}

func (t *timeline) wire(since int, records bool) timelineWire {
	out := timelineWire{ID: t.id, ChangeID: t.change, LastChangedOn: job.At(t.changed)}
	if records {
		out.Records = t.list(since)
	}
	return out
}

// list returns the records changed after since, as they were created.
func (t *timeline) list(since int) []recordWire {
	out := []recordWire{}
	for _, r := range t.order {
		if r.wire.ChangeID > since {
			out = append(out, r.copy())
		}
	}
	return out
}

func (s *Server) getTimelines(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _, err := s.planOf(c)
	if err != nil {
		return nil, err
	}
	if c.v("timelineId") == "" {
		out := []timelineWire{p.timelines[p.timeline].wire(0, false)}
		for id, t := range p.timelines {
			if id != p.timeline {
				out = append(out, t.wire(0, false))
			}
		}
		return listOf(out), nil
	}
	t, err := p.timelineOf(c.v("timelineId"))
	if err != nil {
		return nil, err
	}
	since, _ := strconv.Atoi(c.q("changeId"))
	include := c.q("includeRecords") != "false"
	return t.wire(since, include), nil
}

// createTimeline makes a sub-timeline (§7.4).
func (s *Server) createTimeline(c *call) (any, error) {
	var in timelineReference
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _, err := s.started(c)
	if err != nil {
		return nil, err
	}
	id := job.TimelineID(guid(string(in.ID)))
	if id == "" {
		return nil, badRequest("The timeline's id %q is no GUID (§7.4).", in.ID)
	}
	if p.timelines[id] != nil {
		return nil, refuse(http.StatusConflict, "TimelineExistsException", "The plan has a timeline %s already.", id)
	}
	p.timelines[id] = newTimeline(id, s.now())
	return p.timelines[id].wire(0, true), nil
}

func (s *Server) getRecords(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, _, err := s.planOf(c)
	if err != nil {
		return nil, err
	}
	t, err := p.timelineOf(c.v("timelineId"))
	if err != nil {
		return nil, err
	}
	since, _ := strconv.Atoi(c.q("changeId"))
	return listOf(t.list(since)), nil
}

// updateRecords takes a batch of record changes (§7.3).
func (s *Server) updateRecords(c *call) (any, error) {
	var in struct {
		Count *int          `json:"count"`
		Value *[]recordWire `json:"value"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	if in.Count == nil || in.Value == nil || *in.Count != len(*in.Value) {
		return nil, badRequest("The body is not wrapped in count and value (§7.3).")
	}
	out, hooks, err := s.mergeRecords(c, *in.Value)
	for _, hook := range hooks {
		hook()
	}
	if err != nil {
		return nil, err
	}
	return listOf(out), nil
}

// mergeRecords checks the whole batch before it changes anything. It returns
// the hooks to call once the lock is released.
func (s *Server) mergeRecords(c *call, batch []recordWire) (out []recordWire, hooks []func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, q, err := s.started(c)
	if err != nil {
		return nil, nil, err
	}
	t, err := p.timelineOf(c.v("timelineId"))
	if err != nil {
		return nil, nil, err
	}
	for i := range batch {
		batch[i].ID = job.RecordID(guid(string(batch[i].ID)))
		if batch[i].ParentID != nil {
			parent := job.RecordID(guid(string(*batch[i].ParentID)))
			batch[i].ParentID = &parent
		}
	}
	if err := s.checkBatch(q, t, batch); err != nil {
		return nil, nil, err
	}
	t.change++
	now := s.now()
	for _, in := range batch {
		out = append(out, t.merge(in, q, now).copy())
	}
	c.note = describe(batch)
	if r := t.records[q.job.Record()]; r != nil && t.id == p.timeline && value(r.wire.State) != job.Pending && !q.jobRecordSeen {
		q.jobRecordSeen = true
		for _, hook := range q.whenStarted {
			hooks = append(hooks, func() { hook(q.job) })
		}
		q.whenStarted = nil
	}
	q.notify()
	return out, hooks, nil
}

// describe names the changes of a batch for the list of calls.
func describe(batch []recordWire) string {
	var text []byte
	for _, r := range batch {
		if len(text) > 0 {
			text = append(text, ", "...)
		}
		name := value(r.RefName)
		if name == "" {
			name = string(r.ID)
		}
		text = append(text, name...)
		for _, part := range []string{string(value(r.State)), string(value(r.Result))} {
			if part != "" {
				text = append(append(text, ' '), part...)
			}
		}
	}
	return string(text)
}
