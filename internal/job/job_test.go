package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestNoDateIsReadInEveryFormTheServiceUses(t *testing.T) {
	for _, text := range []string{`null`, `""`, `"0001-01-01T00:00:00"`, `"0001-01-01T00:00:00Z"`} {
		var got job.Time
		if err := json.Unmarshal([]byte(text), &got); err != nil || !got.IsZero() {
			t.Errorf("reading %s = %v, %v, want the zero time", text, got, err)
		}
	}
	if out, err := json.Marshal(job.Time{}); err != nil || string(out) != "null" {
		t.Errorf("writing no date = %s, %v, want null", out, err)
	}
}

func TestDatesKeepSevenDigitsAndBecomeUTC(t *testing.T) {
	var got job.Time
	if err := json.Unmarshal([]byte(`"2026-08-22T11:11:07.402193+02:00"`), &got); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(got)
	if want := `"2026-08-22T09:11:07.4021930Z"`; err != nil || string(out) != want {
		t.Errorf("written again = %s, %v, want %s", out, err, want)
	}
}

func TestTimeSpans(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"00:05:00": 5 * time.Minute, "1.02:03:04": 26*time.Hour + 3*time.Minute + 4*time.Second,
		"00:00:01.5000000": 1500 * time.Millisecond, "-00:00:30": -30 * time.Second,
	} {
		if got, err := job.ParseSpan(text); err != nil || got != want {
			t.Errorf("ParseSpan(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "00:60:00", "24:00:00", "1:2", "a:b:c", "00:00:1e1", "00:00:60"} {
		if got, err := job.ParseSpan(text); err == nil {
			t.Errorf("ParseSpan(%q) = %v, want an error", text, got)
		}
	}
}

func TestEnumsAreReadInAnyCaseAndAsNumbers(t *testing.T) {
	var got struct {
		Result job.Result
		State  job.State
		Issue  job.IssueType
	}
	if err := json.Unmarshal([]byte(`{"result":"SUCCEEDEDWITHISSUES","state":1,"issue":2}`), &got); err != nil {
		t.Fatal(err)
	}
	if got.Result != job.SucceededWithIssues || got.State != job.InProgress || got.Issue != job.Warning {
		t.Errorf("read %+v, want succeededWithIssues, inProgress, warning", got)
	}
	if err := json.Unmarshal([]byte(`{"result":"splendid"}`), &got); err == nil {
		t.Error("an unknown result was accepted")
	}
}

// Protocol §7.9: no current → new; current worse than failed → keep; new >=
// current → new; otherwise keep.
func TestResultsMergeAsTheProtocolSays(t *testing.T) {
	for _, c := range []struct{ current, next, want job.Result }{
		{"", job.Failed, job.Failed},
		{job.Failed, job.Succeeded, job.Failed},
		{job.Succeeded, job.SucceededWithIssues, job.SucceededWithIssues},
		{job.Canceled, job.Failed, job.Canceled},
		{job.Skipped, job.Abandoned, job.Skipped},
		{job.Failed, job.Canceled, job.Canceled},
		{job.Failed, "", job.Failed},
	} {
		if got := c.current.Merge(c.next); got != c.want {
			t.Errorf("%q.Merge(%q) = %q, want %q", c.current, c.next, got, c.want)
		}
	}
}

func TestRecordsMergeMemberByMember(t *testing.T) {
	start := job.At(time.Unix(10, 0))
	base := job.Record{
		ID: "a", Name: "Build", State: job.InProgress, StartTime: &start, ErrorCount: 2,
		Variables: map[string]job.Variable{"x": {Value: "1"}},
	}
	got := base.Merge(job.Record{ID: "a", State: job.Completed, Result: job.Failed, Variables: map[string]job.Variable{"y": {Value: "2"}}})
	want := base
	want.State, want.Result = job.Completed, job.Failed
	want.Variables = map[string]job.Variable{"x": {Value: "1"}, "y": {Value: "2"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("merged record (-want +got):\n%s", diff)
	}
	if len(base.Variables) != 1 {
		t.Error("merging changed the record it started from")
	}
}

func TestAMessageThatCannotBeReadDoesNotShowItsValues(t *testing.T) {
	_, err := job.Decode([]byte(`{"jobId":"a","variables":{"password":{"value":{"hunter2":1}}}}`))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Decode error = %v, want one without the value", err)
	}
}

func TestAMessageNamesWhatIsMissing(t *testing.T) {
	_, err := job.Decode([]byte(`{"steps":[{"name":"x"}]}`))
	for _, want := range []string{"jobId", "plan.planId", "timeline.id", "steps[0].id"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Decode error = %v, want it to name %s", err, want)
		}
	}
}

func TestAMessageWithAByteOrderMarkIsRead(t *testing.T) {
	m, err := job.Decode([]byte("\xef\xbb\xbf" + `{"jobId":"J","plan":{"planId":"P","version":9},"timeline":{"id":"P"},"jobContainer":null,
		"resources":{"endpoints":[{"name":"systemVssConnection","url":"http://x/","authorization":{"scheme":"OAuth","parameters":{"accesstoken":"t"}}}]},
		"steps":[{"type":1,"id":"S","reference":{"version":"2.1.3"}}],"unknown":[1]}`))
	if err != nil {
		t.Fatal(err)
	}
	if url, token := m.JobToken(); url != "http://x/" || token != "t" {
		t.Errorf("JobToken() = %q, %q, want http://x/ and t", url, token)
	}
	if got := m.Steps[0].Reference.Major(); got != "2" || m.Steps[0].Type != "task" || !m.Plan.CompletedByEvent() {
		t.Errorf("step read as %+v, plan as %+v", m.Steps[0], m.Plan)
	}
}

func TestStopOfTellsWhoEndedTheJob(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	if got := job.StopOf(ctx); got != nil {
		t.Errorf("StopOf(alive) = %v, want nil", got)
	}
	want := &job.Stop{Reason: job.StopCanceled, Message: "canceled by a person"}
	cancel(want)
	if got := job.StopOf(ctx); got != want {
		t.Errorf("StopOf = %v, want %v", got, want)
	}
	ctx, cancel = context.WithCancelCause(t.Context())
	cancel(errors.New("power"))
	if got := job.StopOf(ctx); got.Reason != job.StopShutdown || got.Message != "power" {
		t.Errorf("StopOf = %+v, want a shutdown because of power", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"jobId":"J","plan":{"planId":"P"},"timeline":{"id":"P"},"steps":[{"id":"S"}]}`))
	f.Add([]byte(`{"variables":{"a":null},"resources":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := job.Decode(body)
		if err == nil && (m.JobID == "" || m.Plan.PlanID == "" || m.Timeline.ID == "") {
			t.Errorf("Decode accepted a message without ids: %+v", m)
		}
	})
}

func FuzzParseSpan(f *testing.F) {
	f.Add("1.02:03:04.5")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := job.ParseSpan(text)
		if err != nil {
			return
		}
		whole := d.Truncate(time.Second)
		if back, err := job.ParseSpan(job.FormatSpan(whole)); err != nil || back != whole {
			t.Errorf("FormatSpan(%v) read back = %v, %v", whole, back, err)
		}
	})
}
