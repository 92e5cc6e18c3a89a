// Package job knows one job as typed values: the message a server sends, the
// timeline records that tell its progress, the causes that end it early, and
// the report that is kept of it. It talks to nobody. The server's side and the
// agent's side share these types and nothing else.
//
// A job flows through it once: a [Message] comes in, [Record] values and log
// lines go out, and a [Result] ends it.
package job

import (
	"strings"

	"github.com/google/uuid"
)

// Identifiers have their own types so that the compiler catches a swap. The
// textual ones are lower-case GUIDs with hyphens; the zero value is "none".
type (
	// RequestID names the pool's record that a job waits for or is assigned to an agent.
	RequestID int64
	// PlanID names one orchestration: the plan of a run.
	PlanID string
	// TimelineID names a tree of records.
	TimelineID string
	// RecordID names one node of a timeline. A step's record has the step's id,
	// the job's record has the job's id.
	RecordID string
	// ID names a job.
	ID string
)

// Record returns the id of the job's own timeline record.
func (id ID) Record() RecordID { return RecordID(id) }

// NewRecordID returns a random record id.
func NewRecordID() RecordID { return RecordID(uuid.NewString()) }

// Lookup finds key in m ignoring case, as the service treats variables, inputs
// and endpoint parameters. An exact match wins over one in another case.
func Lookup[V any](m map[string]V, key string) (V, bool) {
	if v, ok := m[key]; ok {
		return v, true
	}
	for k, v := range m {
		if strings.EqualFold(k, key) {
			return v, true
		}
	}
	var zero V
	return zero, false
}
