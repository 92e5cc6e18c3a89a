package emulator

import (
	"slices"

	"github.com/dockless-ci/dockless/internal/job"
)

// checkBatch refuses changes that are out of order (§7.2 to §7.4).
func (s *Server) checkBatch(q *request, t *timeline, batch []recordWire) error {
	main := t.id == q.plan.timeline
	ids := make(map[job.RecordID]bool, len(batch))
	for _, r := range batch {
		ids[r.ID] = true
	}
	known := func(id job.RecordID) bool { return t.records[id] != nil || ids[id] }
	running := q.jobRecordSeen || slices.ContainsFunc(batch, func(r recordWire) bool {
		return r.ID == q.job.Record() && (value(r.State) == job.InProgress || value(r.State) == job.Completed)
	})
	for _, in := range batch {
		if in.ID == "" {
			return badRequest("A record has no id, or none that is a GUID (§7.3).")
		}
		old := t.records[in.ID]
		if old != nil && old.job != q {
			return planForbidden("The record %s belongs to another job.", in.ID)
		}
		if main {
			if err := s.checkMain(q, in, old, running, known); err != nil {
				return err
			}
		}
		if err := s.checkRecord(q, in, old); err != nil {
			return err
		}
	}
	return nil
}

// checkMain judges a record of the main timeline: its place in the tree and
// that the job began first.
func (s *Server) checkMain(q *request, in recordWire, old *record, running bool, known func(job.RecordID) bool) error {
	isJob := in.ID == q.job.Record()
	switch {
	case isJob:
		if in.Type != nil && *in.Type != job.TypeJob {
			return s.wrongOrder(q, "§7.2", "the job's record is of type %q, not Job", *in.Type)
		}
		return nil
	case old == nil && value(in.ParentID) == "":
		return s.wrongOrder(q, "§7.4", "record %s is created without a parent; steps have the job as theirs", in.ID)
	case in.ParentID != nil && !known(*in.ParentID):
		return s.wrongOrder(q, "§7.4", "record %s has the unknown parent %s", in.ID, *in.ParentID)
	case !running && (value(in.State) == job.InProgress || value(in.State) == job.Completed):
		return s.wrongOrder(q, "§7.4", "record %s is %s before the job's record is in progress", in.ID, *in.State)
	}
	starts := value(in.State) == job.InProgress && (old == nil || value(old.wire.State) != job.InProgress)
	if starts && slices.Contains(q.steps, in.ID) {
		for _, step := range q.steps {
			if !known(step) {
				s.violate(q, "§7.4, A18", false, "step %s started while step %s has no record", in.ID, step)
				break
			}
		}
	}
	return nil
}

// checkRecord judges what a record says about itself.
func (s *Server) checkRecord(q *request, in recordWire, old *record) error {
	was := job.State("")
	if old != nil {
		was = value(old.wire.State)
	}
	switch {
	case was == job.Completed && in.State != nil && *in.State != job.Completed && *in.State != "":
		return s.wrongOrder(q, "§7.4", "record %s was completed and becomes %s", in.ID, *in.State)
	case was == job.InProgress && value(in.State) == job.Pending:
		return s.wrongOrder(q, "§7.4", "record %s was in progress and becomes pending", in.ID)
	case value(in.State) == job.Completed && value(in.Result) == "" && (old == nil || value(old.wire.Result) == ""):
		return s.wrongOrder(q, "§7.4", "record %s is completed without a result", in.ID)
	}
	if in.Log != nil {
		l := q.plan.logs[in.Log.ID]
		switch {
		case l == nil || l.job != q:
			return s.wrongOrder(q, "§7.6", "record %s points at log %d, which this job did not create", in.ID, in.Log.ID)
		case l.size == 0:
			return s.wrongOrder(q, "§7.6", "record %s points at log %d before its page was uploaded", in.ID, in.Log.ID)
		}
	}
	if in.Issues != nil {
		errs, warnings := 0, 0
		for _, issue := range *in.Issues {
			if issue.Type == job.Error {
				errs++
			} else {
				warnings++
			}
		}
		if errs > job.MaxIssues || warnings > job.MaxIssues {
			s.violate(q, "§7.2, A21", false, "record %s carries %d errors and %d warnings, want at most %d of each", in.ID, errs, warnings, job.MaxIssues)
		}
	}
	return nil
}
