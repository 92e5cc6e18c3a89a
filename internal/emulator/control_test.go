package emulator_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

const control = "/_emulator/jobs"

// A message is queued as it was captured from a server, again and again.
func TestACapturedMessageIsQueuedAsJSON(t *testing.T) {
	sample, err := os.ReadFile(filepath.Join("testdata", "message.json"))
	if err != nil {
		t.Fatal(err)
	}
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	seen := make(map[string]bool)
	for i := range 2 {
		var run emulator.Run
		p.want(200, "POST", control, string(sample), header{"Content-Type", "application/json"}).into(t, &run)
		if len(run.Jobs) != 1 || run.Jobs[0].Name != "pack" || seen[string(run.Jobs[0].ID)] || seen[string(run.Jobs[0].PlanID)] {
			t.Fatalf("run = %+v, want one job with ids of its own", run)
		}
		seen[string(run.Jobs[0].ID)], seen[string(run.Jobs[0].PlanID)] = true, true
		if i == 0 && (run.Jobs[0].ID != "f0c1d2e3-1a2b-5c3d-8e4f-5a6b7c8d9e10" || run.Run != 640) {
			t.Errorf("run = %+v, want the message's own ids the first time", run)
		}
		p.take()
		checkDelivered(t, p, srv.URL)
		p.mustRenew()
		p.runWhole("succeeded")
	}
}

// checkDelivered compares what reached the agent with what a server fills in (§6).
func checkDelivered(t *testing.T, p *peer, address string) {
	t.Helper()
	text, err := json.Marshal(p.message)
	if err != nil {
		t.Fatal(err)
	}
	m, err := job.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	url, token := m.JobToken()
	if url != address+"/" || strings.Contains(token, "job.token") || int64(m.RequestID) != p.request || m.LockedUntil.IsZero() || m.MessageType != "PipelineAgentJobRequest" {
		t.Errorf("system connection %s, request %d until %s, type %s", url, m.RequestID, m.LockedUntil, m.MessageType)
	}
	for name, want := range map[string]string{
		"system.collectionUri": address + "/", "system.taskDefinitionsUri": address + "/", "system.accessToken": token, "crate": "small",
		"build.buildNumber": "640-main", "system.teamProject": "Harbour",
	} {
		if v, _ := job.Lookup(m.Variables, name); v.Value != want {
			t.Errorf("variable %s = %q, want %q", name, v.Value, want)
		}
	}
	if v, _ := job.Lookup(m.Variables, "system.accessToken"); !v.IsSecret {
		t.Error("system.accessToken is no secret")
	}
	if _, ok := p.message["unknownMember"]; !ok {
		t.Error("a member that the emulator does not know was lost")
	}
	if len(m.Resources.Endpoints) != 2 || len(m.Steps) != 3 {
		t.Errorf("%d endpoints and %d steps, want 2 and 3", len(m.Resources.Endpoints), len(m.Steps))
	}
}

// The calls of design §9 with the shapes it names.
func TestControlCalls(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	id := string(srv.Queue(emulatortest.Script("true")))
	var st map[string]any
	p.want(200, "GET", control+"/"+id, nil).into(t, &st)
	if st["state"] != "assigned" || st["queuedAt"] == nil || st["startedAt"] != nil || st["result"] != nil {
		t.Errorf("status = %v", st)
	}
	p.running()
	step := p.stepIDs()[0]
	p.mustPatch(p.step(step, "inProgress", ""))

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+control+"/"+id+"/feed?follow=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := p.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for i, text := range []string{"first", "second"} {
		p.want(204, "POST", p.recordsPath()+"/"+p.job+"/feed", map[string]any{"count": 1, "value": []string{text}, "stepId": step, "startLine": i + 1}, bearer(p.jobToken))
		if !lines.Scan() || lines.Text() != text {
			t.Fatalf("followed line = %q, %v, want %q", lines.Text(), lines.Err(), text)
		}
	}
	done := p.step(step, "completed", "succeeded")
	done["log"] = p.upload(step, "2026-08-22T09:11:07.4021930Z first\n")
	p.mustPatch(done, p.jobRecord("completed", "succeeded"))
	if a := p.complete("succeeded"); a.status != 204 {
		t.Fatalf("completion = %d %s", a.status, a.body)
	}
	if lines.Scan() {
		t.Errorf("after the end the stream goes on with %q", lines.Text())
	}
	a := p.want(200, "GET", control+"/"+id+"/feed", nil, header{"Accept", "application/x-ndjson"})
	var line emulator.FeedLine
	first, _, _ := strings.Cut(string(a.body), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil || line.Text != "first" || string(line.Step) != step {
		t.Errorf("first feed line = %s, %v", first, err)
	}
	var all []emulator.Status
	p.want(200, "GET", control, nil).into(t, &all)
	if len(all) != 1 || all[0].Result != job.Succeeded {
		t.Errorf("jobs = %+v", all)
	}
	// Jobs answer to the number of their request too.
	p.want(200, "GET", control+"/903/report", nil).into(t, &st)
	if st["result"] != "succeeded" || len(st["records"].([]any)) != 2 { //nolint:forcetypeassert // the test may panic
		t.Errorf("report = %v", st)
	}
	p.want(404, "GET", control+"/4711", nil)
}
