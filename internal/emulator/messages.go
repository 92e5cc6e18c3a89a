package emulator

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// Types of message (§5.4).
const (
	messageJob     = "PipelineAgentJobRequest"
	messageCancel  = "JobCancellation"
	messageRefresh = "AgentRefresh"
)

// message waits in an agent's queue until it is deleted.
type message struct {
	id       int64
	kind     string
	body     string
	request  *request // nil: no job's
	returned bool     // a poll has answered with it
}

// envelope is a message on the wire (§5.1).
type envelope struct {
	MessageID   int64  `json:"messageId"`
	MessageType string `json:"messageType"`
	IV          []byte `json:"iv,omitempty"`
	Body        string `json:"body"`
}

// send puts a message at the end of the agent's queue and wakes its polls.
func (s *Server) send(a *agent, kind, body string, q *request) {
	a.messages = append(a.messages, &message{id: s.nextMessage, kind: kind, body: body, request: q})
	s.nextMessage++
	a.wakeUp()
}

// getMessage holds a poll until the agent has a message, or answers without one
// when the time is over (§5.1). Any number of polls of a session may run.
func (s *Server) getMessage(c *call) (any, error) {
	last := int64(0)
	if text := c.q("lastMessageId"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, badRequest("lastMessageId %q is no number (§5.1).", text)
		}
		last = n
	}
	sess, err := s.startPoll(c)
	if err != nil {
		return nil, err
	}
	defer s.endPoll(sess)
	timer := time.NewTimer(s.cfg.PollHold)
	defer timer.Stop()
	for {
		m, wake, err := s.nextMessageFor(sess, last)
		if m != nil || err != nil {
			return m, err
		}
		select {
		case <-wake:
		case <-timer.C:
			return nil, nil
		case <-c.r.Context().Done():
			return nil, nil
		case <-s.closed:
			return nil, nil
		}
	}
}

func (s *Server) startPoll(c *call) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess, err := s.liveSession(c, c.q("sessionId"))
	if err == nil {
		sess.polls++
	}
	return sess, err
}

func (s *Server) endPoll(sess *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess.polls--
	sess.lastSeen = s.now()
}

// nextMessageFor returns the lowest undeleted message above last, or else what
// to wait for. Returning a message does not consume it.
func (s *Server) nextMessageFor(sess *session, last int64) (any, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := sess.agent
	if a.session != sess {
		if s.agents[a.id] == nil {
			return nil, nil, s.agentGone(a.id)
		}
		return nil, nil, sessionExpired(sess.id)
	}
	for _, m := range a.messages {
		if m.id <= last {
			continue
		}
		out, err := m.seal(sess.key)
		if err != nil {
			return nil, nil, err
		}
		m.returned = true
		return out, nil, nil
	}
	return nil, a.wake, nil
}

// seal encrypts the message with AES-CBC and PKCS#7 under a fresh IV (§5.2).
// Without a key it stays readable.
func (m *message) seal(key []byte) (envelope, error) {
	out := envelope{MessageID: m.id, MessageType: m.kind, Body: m.body}
	if key == nil {
		return out, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return envelope{}, fmt.Errorf("encrypting message %d: %w", m.id, err)
	}
	out.IV = make([]byte, aes.BlockSize)
	if _, err := rand.Read(out.IV); err != nil {
		return envelope{}, fmt.Errorf("encrypting message %d: %w", m.id, err)
	}
	padding := aes.BlockSize - len(m.body)%aes.BlockSize
	text := make([]byte, 0, len(m.body)+padding)
	text = append(text, m.body...)
	for range padding {
		text = append(text, byte(padding))
	}
	cipher.NewCBCEncrypter(block, out.IV).CryptBlocks(text, text)
	out.Body = base64.StdEncoding.EncodeToString(text)
	return out, nil
}

// deleteMessage takes a message out of the queue (§5.5). Only a message this
// agent was given can be deleted, and only once.
func (s *Server) deleteMessage(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess, err := s.liveSession(c, c.q("sessionId"))
	if err != nil {
		return nil, err
	}
	a := sess.agent
	id, err := strconv.ParseInt(c.v("messageId"), 10, 64)
	i := slices.IndexFunc(a.messages, func(m *message) bool { return m.id == id })
	if err != nil || i < 0 {
		s.violate(nil, "§5.5", true, "agent %s deleted message %s, which is not in its queue", a.wire.Name, c.v("messageId"))
		return nil, refuse(http.StatusNotFound, "TaskAgentMessageNotFoundException", "There is no message %s in the queue of this agent (§5.5).", c.v("messageId"))
	}
	m := a.messages[i]
	c.job, c.note = m.request, m.kind
	if !m.returned {
		return nil, s.wrongOrder(m.request, "§5.5", "message %d was deleted before it was received", m.id)
	}
	a.messages = slices.Delete(a.messages, i, i+1)
	if m.kind == messageJob {
		m.request.receive(s.now())
	}
	return nil, nil
}

// sendMessage is the service API of §5.7: a refresh for one agent or all, or a
// given message, of any type, for the agent that has a request. Ours: a body goes
// to an idle agent too, so that a test can send what no job is behind (S13).
func (s *Server) sendMessage(c *call) (any, error) {
	body, err := c.body(maxJSON)
	if err != nil {
		return nil, err
	}
	var in envelope
	given := c.q("requestId") != "" || len(bytes.TrimSpace(body)) > 0
	if given {
		if err := c.parse(body, &in); err != nil {
			return nil, err
		}
		if in.MessageType == "" {
			return nil, badRequest("The message has no messageType (§5.1).")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.poolOf(c)
	if err != nil {
		return nil, err
	}
	if text := c.q("requestId"); text != "" {
		id, _ := strconv.ParseInt(text, 10, 64)
		q := s.requests[job.RequestID(id)]
		if q == nil || q.agent == nil {
			return nil, requestNotFound(text)
		}
		s.send(q.agent, in.MessageType, in.Body, q)
		return nil, nil
	}
	found := false
	for _, a := range p.members {
		if id := c.q("agentId"); id != "" && id != a.id.String() {
			continue
		}
		found = true
		if given {
			s.send(a, in.MessageType, in.Body, nil)
		} else {
			s.send(a, messageRefresh, refreshBody(a), nil)
		}
	}
	if !found && c.q("agentId") != "" {
		return nil, agentNotFound(c.q("agentId"))
	}
	return nil, nil
}

// SendMessage puts a message of any type into the queue of the agent with the
// name, in whatever pool, and reports whether there is one.
func (s *Server) SendMessage(agent, messageType, body string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.agents {
		if strings.EqualFold(a.wire.Name, agent) {
			s.send(a, messageType, body, nil)
			return true
		}
	}
	return false
}

// refreshBody tells an agent to update itself to the version it has.
func refreshBody(a *agent) string {
	body, _ := json.Marshal(map[string]any{"agentId": a.id, "timeout": "00:00:30", "targetVersion": a.wire.Version}) // cannot fail: numbers and text
	return string(body)
}
