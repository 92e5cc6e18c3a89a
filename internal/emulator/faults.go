package emulator

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// FaultID names a fault of one server. The first is 1; ids are not used again.
type FaultID int

// FaultKind is what a fault does.
type FaultKind string

// The kinds of fault (design §9).
const (
	FaultStatus        FaultKind = "status"         // answers with Fault.Answer
	FaultDelay         FaultKind = "delay"          // carries the call out after Fault.For
	FaultDrop          FaultKind = "drop"           // closes the connection; the call is not carried out
	FaultReset         FaultKind = "reset"          // carries the call out and resets the connection instead of answering
	FaultExpireSession FaultKind = "expire-session" // ends the session, then carries the call out
	FaultRevokeToken   FaultKind = "revoke-token"   // answers 401, as every later call with the same agent token; of a job token or PAT this call only
	FaultLoseLock      FaultKind = "lose-lock"      // takes the caller's job away, then carries the call out
	FaultClockSkew     FaultKind = "clock-skew"     // shifts the server's clock by Fault.For
)

// Fault is something that goes wrong on demand, so that a client can be shown
// what it will meet one day (S13). Its zero value is not a fault.
type Fault struct {
	// Match picks the calls: a method or "*", one space, and a Go regular
	// expression that is looked for in the URL's path, for example
	// "PATCH /jobrequests/\d+$". Empty: every call. Control calls are never hit.
	Match string
	Kind  FaultKind

	Answer FaultAnswer   // of FaultStatus
	For    time.Duration // of FaultDelay, more than zero; of FaultClockSkew, not zero

	Count int // how many calls are hit; zero: all of them until the fault is removed
	Every int // only each Every-th matching call is hit; zero and one: each
}

// FaultAnswer is what [FaultStatus] does to an answer.
type FaultAnswer struct {
	Code        int               // 200 to 599, answered instead; zero: the call's own answer, with RetryAfter and Headers added
	RetryAfter  time.Duration     // whole seconds, sent as Retry-After; zero: no such header
	TypeKey     string            // of the error envelope; empty: one that suits the code
	Body        *string           // nil: the error envelope of §1.8, or nothing for a code below 400
	ContentType string            // of Body; empty: JSON, whatever Body is
	Headers     map[string]string // replace the answer's own
	After       bool              // the call is carried out first, and its own answer is lost
}

// FaultEntry is a fault of the list and how many calls it has hit. One that hit
// as many as it should stays in the list, so that a test can look.
type FaultEntry struct {
	Fault

	ID   FaultID
	Hits int
}

// maxFaults bounds the list: every call is compared with all of it. A test needs
// a handful.
const maxFaults = 256

// armed is a fault in the list.
type armed struct {
	FaultEntry

	method string // "*": any
	path   *regexp.Regexp
	seen   int // matching calls, hit or not
}

// faultList holds the faults of a server.
type faultList struct {
	all     []*armed // oldest first
	last    FaultID
	changed chan struct{} // closed and replaced when faults hit a call or are removed
}

// usedUp reports whether the fault has hit all the calls it should.
func (f *armed) usedUp() bool { return f.Count > 0 && f.Hits >= f.Count }

// takes counts a call and reports whether the fault hits it.
func (f *armed) takes(method, path string) bool {
	if f.usedUp() || f.method != "*" && !strings.EqualFold(f.method, method) || !f.path.MatchString(path) {
		return false
	}
	f.seen++
	if f.Every > 1 && f.seen%f.Every != 0 {
		return false
	}
	f.Hits++
	return true
}

// Fail makes calls fail from now on. Faults are tried in the order in which they
// were made, and one that decides the answer ends the search: two calls with 503
// and then one with 401 are two faults with a count. The newest [FaultClockSkew]
// sets the clock; it concerns all calls, so its Match, Count and Every are
// dropped. Fail returns an error that says everything that is wrong with f, by
// the names of the control call's members, and one when there are too many.
func (s *Server) Fail(f Fault) (FaultID, error) {
	e, err := s.fail(f)
	return e.ID, err
}

// fail is [Server.Fail] that returns the fault as it was added.
func (s *Server) fail(f Fault) (FaultEntry, error) {
	a, err := arm(f)
	if err != nil {
		return FaultEntry{}, fmt.Errorf("adding a fault: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.faults.all) >= maxFaults {
		s.faults.all = slices.DeleteFunc(s.faults.all, (*armed).usedUp)
	}
	if len(s.faults.all) >= maxFaults {
		return FaultEntry{}, fmt.Errorf("adding a fault: there are %d already, remove some first", len(s.faults.all))
	}
	s.faults.last++
	a.ID = s.faults.last
	s.faults.all = append(s.faults.all, a)
	s.setSkew()
	s.log.Info("fault added", "fault", int(a.ID), "kind", string(a.Kind), "match", a.Match)
	return a.FaultEntry, nil
}

// Faults returns the faults in the order in which they were made.
func (s *Server) Faults() []FaultEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]FaultEntry, 0, len(s.faults.all))
	for _, f := range s.faults.all {
		out = append(out, f.FaultEntry)
	}
	return out
}

// Hits returns how many calls a fault has hit, zero when there is no such fault.
func (s *Server) Hits(id FaultID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	hits, _ := s.hits(id)
	return hits
}

func (s *Server) hits(id FaultID) (int, bool) {
	for _, f := range s.faults.all {
		if f.ID == id {
			return f.Hits, true
		}
	}
	return 0, false
}

// AwaitHits blocks until a fault has hit at least n calls. It fails when there is
// no such fault, or with the cause of ctx.
func (s *Server) AwaitHits(ctx context.Context, id FaultID, n int) error {
	for {
		s.mu.Lock()
		hits, known := s.hits(id)
		changed := s.faults.changed
		s.mu.Unlock()
		switch {
		case !known:
			return fmt.Errorf("waiting for fault %d: %w", id, ErrNoFault)
		case hits >= n:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("waiting for fault %d to hit %d calls (it hit %d): %w", id, n, hits, context.Cause(ctx))
		}
	}
}

// ErrNoFault is returned for a fault that the server does not have.
var ErrNoFault = errors.New("no such fault")

// HealOne removes one fault and reports whether there was one. A delay that has
// begun goes on.
func (s *Server) HealOne(id FaultID) bool {
	return s.heal(func(f *armed) bool { return f.ID == id }) > 0
}

// Heal removes all faults. What they did stays: sessions that ended, tokens that
// were revoked and locks that were lost.
func (s *Server) Heal() { s.heal(func(*armed) bool { return true }) }

func (s *Server) heal(which func(*armed) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.faults.all)
	s.faults.all = slices.DeleteFunc(s.faults.all, which)
	s.setSkew()
	s.faultsMoved()
	return before - len(s.faults.all)
}

// faultsMoved wakes everybody who waits for a fault. The caller holds s.mu.
func (s *Server) faultsMoved() {
	close(s.faults.changed)
	s.faults.changed = make(chan struct{})
}

// setSkew takes the clock's shift from the newest fault that has one. The caller
// holds s.mu.
func (s *Server) setSkew() {
	var skew time.Duration
	for _, f := range s.faults.all {
		if f.Kind == FaultClockSkew {
			skew = f.For
		}
	}
	s.skew.Store(int64(skew))
}
