package podmanrun

import "strconv"

// EventKind says what happened to a service while a stack comes up or goes down.
type EventKind string

// Kinds of events, in the order in which a service usually goes through them.
const (
	EventWarning   EventKind = "warning"   // something was ignored; Service may be empty
	EventBuilding  EventKind = "building"  // Text is a line of the builder, or empty
	EventBuilt     EventKind = "built"     // the image is in Podman's storage
	EventPulling   EventKind = "pulling"   // Text is Podman's progress
	EventPulled    EventKind = "pulled"    // the image is present
	EventWarm      EventKind = "warm"      // its volumes have what an earlier start left in them
	EventKeeping   EventKind = "keeping"   // the container is stopped and started again, so that its volumes can be kept
	EventKept      EventKind = "kept"      // an unchanged container goes on running
	EventCreated   EventKind = "created"   // the container exists
	EventStarted   EventKind = "started"   // the container runs
	EventRestarted EventKind = "restarted" // it runs anew
	EventHealthy   EventKind = "healthy"   // the healthcheck passed
	EventUnhealthy EventKind = "unhealthy" // the healthcheck failed too often
	EventExited    EventKind = "exited"    // the container ended; Text has the exit code
	EventStopped   EventKind = "stopped"   // somebody asked for its end
	EventKilled    EventKind = "killed"    // it was sent a signal
	EventPaused    EventKind = "paused"    // its processes are frozen
	EventUnpaused  EventKind = "unpaused"  // its processes go on
	EventRemoved   EventKind = "removed"   // the container is gone
)

// Event is one thing that happened. Events are delivered one at a time.
type Event struct {
	Service string    `json:"service,omitempty"`
	Replica int       `json:"replica,omitempty"` // which of a service's containers, counted from 1; zero when it has one
	Kind    EventKind `json:"kind"`
	Text    string    `json:"text,omitempty"`
}

// Subject is what the event is about, for people: the service, and which of its
// containers when it has several.
func (e Event) Subject() string { return subject(e.Service, e.Replica) }

func subject(service string, replica int) string {
	if replica == 0 {
		return service
	}
	return service + "-" + strconv.Itoa(replica)
}
