package emulator_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

// S4, §4.1, §4.4: one live session per agent, until it is deleted or expired.
func TestS4AnAgentHasOneSession(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.SessionExpiry, c.PollHold = time.Second, 10*time.Millisecond })
	p := online(t, srv, "a")
	p.refused(409, "TaskAgentSessionConflictException", "POST", pool+"/sessions", p.sessionBody(), bearer(p.agentToken))
	p.want(204, "DELETE", pool+"/sessions/"+p.session, nil, bearer(p.agentToken))
	if srv.Agents()["a"] {
		t.Error("the agent is online after its session was deleted (§4.4)")
	}
	p.refused(403, "TaskAgentSessionExpiredException", "GET", p.pollPath(), nil, bearer(p.agentToken))
	p.refused(403, "TaskAgentSessionExpiredException", "DELETE", pool+"/sessions/"+p.session, nil, bearer(p.agentToken))
	p.open()
	// Polling keeps it alive for longer than the expiry.
	for range 15 {
		p.poll()
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(1200 * time.Millisecond)
	p.refused(403, "TaskAgentSessionExpiredException", "GET", p.pollPath(), nil, bearer(p.agentToken))
	p.open()
}

func TestASessionBelongsToItsAgent(t *testing.T) {
	srv := emulatortest.New(t)
	a, b := online(t, srv, "a"), online(t, srv, "b")
	b.refused(403, "AccessDeniedException", "POST", pool+"/sessions", a.sessionBody(), bearer(b.agentToken))
	b.refused(403, "AccessDeniedException", "GET", a.pollPath(), nil, bearer(b.agentToken))
	b.refused(403, "AccessDeniedException", "DELETE", pool+"/sessions/"+a.session, nil, bearer(b.agentToken))
}

// S5: a random IV per message, and a plain mode.
func TestS5MessagesAreEncryptedUnlessTheServerIsPlain(t *testing.T) {
	srv := emulatortest.New(t)
	srv.Queue(emulatortest.Script("echo needle"))
	p := online(t, srv, "a")
	var first, second envelope
	for _, to := range []*envelope{&first, &second} {
		a := p.want(200, "GET", p.pollPath(), nil, bearer(p.agentToken))
		if strings.Contains(string(a.body), "needle") {
			t.Error("the message travels in the clear")
		}
		a.into(t, to)
	}
	if first.MessageID != second.MessageID || string(first.IV) == string(second.IV) || len(p.aes) != 32 {
		t.Errorf("two deliveries have ids %d, %d and IVs %x, %x; key of %d bytes", first.MessageID, second.MessageID, first.IV, second.IV, len(p.aes))
	}
	if one, two := p.decrypt(first), p.decrypt(second); one != two || !strings.Contains(one, "needle") {
		t.Error("two deliveries decrypt to different texts")
	}

	plain := emulatortest.New(t, func(c *emulator.Config) { c.PlainMessages = true })
	plain.Queue(emulatortest.Script("echo needle"))
	q := online(t, plain, "a")
	if m := q.poll(); q.aes != nil || m == nil || len(m.IV) != 0 || !json.Valid([]byte(m.Body)) || !strings.Contains(m.Body, "needle") {
		t.Errorf("plain message = %+v", m)
	}
}

// S6: in order, after lastMessageId, kept until DELETE, again for a new session.
func TestS6AMessageStaysUntilItIsDeleted(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 20 * time.Millisecond })
	p := online(t, srv, "a")
	for range 2 { // §5.7
		p.want(204, "POST", pool+"/messages?agentId=87", nil, p.pat())
	}
	first := p.poll()
	if first == nil || first.MessageType != "AgentRefresh" {
		t.Fatalf("first message = %+v, want AgentRefresh", first)
	}
	if again := p.poll(); again == nil || again.MessageID != first.MessageID {
		t.Errorf("without lastMessageId = %+v, want message %d again", again, first.MessageID)
	}
	p.last = first.MessageID
	second := p.poll()
	if second == nil || second.MessageID <= first.MessageID {
		t.Fatalf("after message %d = %+v, want the next", first.MessageID, second)
	}
	p.last = second.MessageID
	if m := p.poll(); m != nil {
		t.Errorf("after the last message = %+v, want none", m)
	}
	p.want(204, "DELETE", pool+"/sessions/"+p.session, nil, bearer(p.agentToken))
	p.open()
	p.last = 0
	if m := p.poll(); m == nil || m.MessageID != first.MessageID {
		t.Errorf("in a new session = %+v, want message %d again", m, first.MessageID)
	}
	if a := p.deleteMessage(first.MessageID); a.status != 204 {
		t.Errorf("deleting = %d %s", a.status, a.body)
	}
	if m := p.poll(); m == nil || m.MessageID != second.MessageID {
		t.Errorf("after deleting the first = %+v, want message %d", m, second.MessageID)
	}
}

// A13: each message is deleted once, by the agent it was given to.
func TestS6WrongDeletionsAreRefused(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 20 * time.Millisecond })
	p, other := online(t, srv, "a"), online(t, srv, "b")
	srv.Queue(emulatortest.Script("true"), "Agent.Name -equals a")
	if a := p.deleteMessage(41); a.status != 409 || a.key() != emulator.OrderRefused {
		t.Errorf("deleting before receiving = %d %s, want 409 %s", a.status, a.body, emulator.OrderRefused)
	}
	m := p.poll()
	if a := other.deleteMessage(m.MessageID); a.status != 404 {
		t.Errorf("deleting another agent's message = %d %s, want 404", a.status, a.body)
	}
	if a := p.deleteMessage(m.MessageID); a.status != 204 {
		t.Errorf("deleting = %d %s, want 204", a.status, a.body)
	}
	if a := p.deleteMessage(m.MessageID); a.status != 404 {
		t.Errorf("deleting twice = %d %s, want 404", a.status, a.body)
	}
	if got := len(srv.Violations()); got != 3 {
		t.Errorf("violations = %+v, want 3", srv.Violations())
	}
}

// S6, and the pick-up budget: two polls of one session are held, and both are
// answered as soon as a job is queued.
func TestS6TwoHeldPollsGetTheSameMessage(t *testing.T) {
	srv := emulatortest.New(t)
	p := online(t, srv, "a")
	type result struct {
		at  time.Time
		got *envelope
	}
	answered := make(chan result, 2)
	for range 2 {
		go func() {
			m := p.poll()
			answered <- result{time.Now(), m}
		}()
	}
	select {
	case r := <-answered:
		t.Fatalf("the poll was answered %+v without a message", r.got)
	case <-time.After(200 * time.Millisecond):
	}
	queued := time.Now()
	srv.Queue(emulatortest.Script("true"))
	for range 2 {
		if r := <-answered; r.got == nil || r.at.Sub(queued) > 30*time.Second {
			t.Errorf("the poll was answered %+v after %s, want a job at once", r.got, r.at.Sub(queued))
		}
	}
}

func TestS7AnEmptyPollIsHeldAndThenAnswered(t *testing.T) {
	short := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 100 * time.Millisecond })
	q := online(t, short, "a")
	began := time.Now()
	a := q.want(204, "GET", q.pollPath(), nil, bearer(q.agentToken))
	if took := time.Since(began); took < 90*time.Millisecond || len(a.body) != 0 {
		t.Errorf("an empty poll took %s and answered %q, want 100ms and nothing", took, a.body)
	}
}

// §5.5: a job whose message was not deleted is not lost with its session.
func TestAnUntouchedJobGoesToAnotherAgent(t *testing.T) {
	srv := emulatortest.New(t)
	a := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	a.poll() // received, not deleted
	a.want(204, "DELETE", pool+"/sessions/"+a.session, nil, bearer(a.agentToken))
	if st, _ := srv.Job(id); st.State != emulator.Queued {
		t.Errorf("state = %s, want queued", st.State)
	}
	b := online(t, srv, "b")
	b.take()
	if b.job != string(id) {
		t.Errorf("agent b got job %s, want %s", b.job, id)
	}
}

// §5.5: a crash between receive and delete causes re-delivery after restart.
func TestARestartedAgentGetsTheJobAgain(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) {
		c.SessionExpiry, c.LockDuration = 500*time.Millisecond, time.Minute
	})
	p := online(t, srv, "a")
	id := srv.Queue(emulatortest.Script("true"))
	p.poll()
	time.Sleep(700 * time.Millisecond)
	p.open()
	p.last = 0
	p.take()
	if p.job != string(id) {
		t.Errorf("job after the restart = %s, want %s", p.job, id)
	}
}

func TestAgentShuttingDownGetsNoFurtherJob(t *testing.T) {
	srv := emulatortest.New(t, func(c *emulator.Config) { c.PollHold = 20 * time.Millisecond })
	p := online(t, srv, "a")
	srv.Queue(emulatortest.Script("true"))
	p.take()
	p.mustRenew()
	p.mustPatch(p.jobRecord("inProgress", ""))
	p.mustPatch(p.jobRecord("completed", "failed"))
	e := p.event("failed")
	e["agentShuttingDown"] = true // §7.10
	p.want(204, "POST", p.planURL+"/events", e, bearer(p.jobToken))
	next := srv.Queue(emulatortest.Script("true"))
	if st, _ := srv.Job(next); st.State != emulator.Queued {
		t.Errorf("the next job is %s, want queued", st.State)
	}
}

// Design §14: a thousand idle agents and a thousand jobs at once. Smaller here,
// because the race detector and two cores are slow.
func TestManyAgentsPollAtOnce(t *testing.T) {
	const n = 100
	srv := emulatortest.New(t, func(c *emulator.Config) { c.SessionExpiry = time.Minute })
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = online(t, srv, fmt.Sprintf("agent-%d", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() {
			a, err := p.try(ctx, "GET", p.pollPath(), nil, bearer(p.agentToken))
			if err != nil || a.status != 200 {
				t.Errorf("poll of %s = %d, %v, want a job", p.name, a.status, err)
			}
		})
	}
	for range n {
		srv.Queue(emulatortest.Script("true"))
	}
	all.Wait()
	for _, st := range srv.Jobs() {
		if st.State != emulator.Assigned {
			t.Errorf("job %s is %s, want assigned", st.ID, st.State)
		}
	}
}
