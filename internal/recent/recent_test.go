package recent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/recent"
)

// counting is the reporter behind.
type counting struct {
	mu                          sync.Mutex
	records, lines, attachments int
}

func (c *counting) UpdateRecord(job.Record) { c.count(&c.records) }
func (c *counting) WriteLine(job.RecordID, []byte) {
	c.count(&c.lines)
}
func (c *counting) Attach(context.Context, job.RecordID, job.Attachment) { c.count(&c.attachments) }

func (c *counting) count(n *int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
}

const jobID = job.ID("9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e10")

func begin(l *recent.Jobs, request int) (*recent.Job, recent.Reporter, *counting) {
	j := l.Begin(&job.Message{JobID: jobID, RequestID: job.RequestID(request)}, "agent", "Default", "shop 7")
	behind := &counting{}
	return j, j.Before(behind), behind
}

func when(seconds int) *job.Time {
	t := job.At(time.Unix(int64(seconds), 0))
	return &t
}

func TestWhatIsReportedIsKeptAndPassedOn(t *testing.T) {
	l := recent.New()
	j, r, behind := begin(l, 903)
	r.UpdateRecord(job.Record{ID: jobID.Record(), Type: job.TypeJob, Name: "Build"})
	r.UpdateRecord(job.Record{ID: "b", Name: "Second", Order: 2, State: job.Pending})
	r.UpdateRecord(job.Record{ID: "a", Name: "First", Order: 1, State: job.InProgress, StartTime: when(10), CurrentOperation: "compiling", PercentComplete: 40})
	r.UpdateRecord(job.Record{ID: "below", Name: "Detail", Timeline: "t"})
	for i := range 3 {
		r.WriteLine("a", fmt.Appendf(nil, "line %d", i+1))
	}
	r.WriteLine(jobID.Record(), []byte("a line of the job"))
	content, err := json.Marshal(job.BuildReport{Step: "Docker1", Steps: 2, Cached: 1, Seconds: 2, Waterfall: []job.BuildStep{{Name: "RUN x", Start: 0.5, Seconds: 1.5, Reason: "why"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.Attach(t.Context(), "a", job.Attachment{Type: job.AttachmentBuild, Content: content})
	r.Attach(t.Context(), "a", job.Attachment{Type: job.AttachmentBuild, Content: []byte("no JSON")})
	r.Attach(t.Context(), "a", job.Attachment{Type: job.AttachmentSummary, Content: content})

	got, ok := l.Job("903")
	if !ok || got.Name != "Build" || got.State != "running" || !got.Open() || got.Pipeline != "shop 7" || got.Agent != "agent" || len(got.Steps) != 2 {
		t.Fatalf("the job is %+v", got)
	}
	if s := got.Steps[0]; s.Name != "First" || s.Operation != "compiling" || s.Percent != 40 || !s.HasLog || s.Started.Unix() != 10 {
		t.Errorf("the first step is %+v", s)
	}
	if len(got.Builds) != 1 || got.Builds[0].Rows[0].Took != 1500*time.Millisecond || got.Builds[0].Rows[0].Reason != "why" {
		t.Errorf("the builds are %+v", got.Builds)
	}
	log, ok := l.Log("903", "a", 0, 2)
	if !ok || string(bytes.Join(log.Lines, []byte(","))) != "line 2,line 3" || !log.Open || log.Total != 3 {
		t.Errorf("the log is %+v", log)
	}
	if _, ok := l.Log("903", string(jobID), 0, 2); ok {
		t.Error("the job's own record has a log")
	}
	r.UpdateRecord(job.Record{ID: "a", State: job.Completed, Result: job.Failed, FinishTime: when(12), ErrorCount: 1, Issues: []job.Issue{{Type: job.Error, Message: "no", Data: map[string]string{"x": "y"}}}})
	j.End(job.Failed)
	got, _ = l.Job(strings.ToUpper(string(jobID)))
	if s := got.Steps[0]; s.Operation != "" || s.Result != "failed" || s.Issues[0].Message != "no" || s.Finished.Unix() != 12 {
		t.Errorf("the first step ended as %+v", s)
	}
	if got.Open() || got.Result != "failed" || got.Finished.IsZero() {
		t.Errorf("the job ended as %+v", got)
	}
	if log, _ := l.Log("903", "a", 0, 2); log.Open {
		t.Error("more is expected of the log of a job that ended")
	}
	if diff := cmp.Diff([]int{5, 4, 3}, []int{behind.records, behind.lines, behind.attachments}); diff != "" {
		t.Errorf("passed on (-want +got):\n%s", diff)
	}
}

func TestOnlyTheLastJobHasLogs(t *testing.T) {
	l := recent.New()
	_, r, _ := begin(l, 1)
	r.UpdateRecord(job.Record{ID: "a", Name: "Step", State: job.Completed})
	r.WriteLine("a", []byte("what the next job must not read"))
	for i := 2; i <= 30; i++ {
		begin(l, i)
	}
	if all := l.All(); len(all) != 20 || all[0].ID != "30" {
		t.Errorf("%d jobs are kept, the newest is %+v", len(all), all[0])
	}
	_, r, _ = begin(l, 31)
	r.WriteLine("a", []byte("x"))
	begin(l, 32)
	if _, ok := l.Log("31", "a", 0, 10); ok {
		t.Error("the log of an earlier job is still there")
	}
	if j, ok := l.Job("31"); !ok || len(j.Notes) != 1 {
		t.Errorf("the earlier job says %+v", j)
	}
	r.WriteLine("a", []byte("late")) // of a job that is over
	if _, ok := l.Log("31", "b", 0, 10); ok {
		t.Error("there is a log that nobody wrote")
	}
	if j, _ := l.Job(string(jobID)); j.ID != "32" {
		t.Errorf("of the runs with one id, the last is %s", j.ID)
	}
}

func TestAHostileJobIsBounded(t *testing.T) {
	l := recent.New()
	_, r, _ := begin(l, 1)
	line := bytes.Repeat([]byte("x"), 1<<10)
	long := strings.Repeat("y", 1<<20)
	for i := range 3000 {
		id := job.RecordID(fmt.Sprint(i))
		r.UpdateRecord(job.Record{ID: id, Name: long, CurrentOperation: long, State: job.InProgress, Issues: []job.Issue{{Type: job.Error, Message: long}}, Variables: map[string]job.Variable{"v": {Value: "secret", IsSecret: true}}})
		for range 20 {
			r.WriteLine(id, line)
		}
		r.UpdateRecord(job.Record{ID: id, State: job.Completed, Result: job.Succeeded})
		r.Attach(t.Context(), id, job.Attachment{Type: job.AttachmentBuild, Content: []byte(`{"step":"x"}`)})
	}
	j, _ := l.Job("1")
	sum, logs := 0, 0
	for _, s := range j.Steps {
		if len(s.Name) > 3000 || len(s.Issues[0].Message) > 3000 {
			t.Fatalf("a step keeps %d and %d bytes", len(s.Name), len(s.Issues[0].Message))
		}
		if log, ok := l.Log("1", s.ID, 0, 1000); ok {
			logs++
			for _, line := range log.Lines {
				sum += len(line)
			}
		}
	}
	if len(j.Steps) > 1000 || len(j.Builds) > 50 || sum > 5<<20 || logs < 100 {
		t.Errorf("kept are %d steps, %d builds and %d bytes in %d logs", len(j.Steps), len(j.Builds), sum, logs)
	}
}

func TestNilKeepsNothing(t *testing.T) {
	var l *recent.Jobs
	j, r, behind := begin(l, 1)
	r.WriteLine("a", []byte("x"))
	j.End(job.Succeeded)
	if _, ok := l.Job("1"); ok || behind.lines != 1 || l.All() != nil {
		t.Error("a list that is off keeps something")
	}
	if _, ok := l.Log("1", "a", 0, 1); ok {
		t.Error("a list that is off has a log")
	}
}

func TestItIsAskedWhileTheJobRuns(t *testing.T) {
	l := recent.New()
	j, r, _ := begin(l, 1)
	var all sync.WaitGroup
	for step := range 3 {
		all.Go(func() {
			id := job.RecordID(fmt.Sprint(step))
			for i := range 2000 {
				r.WriteLine(id, fmt.Appendf(nil, "line %d", i))
				r.UpdateRecord(job.Record{ID: id, Name: "Step", PercentComplete: i % 100})
			}
		})
	}
	for range 100 {
		_, _ = l.Job("1")
		_, _ = l.Log("1", "2", 0, 100)
		_ = l.All()
	}
	all.Wait()
	j.End(job.Succeeded)
	if log, ok := l.Log("1", "2", 0, 1); !ok || log.Total != 2000 {
		t.Errorf("the log has %d lines, want 2000", log.Total)
	}
}

func BenchmarkWriteLine(b *testing.B) {
	_, r, _ := begin(recent.New(), 1)
	line := bytes.Repeat([]byte("a line of a log "), 6)
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		r.WriteLine("a", line)
	}
}
