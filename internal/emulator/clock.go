package emulator

import "time"

// The server has two clocks. Its own, [Server.now], is never wrong: sessions,
// locks, timeouts and the dates of what happened follow it, so that a shift ends
// no session and loses no lock. The one it shows, [Server.clock], may be shifted by a fault: the
// Date header, assertions, tokens, and lockedUntil follow that one.

// now is the time by which the server acts.
func (s *Server) now() time.Time { return time.Now().UTC() }

// clock is the time the server says it is.
func (s *Server) clock() time.Time { return s.now().Add(time.Duration(s.skew.Load())) }

// shiftedClock is the clock and whether a fault shifts it.
func (s *Server) shiftedClock() (now time.Time, shifted bool) {
	return s.clock(), s.skew.Load() != 0
}

// shown is t on the clock that clients see; no date stays none.
func (s *Server) shown(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.Add(time.Duration(s.skew.Load()))
}
