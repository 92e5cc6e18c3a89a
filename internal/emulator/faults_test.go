package emulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

const (
	faults         = "/_emulator/faults"
	connectionData = "/_apis/connectionData"
)

// fault adds a fault by the control call and returns its id.
func (p *peer) fault(body string) emulator.FaultID {
	p.t.Helper()
	var out struct {
		ID   emulator.FaultID
		Hits *int
	}
	p.want(200, "POST", faults, body).into(p.t, &out)
	if out.ID == 0 || out.Hits == nil || *out.Hits != 0 {
		p.t.Fatalf("adding %s = %+v, want an id and no hits", body, out)
	}
	return out.ID
}

// broken sends a call that must end without an answer, and returns how.
func (p *peer) broken(method, path string, body any, headers ...header) error {
	p.t.Helper()
	a, err := p.try(p.t.Context(), method, path, body, headers...)
	if err == nil {
		p.t.Fatalf("%s %s = %d %s, want no answer", method, path, a.status, a.body)
	}
	return err
}

func challenged(a answerOf) bool {
	return a.status == 401 && strings.Contains(strings.Join(a.header.Values("WWW-Authenticate"), ","), "Bearer")
}

// S13, line by line. §1.6, §1.8 and §1.9 say what a client makes of them.
func TestS13FaultsCanBeInjected(t *testing.T) {
	_, p, _ := taken(t)
	token := func() answerOf { return p.exchange(p.sign(p.assertion())) }
	get := func() answerOf { return p.do("GET", connectionData, nil, bearer(p.agentToken)) }
	options := func() answerOf { return p.do("OPTIONS", "/_apis", nil) }
	for _, c := range []struct {
		name, fault string
		call        func() answerOf
		want        func(answerOf) bool
	}{
		{"401 on connectionData", `{"match":"GET /connectionData$","kind":"status","value":401,"count":1}`, get, func(a answerOf) bool {
			return challenged(a) && a.key() == "VssUnauthorizedException"
		}},
		{"401 on OPTIONS", `{"match":"OPTIONS ^/_apis$","kind":"status","value":401,"count":1}`, options, challenged},
		{"401 on a renewal", `{"match":"PATCH /jobrequests/","kind":"status","value":401,"count":1}`, p.renew, challenged},
		{"401 with a body of its own", `{"kind":"status","value":{"code":401,"body":"<html>","contentType":"text/html"},"count":1}`, get, func(a answerOf) bool {
			return challenged(a) && string(a.body) == "<html>" && a.header.Get("Content-Type") == "text/html"
		}},
		{"503 on the token endpoint", `{"match":"POST /oauth2/token$","kind":"status","value":503,"count":1}`, token, func(a answerOf) bool {
			return a.status == 503 && a.header.Get("Retry-After") == "" && a.key() == "VssServiceException"
		}},
		{"503 with Retry-After", `{"kind":"status","value":{"code":503,"retryAfter":"2s"},"count":1}`, get, func(a answerOf) bool {
			return a.status == 503 && a.header.Get("Retry-After") == "2"
		}},
		{"an error of the service", `{"kind":"status","value":{"code":404,"typeKey":"TaskAgentPoolNotFoundException"},"count":1}`, get, func(a answerOf) bool {
			return a.status == 404 && a.key() == "TaskAgentPoolNotFoundException" && a.header.Get("X-TFS-ServiceError") != ""
		}},
		{"malformed JSON", `{"kind":"status","value":{"code":200,"body":"{\"instanceId\":"},"count":1}`, get, func(a answerOf) bool {
			return a.status == 200 && !json.Valid(a.body) && strings.HasPrefix(a.header.Get("Content-Type"), "application/json")
		}},
		{"the page of a proxy (§1.7)", `{"kind":"status","value":{"code":203,"body":"<html>Sign in</html>","contentType":"text/html"},"count":1}`, get, func(a answerOf) bool {
			return a.status == 203 && strings.Contains(string(a.body), "Sign in")
		}},
		{"an empty answer", `{"kind":"status","value":202,"count":1}`, get, func(a answerOf) bool {
			return a.status == 202 && len(a.body) == 0
		}},
		{"a redirect that asks for a token (§3.3)", `{"kind":"status","value":{"code":302,"headers":{"WWW-Authenticate":"Bearer"}},"count":1}`, get, func(a answerOf) bool {
			return a.status == 302 && a.header.Get("WWW-Authenticate") == "Bearer"
		}},
		{"rate limits on a true answer", `{"kind":"status","value":{"headers":{"X-RateLimit-Delay":"1.5","x-ratelimit-remaining":"0"},"retryAfter":"7s"},"count":1}`, get, func(a answerOf) bool {
			return a.status == 200 && strings.Contains(string(a.body), "instanceId") && a.header.Get("X-RateLimit-Delay") == "1.5" &&
				a.header.Get("X-RateLimit-Remaining") == "0" && a.header.Get("Retry-After") == "7"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.t = t
			p.fault(c.fault)
			if a := c.call(); !c.want(a) {
				t.Errorf("with %s = %d %v %s", c.fault, a.status, a.header, a.body)
			}
			if a := c.call(); a.status != 200 {
				t.Errorf("after it = %d %s, want 200", a.status, a.body)
			}
		})
	}
	t.Run("a slow answer", func(t *testing.T) {
		p.t = t
		p.fault(`{"match":"PATCH /jobrequests/","kind":"delay","value":"300ms","count":1}`)
		began := time.Now()
		p.mustRenew()
		if took := time.Since(began); took < 300*time.Millisecond {
			t.Errorf("the delayed renewal took %s, want 300ms", took)
		}
	})
	t.Run("a connection reset", func(t *testing.T) {
		p.t = t
		p.fault(`{"match":"PATCH /jobrequests/","kind":"reset","count":1}`)
		if err := p.broken("PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a reset renewal = %v, want a connection reset", err)
		}
		p.mustRenew()
	})
}

// S13, §5.4: types that do not exist, and a metadata message that nothing is behind.
func TestS13AnyMessageCanBeSent(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 50 * time.Millisecond })
	p := online(t, srv, "a")
	metadata := map[string]any{"messageType": "JobMetadataUpdate", "body": `{"jobId":"9e2c7d34-58a1-5f6b-8c1e-0d4b7a6f2e10","postLinesFrequencyMillis":500}`}
	p.want(204, "POST", pool+"/messages?agentId=87", metadata, p.pat())
	p.want(204, "POST", pool+"/messages", map[string]any{"messageType": "NoSuchType", "body": "{"}, p.pat())
	if !srv.SendMessage("A", "JobRequest", "{}") || srv.SendMessage("nobody", "JobRequest", "{}") {
		t.Error("SendMessage to a known and an unknown agent is not true, false")
	}
	p.refused(404, "TaskAgentNotFoundException", "POST", pool+"/messages?agentId=88", metadata, p.pat())
	for _, want := range []string{"JobMetadataUpdate", "NoSuchType", "JobRequest"} {
		m := p.poll()
		if m == nil || m.MessageType != want || want == "JobMetadataUpdate" && m.Body != metadata["body"] {
			t.Fatalf("message = %+v, want a %s", m, want)
		}
		p.last = m.MessageID
		if a := p.deleteMessage(m.MessageID); a.status != 204 {
			t.Errorf("deleting a %s = %d %s, want 204", want, a.status, a.body)
		}
	}
	srv.Queue(emulatortest.Script("true"))
	p.take()
	p.want(204, "POST", fmt.Sprintf("%s/messages?requestId=%d", pool, p.request), metadata, p.pat())
	if m := p.poll(); m == nil || m.MessageType != "JobMetadataUpdate" {
		t.Errorf("message for the agent of a request = %+v, want a JobMetadataUpdate", m)
	}
}

func TestADroppedCallIsNotCarriedOut(t *testing.T) {
	srv, p, id := taken(t)
	p.fault(`{"match":"PATCH /jobrequests/","kind":"drop","count":1}`)
	if err := p.broken("PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken)); !errors.Is(err, io.EOF) {
		t.Errorf("a dropped renewal = %v, want the end of the connection", err)
	}
	if st, _ := srv.Job(id); st.State != emulator.Assigned {
		t.Errorf("state after a dropped renewal = %s, want assigned", st.State)
	}
	p.mustRenew()
}

// A page of a log is larger than the buffers of a connection: its client must see
// the end of the connection, not a reset because something waits there to be read.
func TestALargeBodyIsDroppedInGoodOrder(t *testing.T) {
	_, p, _ := taken(t)
	p.fault(`{"match":"POST ","kind":"drop","count":1}`)
	if err := p.broken("POST", p.planURL+"/logs/14", make([]byte, 8<<20), bearer(p.jobToken)); !errors.Is(err, io.EOF) {
		t.Errorf("a dropped page = %v, want the end of the connection", err)
	}
}

func TestOnlyTheAnswerOfAResetCallIsLost(t *testing.T) {
	srv, p, id := taken(t)
	p.fault(`{"match":"PATCH /jobrequests/","kind":"reset","count":1}`)
	if err := p.broken("PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset renewal = %v, want a connection reset", err)
	}
	if st, _ := srv.Job(id); st.State != emulator.Running {
		t.Errorf("state after a reset renewal = %s, want running", st.State)
	}
}

// S12: an agent whose completion was answered 503 sends it again and meets a plan
// that is over.
func TestACompletionMayCountThoughItsAnswerWasLost(t *testing.T) {
	srv, p, id := taken(t)
	p.mustRenew()
	p.mustPatch(p.jobRecord("inProgress", ""))
	p.mustPatch(p.jobRecord("completed", "failed"))
	p.fault(`{"match":"POST /events$","kind":"status","value":{"code":503,"after":true},"count":1}`)
	if a := p.complete("failed"); a.status != 503 || a.key() != "VssServiceException" {
		t.Errorf("the lost completion = %d %s, want 503", a.status, a.body)
	}
	if st, _ := srv.Job(id); st.State != emulator.Completed {
		t.Errorf("state = %s, want completed", st.State)
	}
	if a := p.complete("failed"); a.status != 404 || a.key() != "TaskOrchestrationPlanNotFoundException" {
		t.Errorf("the second completion = %d %s, want 404", a.status, a.body)
	}
}

// §5.6, §4.2: a poll is told that its session has expired, and a new session finds
// no open one in its way.
func TestASessionExpiresOnTheCallThatIsHit(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 50 * time.Millisecond })
	p := online(t, srv, "a")
	p.fault(`{"match":"GET /messages$","kind":"expire-session","count":1}`)
	p.refused(403, "TaskAgentSessionExpiredException", "GET", p.pollPath(), nil, bearer(p.agentToken))
	p.open()
	p.fault(`{"match":"POST /sessions$","kind":"expire-session","count":1}`)
	p.open()
	p.want(204, "GET", p.pollPath(), nil, bearer(p.agentToken))
	p.fault(`{"match":"DELETE /sessions/","kind":"expire-session","count":1}`)
	p.refused(403, "TaskAgentSessionExpiredException", "DELETE", pool+"/sessions/"+p.session, nil, bearer(p.agentToken))
	p.fault(`{"kind":"expire-session","count":1}`)
	p.want(200, "OPTIONS", "/_apis", nil) // nobody's session
}

// §3.3: the service may take a token back; the client gets a new one.
func TestARevokedTokenStaysRevoked(t *testing.T) {
	srv, p, _ := taken(t)
	p.mustRenew()
	p.fault(`{"match":"GET /messages$","kind":"revoke-token","count":1}`)
	for range 2 {
		if a := p.do("GET", p.pollPath(), nil, bearer(p.agentToken)); !challenged(a) {
			t.Errorf("a poll with a revoked token = %d %s, want 401 with a challenge", a.status, a.body)
		}
	}
	if a := p.renew(); !challenged(a) {
		t.Errorf("a renewal with a revoked token = %d %s, want 401 with a challenge", a.status, a.body)
	}
	p.token()
	p.mustRenew()

	srv.Fail(emulator.Fault{Match: "PATCH /records$", Kind: emulator.FaultRevokeToken, Count: 1})
	if a := p.patch(p.jobRecord("inProgress", "")); !challenged(a) {
		t.Errorf("records with a revoked job token = %d %s, want 401 with a challenge", a.status, a.body)
	}
	p.mustPatch(p.jobRecord("inProgress", "")) // nobody could renew a job token
}

// §7.1, §1.8: the call that is hit already meets the lost lock.
func TestTheLockIsLostOnTheCallThatIsHit(t *testing.T) {
	for name, c := range map[string]struct {
		match, key string
		call       func(*peer) answerOf
	}{
		"a renewal, with the agent's token": {"PATCH /jobrequests/", "TaskAgentJobTokenExpiredException", (*peer).renew},
		"records, with the job's token": {"PATCH /records$", "TaskOrchestrationPlanSecurityException", func(p *peer) answerOf {
			return p.patch(p.jobRecord("inProgress", ""))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			srv, p, id := taken(t)
			p.mustRenew()
			srv.Fail(emulator.Fault{Match: c.match, Kind: emulator.FaultLoseLock, Count: 1})
			if a := c.call(p); a.status != 403 || a.key() != c.key {
				t.Errorf("answer = %d %s, want 403 %s", a.status, a.body, c.key)
			}
			if st, _ := srv.Job(id); st.Result != job.Abandoned {
				t.Errorf("result = %s, want abandoned", st.Result)
			}
		})
	}
}

func TestADelayEndsWithItsClient(t *testing.T) {
	srv, p, id := taken(t)
	slow := srv.Fail(emulator.Fault{Match: "PATCH /jobrequests/", Kind: emulator.FaultDelay, For: time.Minute, Count: 1})
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		_, err := p.try(ctx, "PATCH", p.renewPath(), map[string]any{"requestId": p.request}, bearer(p.agentToken))
		left <- err
	}()
	srv.AwaitHits(slow, 1)
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the delayed renewal = %v, want canceled", err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for noted := false; !noted; {
		for _, c := range srv.Calls(id) {
			noted = noted || c.Note == "fault delay" && c.Status == 0
		}
		if time.Now().After(deadline) {
			t.Fatalf("calls = %+v, want the delayed one to have ended", srv.Calls(id))
		}
		time.Sleep(10 * time.Millisecond)
	}
	if st, _ := srv.Job(id); st.State != emulator.Assigned {
		t.Errorf("state = %s, want assigned: the client of the renewal went away", st.State)
	}
}

func TestADelayEndsWithTheServer(t *testing.T) {
	srv, p, _ := taken(t)
	slow := srv.Fail(emulator.Fault{Kind: emulator.FaultDelay, For: time.Minute, Count: 1})
	answered := make(chan answerOf, 1)
	go func() {
		a, err := p.try(t.Context(), "GET", connectionData, nil, p.pat())
		if err != nil {
			t.Error(err)
		}
		answered <- a
	}()
	srv.AwaitHits(slow, 1)
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if a := <-answered; a.status != 503 {
		t.Errorf("the delayed call = %d %s, want 503", a.status, a.body)
	}
}
