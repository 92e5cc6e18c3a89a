package emulator

import (
	"slices"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

const (
	// mostTails is how many steps of a job have the end of their live lines in
	// memory, half a mebibyte each.
	mostTails = 16
	// mostCutOff is how many jobs that ended without their logs, such as those of
	// an agent that died, keep their live lines: nothing else says what they did last.
	mostCutOff = 4
)

// follow keeps live lines of a step for the status page; when there are those of too
// many, the step has to wait for its log. The caller holds s.mu.
func (q *request) follow(in *feedWire) {
	if q.state != Running {
		return // it ended while the lines came
	}
	t := q.tails[*in.StepID]
	if t == nil {
		if len(q.tails) >= mostTails {
			q.forgetTails()
		}
		if len(q.tails) >= mostTails {
			return
		}
		if q.tails == nil {
			q.tails = make(map[job.RecordID]*statuspage.Tail)
		}
		t = &statuspage.Tail{}
		q.tails[*in.StepID] = t
	}
	for i, line := range in.Value {
		if in.StartLine == nil {
			t.Add([]byte(line))
			continue
		}
		t.AddAt(int(*in.StartLine)+i, []byte(line))
	}
}

// forgetTails drops the live lines of steps whose log is stored. The caller holds
// s.mu.
func (q *request) forgetTails() {
	records := q.plan.timelines[q.plan.timeline].records
	for id := range q.tails {
		if r := records[id]; r != nil && r.wire.Log != nil && value(r.wire.State) == job.Completed {
			delete(q.tails, id)
		}
	}
}

// endTails drops the live lines of a job that has ended; the last few whose logs are
// not stored keep theirs. The caller holds s.mu.
func (s *Server) endTails(q *request) {
	q.forgetTails()
	if len(q.tails) == 0 {
		return
	}
	if len(s.cutOff) == mostCutOff {
		s.cutOff[0].tails = nil
		s.cutOff = slices.Delete(s.cutOff, 0, 1)
	}
	s.cutOff = append(s.cutOff, q)
}
