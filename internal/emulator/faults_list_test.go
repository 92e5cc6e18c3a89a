package emulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

// statuses makes n calls and returns how each was answered.
func (p *peer) statuses(n int) []int {
	p.t.Helper()
	var out []int
	for range n {
		out = append(out, p.do("GET", connectionData, nil, p.pat()).status)
	}
	return out
}

func TestFaultsCountTheirCalls(t *testing.T) {
	for name, c := range map[string]struct {
		fault string
		want  []int
	}{
		"until it is removed":     {`{"match":"","kind":"status","value":503,"count":0}`, []int{503, 503, 503, 503, 503, 503, 503}},
		"two calls":               {`{"kind":"status","value":503,"count":2}`, []int{503, 503, 200, 200, 200, 200, 200}},
		"each third call":         {`{"kind":"status","value":503,"every":3}`, []int{200, 200, 503, 200, 200, 503, 200}},
		"each second call, twice": {`{"kind":"status","value":503,"every":2,"count":2}`, []int{200, 503, 200, 503, 200, 200, 200}},
		"each call":               {`{"match":"* .*","kind":"status","value":503,"every":1,"count":1}`, []int{503, 200, 200, 200, 200, 200, 200}},
		"the method in any case":  {`{"match":"get connection","kind":"status","value":503,"count":1}`, []int{503, 200, 200, 200, 200, 200, 200}},
		"another method":          {`{"match":"POST connection","kind":"status","value":503}`, []int{200, 200, 200, 200, 200, 200, 200}},
		"another path":            {`{"match":"GET ^/connectionData","kind":"status","value":503}`, []int{200, 200, 200, 200, 200, 200, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			srv := emulatortest.New(t)
			p := newPeer(t, srv, "a")
			id := p.fault(c.fault)
			got := p.statuses(len(c.want))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			hits := 0
			for _, status := range got {
				if status == 503 {
					hits++
				}
			}
			if srv.Hits(id) != hits {
				t.Errorf("hits = %d, want %d", srv.Hits(id), hits)
			}
		})
	}
}

func TestFaultsAreTriedInTheirOrder(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	srv.Fail(emulatortest.Status("", 503, 2))
	srv.Fail(emulatortest.Status("", 429, 1))
	header := emulator.FaultAnswer{Headers: map[string]string{"X-RateLimit-Remaining": "0"}}
	also := srv.Fail(emulator.Fault{Kind: emulator.FaultStatus, Answer: header, Count: 1})
	srv.Fail(emulatortest.Status("", 500, 1))
	if diff := cmp.Diff([]int{503, 503, 429}, p.statuses(3)); diff != "" {
		t.Errorf("answers (-want +got):\n%s", diff)
	}
	if srv.Hits(also) != 0 {
		t.Error("a fault was tried though an earlier one decided the answer")
	}
	if a := p.do("GET", connectionData, nil, p.pat()); a.status != 500 || a.header.Get("X-RateLimit-Remaining") != "0" {
		t.Errorf("a call that two faults hit = %d %v, want 500 with the header of the first", a.status, a.header)
	}
	if diff := cmp.Diff([]int{200}, p.statuses(1)); diff != "" {
		t.Errorf("answers when all are used up (-want +got):\n%s", diff)
	}
}

func TestFaultsAreListedAndRemoved(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	one := p.fault(`{"match":"GET .","kind":"status","value":{"code":503,"retryAfter":"2s","typeKey":"K","headers":{"A":"b"},"after":true},"count":3,"every":2}`)
	two := p.fault(`{"match":"POST .","kind":"delay","value":"1500ms"}`)
	p.fault(`{"kind":"drop","match":"PUT x","value":null}`)
	p.statuses(2)
	list := func() []map[string]any {
		t.Helper()
		var out []map[string]any
		p.want(200, "GET", faults, nil).into(t, &out)
		return out
	}
	want := []map[string]any{
		{"id": 1.0, "match": "GET .", "kind": "status", "count": 3.0, "every": 2.0, "hits": 1.0, "value": map[string]any{
			"code": 503.0, "retryAfter": "2s", "typeKey": "K", "headers": map[string]any{"A": "b"}, "after": true,
		}},
		{"id": 2.0, "match": "POST .", "kind": "delay", "value": "1.5s", "count": 0.0, "every": 0.0, "hits": 0.0},
		{"id": 3.0, "match": "PUT x", "kind": "drop", "value": nil, "count": 0.0, "every": 0.0, "hits": 0.0},
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	p.want(204, "DELETE", fmt.Sprintf("%s/%d", faults, one), nil)
	p.want(404, "DELETE", fmt.Sprintf("%s/%d", faults, one), nil)
	p.want(404, "DELETE", faults+"/x", nil)
	p.want(405, "PUT", faults, "{}")
	p.want(405, "GET", faults+"/1", nil)
	if all := srv.Faults(); len(all) != 2 || all[0].ID != two || all[0].For != 1500*time.Millisecond {
		t.Errorf("faults = %+v, want the other two", all)
	}
	p.want(204, "DELETE", faults, nil)
	if got := list(); len(got) != 0 {
		t.Errorf("faults after all were removed = %v", got)
	}
	if diff := cmp.Diff([]int{200, 200, 200}, p.statuses(3)); diff != "" {
		t.Errorf("answers without faults (-want +got):\n%s", diff)
	}
}

// Whoever made the faults must be able to look at them and to remove them.
func TestControlCallsAreNeverHit(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	p.fault(`{"kind":"drop"}`)
	p.want(200, "GET", control, nil)
	p.want(200, "GET", faults, nil)
	p.want(204, "DELETE", faults, nil)
	p.want(200, "GET", connectionData, nil, p.pat())
}

func TestBadFaultsAreRefusedByMember(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	for body, members := range map[string][]string{
		``:                                       {"the body"},
		`[]`:                                     {"the body"},
		`{"kind":"drop"} {}`:                     {"the body"},
		`{}`:                                     {"kind"},
		`null`:                                   {"kind"},
		`{"kind":"explode"}`:                     {"kind"},
		`{"kind":7}`:                             {"kind"},
		`{"kind":"drop","cuont":1}`:              {"cuont"},
		`{"kind":"drop","match":"GET"}`:          {"match"},
		`{"kind":"drop","match":"/_apis"}`:       {"match"},
		`{"kind":"drop","match":"GET ("}`:        {"match"},
		`{"kind":"drop","match":"G-T x"}`:        {"match"},
		`{"kind":"drop","match":[]}`:             {"match"},
		`{"kind":"drop","count":-1}`:             {"count"},
		`{"kind":"drop","count":"1"}`:            {"count"},
		`{"kind":"drop","count":1e99}`:           {"count"},
		`{"kind":"drop","every":-1}`:             {"every"},
		`{"kind":"drop","value":"2s"}`:           {"value"},
		`{"kind":"delay"}`:                       {"value"},
		`{"kind":"delay","value":2}`:             {"value"},
		`{"kind":"delay","value":"2"}`:           {"value"},
		`{"kind":"delay","value":"-2s"}`:         {"value"},
		`{"kind":"delay","value":"25h"}`:         {"value"},
		`{"kind":"clock-skew","value":"0s"}`:     {"value"},
		`{"kind":"clock-skew"}`:                  {"value"},
		`{"kind":"status"}`:                      {"value"},
		`{"kind":"status","value":null}`:         {"value"},
		`{"kind":"status","value":"503"}`:        {"value"},
		`{"kind":"status","value":0}`:            {"value"},
		`{"kind":"status","value":[]}`:           {"value"},
		`{"kind":"status","value":{}}`:           {"value.code"},
		`{"kind":"status","value":100}`:          {"value.code"},
		`{"kind":"status","value":600}`:          {"value.code"},
		`{"kind":"status","value":{"cod":5}}`:    {"value.cod"},
		`{"kind":"status","value":{"code":"5"}}`: {"value.code"},
		`{"kind":"status","value":{"after":true,"headers":{"A":"b"}}}`:                                {"value.code"},
		`{"kind":"status","value":{"code":204,"body":"x"}}`:                                           {"value.body"},
		`{"kind":"status","value":{"code":503,"retryAfter":"soon"}}`:                                  {"value.retryAfter"},
		`{"kind":"status","value":{"code":503,"retryAfter":"1500ms"}}`:                                {"value.retryAfter"},
		`{"kind":"status","value":{"code":503,"retryAfter":2}}`:                                       {"value.retryAfter"},
		`{"kind":"status","value":{"code":503,"contentType":"a/b"}}`:                                  {"value.contentType"},
		`{"kind":"status","value":{"code":503,"body":"","contentType":"a\nb"}}`:                       {"value.contentType"},
		`{"kind":"status","value":{"code":503,"headers":{"A b":"c"}}}`:                                {"value.headers"},
		`{"kind":"status","value":{"code":503,"headers":{"A":"b\r\nC: d"}}}`:                          {"value.headers"},
		`{"kind":"status","value":{"code":503,"headers":{"A":1}}}`:                                    {"value.headers"},
		`{"match":"x","kind":"status","value":{"code":1,"contentType":"a/b"},"count":-1}`:             {"match", "value.code", "value.contentType", "count"},
		`{"kind":"drop","match":"GET ` + strings.Repeat("(", 5000) + strings.Repeat(")", 5000) + `"}`: {"match"},
	} {
		a := p.do("POST", faults, body)
		var out struct{ Errors []struct{ Message string } }
		if a.status != 400 || json.Unmarshal(a.body, &out) != nil || len(out.Errors) != len(members) {
			t.Errorf("%.200s = %d %.300s, want 400 with %d errors", body, a.status, a.body, len(members))
			continue
		}
		for _, member := range members {
			if !strings.Contains(string(a.body), `"message":"`+member+": ") {
				t.Errorf("%.200s = %.300s, want a message that begins with %q", body, a.body, member)
			}
		}
	}
	p.want(413, "POST", faults, strings.Repeat(" ", 1<<20+1))
	if got := srv.Faults(); len(got) != 0 {
		t.Errorf("faults = %+v, want none", got)
	}
}

// A list without an end would be compared with every call.
func TestThereAreOnlySoManyFaults(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	srv.Fail(emulatortest.Status("", 503, 1))
	for range emulator.MaxFaults - 1 {
		srv.Fail(emulator.Fault{Match: "GET nowhere", Kind: emulator.FaultDrop})
	}
	if a := p.do("POST", faults, `{"kind":"drop"}`); a.status != 400 || !strings.Contains(string(a.body), "remove some") {
		t.Errorf("one fault too many = %d %s, want 400 that says what to do", a.status, a.body)
	}
	p.statuses(1) // uses the first one up, which makes room
	p.fault(`{"match":"GET nowhere","kind":"drop"}`)
	if _, err := srv.Server.Fail(emulator.Fault{Kind: "explode"}); err == nil || !strings.Contains(err.Error(), "kind: ") {
		t.Errorf("Fail = %v, want an error that names the kind", err)
	}
}

func TestCallsThatWereHitAreCountedForTheirJob(t *testing.T) {
	srv, p, id := taken(t)
	srv.Fail(emulatortest.Status("GET /messages$", 503, 1))
	p.want(503, "GET", p.pollPath(), nil, bearer(p.agentToken))
	for _, kind := range []emulator.FaultKind{emulator.FaultDrop, emulator.FaultReset} {
		srv.Fail(emulator.Fault{Match: "PATCH /jobrequests/", Kind: kind, Count: 1})
		_ = p.broken("PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken))
	}
	srv.Fail(emulator.Fault{Match: "PATCH /records$", Kind: emulator.FaultDelay, For: time.Millisecond, Count: 1})
	srv.Fail(emulatortest.Status("PATCH /records$", 500, 1))
	p.patch(p.jobRecord("inProgress", ""))
	srv.Fail(emulatortest.Status("OPTIONS ", 500, 1))
	p.want(500, "OPTIONS", "/_apis", nil, bearer(p.jobToken))
	var got []string
	for _, c := range srv.Calls(id)[1:] { // the first deleted the message
		got = append(got, fmt.Sprintf("%s %s %d %s", c.Method, c.Resource, c.Status, c.Note))
	}
	want := []string{
		"GET messages 503 fault status", "PATCH jobrequests 0 fault drop", "PATCH jobrequests 0 renew; fault reset",
		"PATCH records 500 fault delay, status", "OPTIONS  500 fault status",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// The race detector watches faults come and go while calls run.
func TestFaultsMayComeAndGoWhileCallsRun(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 0 })
	p := online(t, srv, "a")
	var callers, makers sync.WaitGroup
	stop := make(chan struct{})
	for _, kind := range emulator.FaultKinds {
		f := emulator.Fault{Kind: kind, Every: 2, For: time.Millisecond, Answer: emulator.FaultAnswer{Code: 503}}
		makers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				id := srv.Fail(f)
				srv.Faults()
				srv.HealOne(id)
			}
		})
	}
	for range 4 {
		callers.Go(func() {
			for range 50 {
				if a, err := p.try(t.Context(), http.MethodGet, p.pollPath(), nil, bearer(p.agentToken)); err == nil && a.status == 500 {
					t.Errorf("poll = %d %s", a.status, a.body)
				}
			}
		})
	}
	callers.Wait()
	close(stop)
	makers.Wait()
	srv.Heal()
}
