package agent

import (
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

func TestOnlyAnAgentOfTheFleetThatIsOfflineForLongAndIdleGoes(t *testing.T) {
	now := time.Date(2026, 11, 25, 20, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) job.Time { return job.At(now.Add(-d)) }
	for _, test := range []struct {
		name   string
		change func(*ado.TaskAgent)
		want   string
	}{
		{"one of that kind", func(*ado.TaskAgent) {}, ""},
		{"one that never had a session", func(a *ado.TaskAgent) { a.StatusChangedOn, a.CreatedOn = job.Time{}, ago(time.Hour) }, ""},
		{"one that is disabled", func(a *ado.TaskAgent) { a.Enabled = new(bool) }, ""},
		{"a label in another case", func(a *ado.TaskAgent) { a.SystemCapabilities = map[string]string{"Dockless.Fleet": "blue"} }, ""},
		{"no longer a placeholder", func(a *ado.TaskAgent) { a.SystemCapabilities["dockless.placeholder"] = "False" }, ""},
		{"one without our label", func(a *ado.TaskAgent) { a.SystemCapabilities = map[string]string{"dockless": "1"} }, "it is none of ours"},
		{"one whose capabilities are not shown", func(a *ado.TaskAgent) { a.SystemCapabilities = nil }, "it is none of ours"},
		{"one with our label among user capabilities only", func(a *ado.TaskAgent) { a.UserCapabilities, a.SystemCapabilities = a.SystemCapabilities, nil }, "it is none of ours"},
		{"one of another fleet", func(a *ado.TaskAgent) { a.SystemCapabilities["dockless.fleet"] = "red" }, "it belongs to another fleet"},
		{"a placeholder", func(a *ado.TaskAgent) { a.SystemCapabilities["dockless.placeholder"] = "true" }, "it is a placeholder"},
		{"one that is online", func(a *ado.TaskAgent) { a.Status = ado.Online }, "it is not offline"},
		{"one of a state unknown here", func(a *ado.TaskAgent) { a.Status = "" }, "it is not offline"},
		{"one with a request", func(a *ado.TaskAgent) { a.AssignedRequest = &ado.JobRequest{RequestID: 41} }, "it has request 41"},
		{"one that went offline just now", func(a *ado.TaskAgent) { a.StatusChangedOn = ago(9 * time.Minute) }, "it has not been offline for long enough"},
		{"one that was made just now", func(a *ado.TaskAgent) { a.StatusChangedOn, a.CreatedOn = job.Time{}, ago(0) }, "it has not been offline for long enough"},
		{"one of the future", func(a *ado.TaskAgent) { a.StatusChangedOn = ago(-time.Hour) }, "it has not been offline for long enough"},
		{"one without a date", func(a *ado.TaskAgent) { a.StatusChangedOn, a.CreatedOn = job.Time{}, job.Time{} }, "the server does not say since when it is offline"},
	} {
		t.Run(test.name, func(t *testing.T) {
			agent := ado.TaskAgent{
				ID: 7, Name: "x", Status: ado.Offline, CreatedOn: ago(48 * time.Hour), StatusChangedOn: ago(10 * time.Minute),
				SystemCapabilities: map[string]string{"dockless.fleet": "blue"},
			}
			test.change(&agent)
			a := &Agent{config: Config{Fleet: "blue"}}
			if got := a.whyKept(agent, DefaultOfflineFor, now); got != test.want {
				t.Errorf("whyKept = %q, want %q", got, test.want)
			}
		})
	}
}
