package podmanrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// errorLines is how many of a failed service's last lines its error carries.
const errorLines = 50

// FailureKind says what kept a service from coming up, for programs.
type FailureKind string

// Kinds of failures. FailureOther is one that has no name here: Podman's words are
// in the error.
const (
	FailureOther               FailureKind = "other"
	FailureExited              FailureKind = "exited"              // the container ended; Code says how
	FailureOutOfMemory         FailureKind = "outOfMemory"         // it was killed for want of memory
	FailureUnhealthy           FailureKind = "unhealthy"           // its healthcheck failed too often
	FailureTimeout             FailureKind = "timeout"             // it was not ready in time
	FailureDependency          FailureKind = "dependency"          // what it waits for can never be as it wants it
	FailureImageMissing        FailureKind = "imageMissing"        // no such image, in the storage or the registry
	FailureImageDenied         FailureKind = "imageDenied"         // the registry wants other credentials
	FailureRegistryBusy        FailureKind = "registryBusy"        // the registry limits requests
	FailureRegistryBroken      FailureKind = "registryBroken"      // the registry fails
	FailureRegistryUnreachable FailureKind = "registryUnreachable" // the registry does not answer
	FailurePlatform            FailureKind = "platformMismatch"    // the image is for another machine
	FailurePortTaken           FailureKind = "portTaken"           // somebody else listens there
	FailureNameTaken           FailureKind = "nameTaken"           // somebody else's container has the name
	FailureSubnetTaken         FailureKind = "subnetTaken"         // addresses of a network are in use
	FailureMountMissing        FailureKind = "mountMissing"        // the source of a bind mount is not there
	FailureDeviceMissing       FailureKind = "deviceMissing"       // a device or a name of CDI is not there
	FailureCommandMissing      FailureKind = "commandMissing"      // the program is not in the image
	FailureNotPermitted        FailureKind = "notPermitted"        // Podman may not do what was asked
	FailureUnsupported         FailureKind = "unsupported"         // this release of Podman cannot do it
)

// ServiceError says which service kept a stack from coming up, and why. Err holds
// what Podman said, as a [*StatusError] when it refused.
type ServiceError struct {
	Project string
	Service string
	Replica int // which of its containers, counted from 1; zero when it has one
	Kind    FailureKind
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

// MarshalJSON writes the failure for programs.
func (e *ServiceError) MarshalJSON() ([]byte, error) {
	var code *int
	if e.Exited {
		code = &e.Code
	}
	return json.Marshal(struct {
		Project  string      `json:"project"`
		Service  string      `json:"service"`
		Replica  int         `json:"replica,omitempty"`
		Kind     FailureKind `json:"kind"`
		Message  string      `json:"message"`
		Hints    []string    `json:"hints,omitempty"`
		ExitCode *int        `json:"exitCode,omitempty"`
		Health   string      `json:"health,omitempty"`
		Logs     []string    `json:"logs,omitempty"`
		Chain    []string    `json:"chain,omitempty"`
	}{e.Project, e.Service, e.Replica, e.Kind, e.Error(), hint.All(e), code, e.Health, e.Logs, e.Chain})
}

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

// reason is a failure in our words, cause first, with what it was made from.
type reason struct {
	text string
	err  error
}

func (r *reason) Error() string { return r.text }
func (r *reason) Unwrap() error { return r.err }

// because says in text what err means; err stays findable.
func because(err error, format string, args ...any) error {
	return &reason{text: fmt.Sprintf(format, args...), err: err}
}

// kindOf is what an error says of itself.
func kindOf(err error) FailureKind {
	if pull, ok := errors.AsType[*libpod.PullError](err); ok {
		return map[libpod.PullKind]FailureKind{
			libpod.PullNotFound: FailureImageMissing, libpod.PullDenied: FailureImageDenied, libpod.PullBusy: FailureRegistryBusy,
			libpod.PullBroken: FailureRegistryBroken, libpod.PullUnreachable: FailureRegistryUnreachable,
			libpod.PullPlatform: FailurePlatform, libpod.PullOther: FailureOther,
		}[pull.Origin.Kind]
	}
	if _, ok := errors.AsType[*libpod.UnsupportedError](err); ok {
		return FailureUnsupported
	}
	if _, ok := errors.AsType[*waitTimeoutError](err); ok {
		return FailureTimeout
	}
	switch {
	case errors.Is(err, libpod.ErrNoImage):
		return FailureImageMissing
	case errors.Is(err, errUnhealthy):
		return FailureUnhealthy
	case errors.Is(err, errDependency):
		return FailureDependency
	case errors.Is(err, errPlatform):
		return FailurePlatform
	}
	return FailureOther
}
