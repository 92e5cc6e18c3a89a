package podmanrun

import (
	"fmt"
	"strings"
)

// errorLines is how many of a failed service's last lines its error carries.
const errorLines = 50

// ServiceError says which service kept a stack from coming up, and why.
type ServiceError struct {
	Project string
	Service string
	Replica int      // which of its containers, counted from 1; zero when it has one
	Err     error    // what happened: it exited, turned unhealthy, could not be created
	Exited  bool     // the container has ended
	Code    int      // exit code, when Exited
	Logs    []string // the last lines of its output, at most 50
	Health  string   // the output of the last healthcheck
	Chain   []string // who waited, from the farthest service to this one; only this one when nobody did
}

// Error is one line; [ServiceError.Details] has the rest.
func (e *ServiceError) Error() string {
	text := fmt.Sprintf("service %s: %s", subject(e.Service, e.Replica), e.Err)
	if len(e.Chain) > 1 {
		text += " (" + strings.Join(e.Chain, " waits for ") + ")"
	}
	return text
}

func (e *ServiceError) Unwrap() error { return e.Err }

// Details returns the last healthcheck's output and the last log lines as text
// to show below the error. It is empty when there is neither.
func (e *ServiceError) Details() string {
	var b strings.Builder
	if e.Health != "" {
		fmt.Fprintf(&b, "last healthcheck of %s:\n", e.Service)
		for line := range strings.Lines(e.Health) {
			b.WriteString("  " + strings.TrimRight(line, "\r\n") + "\n")
		}
	}
	if len(e.Logs) > 0 {
		fmt.Fprintf(&b, "last lines of %s:\n", e.Service)
		for _, line := range e.Logs {
			b.WriteString("  " + line + "\n")
		}
	}
	return b.String()
}
