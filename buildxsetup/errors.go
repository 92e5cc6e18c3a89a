package buildxsetup

import (
	"fmt"
	"time"
)

// UnreachableError says that the buildkitd at Endpoint could not be reached or
// did not answer for the time Waited, and why it did not at the last attempt.
type UnreachableError struct {
	Endpoint string
	Waited   time.Duration
	Err      error
}

func (e *UnreachableError) Error() string {
	if e.Waited <= 0 {
		return fmt.Sprintf("buildkitd at %s does not answer: %v", e.Endpoint, e.Err)
	}
	return fmt.Sprintf("buildkitd at %s does not answer after %s: %v", e.Endpoint, e.Waited.Round(time.Millisecond), e.Err)
}

// Unwrap returns the reason of the last attempt.
func (e *UnreachableError) Unwrap() error { return e.Err }
