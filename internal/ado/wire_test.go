package ado_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/job"
)

func jobTime(t time.Time) job.Time { return job.At(t) }

// The bodies below stand in the protocol document, section by section.
func TestA3DocumentedAnswersAreRead(t *testing.T) {
	var agent ado.TaskAgent // §2.5
	read(t, `{ "id": 87, "name": "build-01", "version": "4.259.0", "enabled": true, "status": "offline", "provisioningState": "Provisioned",
		"maxParallelism": 1, "createdOn": "2026-08-22T09:00:00.1234567Z", "properties": {},
		"authorization": { "clientId": "b2f8", "authorizationUrl": "https://vstoken/x", "publicKey": { "exponent": "AQAB", "modulus": "w1pX" } } }`, &agent)
	if agent.ID != 87 || agent.Status != ado.Offline || agent.Authorization.ClientID != "b2f8" || string(agent.Authorization.PublicKey.Exponent) != "\x01\x00\x01" || agent.CreatedOn.Nanosecond() != 123456700 {
		t.Errorf("agent = %+v", agent)
	}
	var session ado.AgentSession // §4.1
	read(t, `{ "sessionId": "0d0b", "ownerName": "h", "agent": {"id": 87, "status": 2}, "encryptionKey": { "encrypted": true, "value": "AAEC" }, "systemCapabilities": {} }`, &session)
	if session.SessionID != "0d0b" || session.Agent.Status != ado.Online || !session.EncryptionKey.Encrypted || len(session.EncryptionKey.Value) != 3 {
		t.Errorf("session = %+v", session)
	}
	var request ado.JobRequest // §11.2, and §1.7 on dates
	read(t, `{ "requestId": 9223372036854775807, "lockedUntil": "2026-08-22T09:20:31.4Z", "finishTime": "0001-01-01T00:00:00", "result": null, "jobId": "9e2c", "matchedAgents": [{"id": 87}] }`, &request)
	if request.RequestID != 9223372036854775807 || request.LockedUntil.IsZero() || !request.FinishTime.IsZero() || request.Result != "" {
		t.Errorf("request = %+v", request)
	}
	var pools ado.List[ado.Pool] // §2.1
	read(t, `{ "count": 1, "value": [ { "id": 12, "name": "linux-build", "poolType": "AUTOMATION", "isHosted": false, "unknown": {} } ] }`, &pools)
	if len(pools.Value) != 1 || pools.Value[0].ID != 12 || pools.Value[0].PoolType != ado.Automation {
		t.Errorf("pools = %+v", pools)
	}
}

func read(t *testing.T, text string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), into); err != nil {
		t.Fatalf("reading %s: %v", text, err)
	}
}

func TestA4DocumentedBodiesAreWritten(t *testing.T) {
	for _, c := range []struct {
		section string
		value   any
		want    string
	}{
		{"§7.1", ado.JobRequest{RequestID: 903}, `{"requestId":903}`},
		{"§7.5", ado.FeedLines{Count: 1, Value: []string{"a"}, StepID: "s", StartLine: 1}, `{"count":1,"value":["a"],"stepId":"s","startLine":1}`},
		{"§7.6", ado.Log{Path: ado.LogPath("7c1e")}, `{"path":"logs\\7c1e"}`},
		{"§7.10", ado.JobEvent{Name: "JobCompleted", JobID: "9e2c", RequestID: 903, Result: job.Succeeded}, `{"name":"JobCompleted","jobId":"9e2c","requestId":903,"result":"succeeded","agentShuttingDown":false}`},
		{"§1.7", ado.ListOf[int](), `{"count":0,"value":[]}`},
	} {
		got, err := json.Marshal(c.value)
		if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got):\n%s", c.section, err, diff)
		}
	}
}

// Protocol §1.3, A2: an id that the server does not announce is an error of its own,
// not a guess at a route.
func TestA2AResourceThatIsNotAnnouncedIsNamed(t *testing.T) {
	srv := newService(t, nil)
	// The base client keeps routes by address for the whole process, and a port
	// comes back in another test: the path keeps this address apart.
	client, err := ado.NewJobClient(&job.Message{JobID: "j", Resources: job.Resources{Endpoints: []job.Endpoint{{
		Name: "systemvssconnection", URL: srv.URL + "/without-events", Authorization: job.Authorization{Parameters: map[string]string{"accesstoken": "t"}},
	}}}}, options(t))
	if err != nil {
		t.Fatal(err)
	}
	saved := routes[ado.LocationPlanEvents]
	delete(routes, ado.LocationPlanEvents)
	defer func() { routes[ado.LocationPlanEvents] = saved }()
	if err := client.Complete(t.Context(), job.Succeeded, false); err == nil || !strings.Contains(err.Error(), string(ado.LocationPlanEvents)) {
		t.Errorf("Complete = %v, want an error that names the resource", err)
	}
}

// Protocol §1.1: the path is the server's, everything in front of it is what the
// administrator typed.
func TestTheServerMayNameAnotherPathOnly(t *testing.T) {
	for body, want := range map[string]string{
		`{}`:                   "https://typed:8443/tfs",
		`{"properties": null}`: "https://typed:8443/tfs",
		`{"properties": {"ServerUrl": {"$type": "System.String", "$value": "http://own/tfs/Other"}}}`: "https://typed:8443/tfs/Other",
		`{"properties": {"serverurl": "http://own/tfs/Bare"}}`:                                        "https://typed:8443/tfs/Bare",
		`{"properties": {"ServerUrl": {"$value": 5}}}`:                                                "https://typed:8443/tfs",
	} {
		var agent ado.TaskAgent
		read(t, body, &agent)
		if got := agent.ServerURL("https://typed:8443/tfs"); got != want {
			t.Errorf("%s: %s, want %s", body, got, want)
		}
	}
}
