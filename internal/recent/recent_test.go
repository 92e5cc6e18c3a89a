package recent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"runtime"
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
	waits                       bool
}

func (c *counting) UpdateRecord(job.Record) { c.count(&c.records) }
func (c *counting) WriteLine(job.RecordID, []byte) {
	c.count(&c.lines)
}
func (c *counting) Attach(context.Context, job.RecordID, job.Attachment) { c.count(&c.attachments) }

func (c *counting) Waits() bool { return c.waits }

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
	_, r, behind := begin(l, 903)
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
	l.End(jobID, job.Failed)
	l.End(jobID, job.Canceled) // the next run, which never began
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

// Whoever asks whether a step waits for its report asks the reporter that it was given.
func TestAReportThatWaitsIsSeenThroughIt(t *testing.T) {
	_, r, behind := begin(recent.New(), 1)
	for _, waits := range []bool{true, false} {
		if behind.waits = waits; r.Waits() != waits {
			t.Errorf("it says %t of a report that waits: %t", r.Waits(), waits)
		}
	}
}

func TestOnlyTheLastJobHasWhatItPrinted(t *testing.T) {
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
	report := []byte(`{"step":"Docker1","steps":2,"cached":1,"reasons":["a file changed"],"waterfall":[{"name":"RUN secretly"}]}`)
	issue := job.Record{ID: "a", Name: "Step", State: job.InProgress, CurrentOperation: "secretly", ErrorCount: 1, Issues: []job.Issue{{Type: job.Error, Message: "line 7"}}}
	r.UpdateRecord(issue)
	r.WriteLine("a", []byte("x"))
	r.Attach(t.Context(), "a", job.Attachment{Type: job.AttachmentBuild, Content: report})
	begin(l, 32)
	// Late, of a job that is over.
	r.WriteLine("a", []byte("late"))
	r.UpdateRecord(issue)
	r.Attach(t.Context(), "a", job.Attachment{Type: job.AttachmentBuild, Content: report})
	for _, step := range []string{"a", "b"} {
		if _, ok := l.Log("31", step, 0, 10); ok {
			t.Errorf("there is a log of step %s of an earlier job", step)
		}
	}
	got, ok := l.Job("31")
	if !ok || len(got.Notes) != 1 || len(got.Steps) != 1 || len(got.Builds) != 1 {
		t.Fatalf("the earlier job is %+v", got)
	}
	if s := got.Steps[0]; s.Name != "Step" || s.Errors != 1 || len(s.Issues) > 0 || s.Operation != "" {
		t.Errorf("its step is %+v", s)
	}
	if b := got.Builds[0]; b.Step != "Docker1" || b.Steps != 2 || b.Cached != 1 || len(b.Rows)+len(b.Reasons) > 0 {
		t.Errorf("its build is %+v", b)
	}
	if j, _ := l.Job(string(jobID)); j.ID != "32" {
		t.Errorf("of the runs with one id, the last is %s", j.ID)
	}
}

// live is how many bytes are in use.
func live() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// largeReport is a report of a build with as many texts as size allows.
func largeReport(t *testing.T, size int) []byte {
	t.Helper()
	part := strings.Repeat("z", size/8)
	report := job.BuildReport{Step: part, Digest: part, Platforms: []string{part}, Reasons: []string{part}, Waterfall: []job.BuildStep{{Name: part, Reason: part}}}
	for range size / 64 {
		report.Platforms, report.Reasons = append(report.Platforms, "a"), append(report.Reasons, "a")
	}
	content, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestAHostileJobIsBounded(t *testing.T) {
	l := recent.New()
	line := bytes.Repeat([]byte("x"), 1<<10)
	long := strings.Repeat("y", 1<<20)
	reports := [][]byte{largeReport(t, 200<<10), []byte(`{"step":"x"}`), largeReport(t, 8<<20)}
	before := live()
	_, r, _ := begin(l, 1)
	for i := range 1200 {
		id := job.RecordID(fmt.Sprint(i))
		var issues []job.Issue
		for range 2 * job.MaxIssues {
			issues = append(issues, job.Issue{Type: job.Error, Message: long})
		}
		r.UpdateRecord(job.Record{
			ID: id, Name: long, RefName: long, ResultCode: fmt.Sprint(long[:64<<10], i), CurrentOperation: long, State: job.InProgress, Issues: issues,
			Variables: map[string]job.Variable{"v": {Value: "secret", IsSecret: true}},
		})
		for range 20 {
			r.WriteLine(id, line)
		}
		r.UpdateRecord(job.Record{ID: id, State: job.Completed, Result: job.Succeeded})
		if i < 100 {
			r.Attach(t.Context(), id, job.Attachment{Type: job.AttachmentBuild, Content: reports[i%len(reports)]})
		}
	}
	if kept := live() - before; kept > 16<<20 {
		t.Errorf("a job keeps %d bytes", kept)
	}
	j, _ := l.Job("1")
	sum, logs := 0, 0
	for _, s := range j.Steps {
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
	if page := fmt.Sprint(j); len(page) > 3<<20 || len(j.Notes) != 1 || !strings.Contains(j.Notes[0], "Not all") {
		t.Errorf("%d bytes are shown, and the job says %q", len(page), j.Notes)
	}
	begin(l, 2)
	if kept := live() - before; kept > 2<<20 {
		t.Errorf("the job before keeps %d bytes", kept)
	}
	runtime.KeepAlive(r)
}

// Whatever a job attaches, little of it is kept.
func FuzzReportsOfBuilds(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "[]", `{"step":7}`, `{"step":"a","seconds":1e300,"steps":-1}`, `{"platforms":["a",null],"reasons":[""],"waterfall":[{},{"name":"x","start":-1}]}`,
		`{"waterfall":[` + strings.Repeat("{},", 1000) + `{}]}`, `{"digest":"` + strings.Repeat("é", 600) + `"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		l := recent.New()
		_, r, _ := begin(l, 1)
		for range 60 {
			r.Attach(t.Context(), "a", job.Attachment{Type: job.AttachmentBuild, Content: content})
		}
		j, _ := l.Job("1")
		if len(j.Builds) > 50 || len(fmt.Sprint(j)) > 3<<20 {
			t.Errorf("%d builds are kept, %d bytes", len(j.Builds), len(fmt.Sprint(j)))
		}
	})
}

func TestNilKeepsNothing(t *testing.T) {
	var l *recent.Jobs
	_, r, behind := begin(l, 1)
	r.WriteLine("a", []byte("x"))
	l.End(jobID, job.Succeeded)
	if _, ok := l.Job("1"); ok || behind.lines != 1 || l.All() != nil {
		t.Error("a list that is off keeps something")
	}
	if _, ok := l.Log("1", "a", 0, 1); ok {
		t.Error("a list that is off has a log")
	}
}

func TestItIsAskedWhileTheJobRuns(t *testing.T) {
	l := recent.New()
	_, r, _ := begin(l, 1)
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
	l.End(jobID, job.Succeeded)
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
