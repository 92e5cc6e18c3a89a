package emulator

import (
	"bytes"
	"cmp"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// endure carries a call out with the faults that hit it and returns the status of
// the answer, 0 when there was none.
func (s *Server) endure(c *call, w *reply) int {
	faults := s.strike(c)
	if len(faults) == 0 {
		return s.carryOut(c)
	}
	// net/http notices that a client went away once the body was read, and a
	// client that still sends one may not see an early answer.
	readAhead(c.r)
	who, _ := s.identify(c.r) // of nobody known, nothing can be taken
	c.job = s.jobBehind(c, who)
	for _, f := range faults {
		if status, decided := s.inflict(f, c, w, who); decided {
			return status
		}
	}
	return s.carryOut(c)
}

// strike finds the faults that hit a call, in the order in which they were made
// and up to the first that decides the answer, and counts them.
func (s *Server) strike(c *call) []FaultEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	var hit []FaultEntry
	counted := false
	for _, f := range s.faults.all {
		if !f.takes(c.r.Method, c.r.URL.Path) {
			continue
		}
		counted = true
		if f.Kind == FaultClockSkew {
			continue // the clock is wrong for everybody; it does nothing to this call
		}
		hit = append(hit, f.FaultEntry)
		c.faults = append(c.faults, string(f.Kind))
		if f.decides() {
			break
		}
	}
	if counted {
		s.faultsMoved()
	}
	return hit
}

// decides reports whether the fault decides the answer, so that no later one can.
func (f Fault) decides() bool {
	switch f.Kind {
	case FaultStatus:
		return f.Answer.Code != 0
	case FaultDrop, FaultReset, FaultRevokeToken:
		return true
	}
	return false
}

// inflict does one fault to a call. It returns the status of the answer when the
// fault decided it.
func (s *Server) inflict(f FaultEntry, c *call, w *reply, who caller) (status int, decided bool) {
	switch f.Kind {
	case FaultDelay:
		return s.delay(f.For, c)
	case FaultDrop:
		w.end = f.Kind
		return 0, true
	case FaultReset:
		s.lose(c, w)
		w.end = f.Kind
		return 0, true
	case FaultExpireSession:
		s.expireSessionOf(c, who)
	case FaultLoseLock:
		s.loseLockOf(who)
	case FaultRevokeToken:
		s.revoke(who)
		return answerError(w, unauthorized("The access token was revoked.")), true
	case FaultStatus:
		return s.answerFault(f, c, w)
	}
	return 0, false
}

// lose carries the call out and loses its answer.
func (s *Server) lose(c *call, w *reply) {
	w.lost = true
	s.carryOut(c)
	w.lost = false
}

// delay holds a call back. A client that goes away meanwhile gets no answer, and
// its call is not carried out.
func (s *Server) delay(d time.Duration, c *call) (status int, decided bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return 0, false
	case <-c.r.Context().Done():
		return 0, true
	case <-s.closed:
		return answerError(c.w, stopping()), true
	}
}

// answerFault answers with what the fault says, or adds headers to the call's own
// answer.
func (s *Server) answerFault(f FaultEntry, c *call, w *reply) (status int, decided bool) {
	a := f.Answer
	if a.After {
		s.lose(c, w)
	}
	if a.RetryAfter != 0 {
		w.add("Retry-After", strconv.Itoa(int(a.RetryAfter/time.Second)))
	}
	for name, value := range a.Headers {
		w.add(name, value)
	}
	key := a.TypeKey
	if key == "" {
		key = "VssServiceException"
		if a.Code == http.StatusUnauthorized {
			key = "VssUnauthorizedException"
		}
	}
	switch {
	case a.Code == 0:
		return 0, false
	case a.Body == nil && a.Code < http.StatusBadRequest:
		w.WriteHeader(a.Code)
		return a.Code, true
	case a.Body == nil:
		return answerError(w, refuse(a.Code, key, "Fault %d of the emulator answers so.", f.ID)), true
	}
	if a.Code == http.StatusUnauthorized {
		challenge(w.Header())
	}
	contentType := a.ContentType
	if contentType == "" {
		contentType = "application/json; charset=utf-8"
	}
	return write(w, a.Code, contentType, []byte(*a.Body)), true
}

// jobBehind finds the job for which a call is made: that of a job token, or the
// one an agent names or has. It is nil when that cannot be told.
func (s *Server) jobBehind(c *call, who caller) *request {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agents[who.agent]
	if a == nil {
		return s.jobs[who.job]
	}
	if q := s.requestIn(a.pool, c.v("requestId")); q != nil {
		return q
	}
	return a.request
}

// loseLockOf takes away the job of a job token, or the one an agent has.
func (s *Server) loseLockOf(who caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.jobs[who.job]
	if a := s.agents[who.agent]; a != nil {
		q = a.request
	}
	s.loseLock(q)
}

// expireSessionOf ends the session that the call names, or else the one of the
// calling agent.
func (s *Server) expireSessionOf(c *call, who caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sess *session
	if id := cmp.Or(c.v("sessionId"), c.q("sessionId")); id != "" {
		sess = s.sessions[guid(id)]
	} else if a := s.agents[who.agent]; a != nil {
		sess = a.session
	}
	if sess != nil {
		s.endSession(sess, "expired by a fault")
	}
}

// readAhead takes the body off the connection, as much as any JSON body or log
// page has; what is left of a larger one follows from the connection.
func readAhead(r *http.Request) {
	head, err := io.ReadAll(io.LimitReader(r.Body, maxJSON))
	rest := io.Reader(r.Body)
	if err != nil {
		rest = failed{err} // the endpoint sees what the connection said
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), r.Body}
}

// failed is a body that broke off.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// noteFaults adds the faults that hit a call to what the call said.
func noteFaults(note string, kinds []string) string {
	if len(kinds) == 0 {
		return note
	}
	text := "fault " + strings.Join(kinds, ", ")
	if note == "" {
		return text
	}
	return note + "; " + text
}
