package probe

import "time"

// State says what a slot's loop is doing. The zero State means nothing.
type State uint8

// The states in the order in which a loop usually goes through them.
const (
	Starting State = iota + 1 // not yet able to work
	Live                      // beating, but not able to take work now
	Ready                     // able to take work
	Draining                  // finishing what it has, taking no more
	Stopped                   // ended as asked; does not beat and is not asked for it
)

// String returns the word for the state that the probe prints.
func (s State) String() string {
	switch s {
	case Starting:
		return "starting"
	case Live:
		return "live"
	case Ready:
		return "ready"
	case Draining:
		return "draining"
	case Stopped:
		return "stopped"
	}
	return "in an unknown state"
}

// Reason says why a slot is in its state. The codes are part of the page's
// layout; docs/probe-abi.md lists them. Codes from [ReasonCustom] on mean
// whatever the program that writes them says.
type Reason uint16

// The reasons.
const (
	ReasonNone       Reason = 0
	ReasonServer     Reason = 1 // the server has not answered yet, or no longer does
	ReasonSession    Reason = 2 // there is no session with the server
	ReasonBuilder    Reason = 3 // the builder does not answer
	ReasonContainers Reason = 4 // the container service does not answer
	ReasonRegistry   Reason = 5 // the registry does not answer
	ReasonCredential Reason = 6 // the credentials are refused
	ReasonDisk       Reason = 7 // the disk is full
	ReasonCleanup    Reason = 8 // what an earlier run left is being removed
	ReasonIdle       Reason = 9
	ReasonBusy       Reason = 10
	ReasonTold       Reason = 11 // somebody asked for it
	ReasonFinished   Reason = 12
	ReasonFailed     Reason = 13

	ReasonCustom Reason = 1000
)

// String returns the words for the reason that the probe prints: nothing for
// [ReasonNone], and for a code that this version does not know "other reason".
func (r Reason) String() string {
	switch r {
	case ReasonNone:
		return ""
	case ReasonServer:
		return "server does not answer"
	case ReasonSession:
		return "no session"
	case ReasonBuilder:
		return "builder does not answer"
	case ReasonContainers:
		return "container service does not answer"
	case ReasonRegistry:
		return "registry does not answer"
	case ReasonCredential:
		return "credentials refused"
	case ReasonDisk:
		return "disk full"
	case ReasonCleanup:
		return "removing leftovers"
	case ReasonIdle:
		return "idle"
	case ReasonBusy:
		return "busy"
	case ReasonTold:
		return "told to"
	case ReasonFinished:
		return "finished"
	case ReasonFailed:
		return "failed"
	}
	return "other reason"
}

// status is the second word of a slot, which changes as a whole:
//
//	bits 0–7    the state
//	bits 8–31   how often the slot was claimed, so that a reader sees it change hands
//	bits 32–47  the reason
//	bits 48–63  by how many ms a beat may be older than the moment it was made
type status uint64

const (
	turnBits = 24
	turnMask = status(1<<turnBits-1) << 8
	stepBits = 48
	// maxStep is the most, in ms, that a slot may ask of its reader's patience.
	maxStep = 1000
)

func (s status) state() State   { return State(s & 0xff) }
func (s status) reason() Reason { return Reason(s >> 32 & 0xffff) }
func (s status) step() uint64   { return uint64(s >> stepBits) } // ms

// next is a status without state and reason, of the next one who claims the slot and
// has a clock of that step, in whole ms.
func (s status) next(step time.Duration) status {
	return (s&turnMask+1<<8)&turnMask | status(step/time.Millisecond)<<stepBits //nolint:gosec // not negative
}

// with has another state and reason.
func (s status) with(state State, reason Reason) status {
	return s&turnMask | s>>stepBits<<stepBits | status(state) | status(reason)<<32
}
