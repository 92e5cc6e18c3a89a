package emulator

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/dockless-ci/dockless/internal/job"
)

// Report returns what is known of a job (design §10): the records of its
// timeline with the lines of their logs, outputs, and the builds it described.
// It may be asked for while the job runs. It fails with [ErrNoJob], or when a
// log cannot be read.
func (s *Server) Report(id job.ID) (job.Report, error) {
	q, records, logs, builds := s.snapshot(id)
	if q == nil {
		return job.Report{}, fmt.Errorf("job %s: %w", id, ErrNoJob)
	}
	out := job.Report{
		Result: q.result, Records: []job.ReportRecord{}, Outputs: map[string]string{}, Variables: q.plain, Builds: []job.BuildReport{},
	}
	var problems []error
	for _, r := range records {
		lines, err := linesOf(r, logs)
		problems = append(problems, err)
		out.Records = append(out.Records, r.plain().Reported(lines))
		for name, v := range r.Variables {
			if !v.IsSecret {
				out.Outputs[value(r.RefName)+"."+name] = v.Value
			}
		}
	}
	for _, a := range builds {
		b, err := readBuild(a)
		if problems = append(problems, err); err == nil {
			out.Builds = append(out.Builds, b)
		}
	}
	if err := errors.Join(problems...); err != nil {
		return out, fmt.Errorf("reporting job %s: %w", id, err)
	}
	return out, nil
}

// snapshot copies what a report is made of, so that files are read without the lock.
func (s *Server) snapshot(id job.ID) (q *request, records []recordWire, logs []*storedLog, builds []*attachment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.jobs[id]
	if known == nil {
		return nil, nil, nil, nil
	}
	q = &request{job: known.job, result: known.result, plain: make(map[string]string, len(known.plain))}
	maps.Copy(q.plain, known.plain)
	for _, r := range known.plan.timelines[known.plan.timeline].order {
		if r.job == known {
			records = append(records, r.copy())
		}
	}
	// The job's own record first, then its children as they are ordered.
	slices.SortStableFunc(records, func(a, b recordWire) int { return cmp.Compare(value(a.Order), value(b.Order)) })
	for _, l := range known.plan.sortedLogs() {
		if l.job == known {
			logs = append(logs, l)
		}
	}
	for _, a := range known.plan.attachments {
		if a.job == known && a.kind == job.AttachmentBuild {
			builds = append(builds, a)
		}
	}
	return q, records, logs, builds
}

// linesOf returns the log of a record from all its pages, without time stamps.
// The record points at its last page only (§7.6); the pages are found by path.
func linesOf(r recordWire, logs []*storedLog) ([]string, error) {
	var lines []string
	err := eachLine(r, logs, func(line string) error {
		lines = append(lines, line)
		return nil
	})
	return lines, err
}

func eachLine(r recordWire, logs []*storedLog, yield func(string) error) error {
	for _, l := range logs {
		if l.record() != r.ID && (r.Log == nil || r.Log.ID != l.id) {
			continue
		}
		if err := l.each(func(line string) error { return yield(line[stamped(line):]) }); err != nil {
			return err
		}
	}
	return nil
}

// EachLogLine calls yield with every line of a record's log, without time
// stamps, and holds no more than one of them. The job's own record has the
// lines of all steps. It fails with [ErrNoJob], with yield's error, or when a
// log cannot be read; a record without a log has no lines.
func (s *Server) EachLogLine(id job.ID, record job.RecordID, yield func(line string) error) error {
	q, records, logs, _ := s.snapshot(id)
	if q == nil {
		return fmt.Errorf("job %s: %w", id, ErrNoJob)
	}
	for _, r := range records {
		if r.ID == record {
			return eachLine(r, logs, yield)
		}
	}
	return nil
}

// plain returns the record as the rest of the project knows it.
func (w recordWire) plain() job.Record {
	out := job.Record{
		ID: w.ID, ParentID: value(w.ParentID), Type: value(w.Type), Name: value(w.Name), RefName: value(w.RefName), Order: value(w.Order),
		State: value(w.State), Result: value(w.Result), ResultCode: value(w.ResultCode), StartTime: w.StartTime, FinishTime: w.FinishTime,
		CurrentOperation: value(w.CurrentOperation), PercentComplete: value(w.PercentComplete), WorkerName: value(w.WorkerName),
		ErrorCount: value(w.ErrorCount), WarningCount: value(w.WarningCount), Issues: value(w.Issues), Attempt: value(w.Attempt),
		ChangeID: w.ChangeID, Identifier: value(w.Identifier), Variables: make(map[string]job.Variable, len(w.Variables)),
	}
	if w.Log != nil {
		out.Log = &job.LogReference{ID: w.Log.ID, Location: w.Log.Location}
	}
	for name, v := range w.Variables {
		out.Variables[name] = job.Variable{Value: v.Value, IsSecret: v.IsSecret}
	}
	return out
}

// Records returns the records of a job as they are now, in report order.
func (s *Server) Records(id job.ID) []job.Record {
	_, records, _, _ := s.snapshot(id)
	out := make([]job.Record, 0, len(records))
	for _, r := range records {
		out = append(out, r.plain())
	}
	return out
}

// Attachments returns the attachments of a job, of every record.
func (s *Server) Attachments(id job.ID) ([]job.Attachment, error) {
	s.mu.Lock()
	var found []*attachment
	if q := s.jobs[id]; q != nil {
		for _, a := range q.plan.attachments {
			if a.job == q {
				found = append(found, a)
			}
		}
	}
	s.mu.Unlock()
	out := make([]job.Attachment, 0, len(found))
	for _, a := range found {
		body, err := a.content()
		if err != nil {
			return nil, fmt.Errorf("reading attachment %s of job %s: %w", a.name, id, err)
		}
		out = append(out, job.Attachment{Type: a.kind, Name: a.name, Content: body})
	}
	return out, nil
}

func readBuild(a *attachment) (job.BuildReport, error) {
	var b job.BuildReport
	body, err := a.content()
	if err == nil {
		err = json.Unmarshal(body, &b)
	}
	if err != nil {
		return b, fmt.Errorf("reading attachment %s: %w", a.name, err)
	}
	return b, nil
}
