package emulator_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// The transcript of §12, whole.
func TestAJobGoesThroughAsInTheTranscript(t *testing.T) {
	srv := emulatortest.New(t)
	id := srv.Queue(emulatortest.Script("echo hello"))
	p := online(t, srv, "build-01")
	p.take()
	p.mustRenew()
	p.runWhole("succeeded")
	p.want(204, "DELETE", pool+"/sessions/"+p.session, nil, bearer(p.agentToken))

	report, err := srv.Report(id)
	if err != nil {
		t.Fatal(err)
	}
	if report.Result != job.Succeeded || len(report.Records) != 2 {
		t.Fatalf("report = %+v, want two records and succeeded", report)
	}
	if diff := cmp.Diff([]string{"##[section]Starting: Step", "hello"}, report.Records[1].Log); diff != "" {
		t.Errorf("log of the step (-want +got):\n%s", diff)
	}
	if got := srv.Violations(); len(got) != 0 {
		t.Errorf("violations = %v, want none", got)
	}
	var calls []string
	for _, c := range srv.Calls(id) {
		calls = append(calls, c.Method+" "+c.Resource)
	}
	want := "DELETE messages, PATCH jobrequests, PATCH records, PATCH records, PATCH records, POST logs, POST logs, PATCH records, PATCH records, POST events"
	if got := strings.Join(calls, ", "); got != want {
		t.Errorf("calls = %s\nwant    %s", got, want)
	}
	st, _ := srv.Job(id)
	if st.State != emulator.Completed || st.Agent != "build-01" || st.StartedAt.IsZero() || st.FinishedAt.Before(st.QueuedAt.Time) {
		t.Errorf("status = %+v", st)
	}
}
