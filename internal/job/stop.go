package job

import (
	"context"
	"errors"
	"time"
)

// StopReason says who ended a job early.
type StopReason string

// The reasons for which a job is ended early.
const (
	StopCanceled StopReason = "canceled"  // somebody canceled the job: later steps may still run, by their conditions
	StopShutdown StopReason = "shutdown"  // the agent was told to stop: nothing else runs
	StopLockLost StopReason = "lock lost" // the job is no longer ours: nothing else runs and nothing is reported
)

// Stop is the cause with which the context of a job is canceled. Message is one
// sentence for the job's record. Grace is how long the job may take to end
// before it is killed; zero means the runner's own ladder only.
type Stop struct { //nolint:errname // it is the cause of a context, never a failure
	Reason  StopReason
	Message string
	Grace   time.Duration
}

// Error returns the message.
func (s *Stop) Error() string { return s.Message }

// StopOf returns why ctx was ended. A context that ended without a [Stop] counts
// as a shutdown, because nobody asked for the job to be canceled. It returns nil
// while ctx is alive.
func StopOf(ctx context.Context) *Stop {
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	if s, ok := errors.AsType[*Stop](cause); ok {
		return s
	}
	return &Stop{Reason: StopShutdown, Message: cause.Error()}
}
