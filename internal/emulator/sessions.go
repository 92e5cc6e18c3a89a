package emulator

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // OAEP with SHA-1 is what the protocol prescribes (§4.1)
	"fmt"
	"net/http"
	"time"
)

// session is the exclusive right of one process to receive an agent's messages.
type session struct {
	id       string
	agent    *agent
	owner    string
	base     string    // address under which the agent reached us; job messages carry it
	key      []byte    // of the messages; nil: plain text
	lastSeen time.Time // end of the last poll
	polls    int       // polls being held
	draining bool      // the agent said that it stops after its job (§7.10)
}

// sessionKey is how the key travels (§4.1).
type sessionKey struct {
	Encrypted bool   `json:"encrypted"`
	Value     []byte `json:"value"`
}

type sessionWire struct {
	SessionID          string            `json:"sessionId"`
	OwnerName          string            `json:"ownerName"`
	Agent              *agentWire        `json:"agent"`
	EncryptionKey      *sessionKey       `json:"encryptionKey"`
	SystemCapabilities map[string]string `json:"systemCapabilities"`
}

// createSession opens the one session of an agent (§4.1).
func (s *Server) createSession(c *call) (any, error) {
	var in sessionWire
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.self(c)
	if err != nil {
		return nil, err
	}
	if in.Agent == nil || in.Agent.ID != a.id {
		return nil, accessDenied("The session is for another agent than the token (agent %s).", a.id)
	}
	if a.session != nil {
		if !s.sessionExpired(a.session, s.now()) {
			return nil, refuse(http.StatusConflict, "TaskAgentSessionConflictException",
				"The agent %s has an open session of %s.", a.wire.Name, a.session.owner)
		}
		s.endSession(a.session, "expired")
	}
	sess := &session{id: newGUID(), agent: a, owner: in.OwnerName, base: base(c.r), lastSeen: s.now()}
	key, err := s.newKey(sess)
	if err != nil {
		return nil, err
	}
	// The session announces what the agent is now (§4.1).
	if in.Agent.Version != "" {
		a.wire.Version = in.Agent.Version
	}
	if in.SystemCapabilities != nil {
		a.wire.SystemCapabilities = in.SystemCapabilities
	}
	a.session, s.sessions[sess.id] = sess, sess
	a.statusChanges(s.now())
	s.log.Info("session opened", "agent_id", int(a.id), "session_id", sess.id, "owner", sess.owner)
	s.assign(a.pool)
	shown := s.show(c, a)
	return sessionWire{SessionID: sess.id, OwnerName: sess.owner, Agent: &shown, EncryptionKey: key, SystemCapabilities: map[string]string{}}, nil
}

// newKey gives the session an AES key and returns it encrypted for the agent:
// OAEP with SHA-1, because without the flag of newer agents nothing else may be
// used, and with it a missing encryptionPadding means the same (§4.1).
func (s *Server) newKey(sess *session) (*sessionKey, error) {
	if s.cfg.PlainMessages {
		return nil, nil
	}
	sess.key = make([]byte, 32)
	if _, err := rand.Read(sess.key); err != nil {
		return nil, fmt.Errorf("making a session key: %w", err)
	}
	sealed, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, sess.agent.key, sess.key, nil) //nolint:gosec // as the protocol prescribes
	if err != nil {
		return nil, fmt.Errorf("encrypting a session key: %w", err)
	}
	return &sessionKey{Encrypted: true, Value: sealed}, nil
}

// deleteSession ends a session (§4.3). A job that was sent but never started
// goes to another agent.
func (s *Server) deleteSession(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess, err := s.liveSession(c, c.v("sessionId"))
	if err != nil {
		return nil, err
	}
	a := sess.agent
	s.endSession(sess, "deleted")
	s.giveBack(a)
	return nil, nil
}

// liveSession finds a session of the calling agent. The caller holds s.mu.
func (s *Server) liveSession(c *call, id string) (*session, error) {
	a, err := s.self(c)
	if err != nil {
		return nil, err
	}
	sess := s.sessions[guid(id)]
	switch {
	case sess == nil:
		return nil, sessionExpired(id)
	case sess.agent != a:
		return nil, accessDenied("The session %s belongs to another agent.", sess.id)
	case s.sessionExpired(sess, s.now()):
		s.endSession(sess, "expired")
		return nil, sessionExpired(id)
	}
	return sess, nil
}

// sessionExpired reports whether nobody polled the session for too long.
func (s *Server) sessionExpired(sess *session, now time.Time) bool {
	return sess.polls == 0 && now.Sub(sess.lastSeen) > s.cfg.SessionExpiry
}

// endSession takes the agent offline and ends its polls. Its messages stay.
func (s *Server) endSession(sess *session, why string) {
	delete(s.sessions, sess.id)
	sess.agent.session = nil
	sess.agent.statusChanges(s.now())
	sess.agent.wakeUp()
	s.log.Info("session ended", "agent_id", int(sess.agent.id), "session_id", sess.id, "why", why)
}
