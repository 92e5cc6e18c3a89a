package ado

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// What a caller may branch on. A *[StatusError] matches the one that its type
// key or status stands for.
var (
	// ErrUnauthorized says that the service does not accept the credential, or
	// no longer.
	ErrUnauthorized = errors.New("the credential is not accepted")
	// ErrAccessDenied says that the credential is good and lacks a permission.
	ErrAccessDenied = errors.New("a permission is missing")
	// ErrPoolNotFound says that no pool has this name or id.
	ErrPoolNotFound = errors.New("the pool does not exist")
	// ErrAgentNotFound says that the agent is not registered.
	ErrAgentNotFound = errors.New("the agent does not exist")
	// ErrAgentExists says that the name is taken in this pool.
	ErrAgentExists = errors.New("an agent of this name exists")
	// ErrRevoked says that an administrator took the registration back.
	ErrRevoked = errors.New("the registration was revoked")
	// ErrSessionConflict says that another session of this agent is alive.
	ErrSessionConflict = errors.New("another session of this agent is alive")
	// ErrSessionExpired says that the session is over and a new one is needed.
	ErrSessionExpired = errors.New("the session has expired")
	// ErrLockLost says that a request is no longer this agent's.
	ErrLockLost = errors.New("the request is no longer locked to this agent")
	// ErrPlanGone says that a plan is over, or that the job token no longer opens it.
	ErrPlanGone = errors.New("the plan is over or closed to this job")
	// ErrClockSkew says that this machine's clock is wrong and that the server's
	// time could not be used instead.
	ErrClockSkew = errors.New("the clock of this machine is wrong")
	// ErrMalformedMessage says that a message could not be decrypted.
	ErrMalformedMessage = errors.New("the message cannot be decrypted")
	// ErrOutputsLost says that output variables did not reach the server, so
	// that dependent jobs would see wrong ones.
	ErrOutputsLost = errors.New("output variables did not reach the server")

	// errNotOffered says that the server does not have a resource at all.
	errNotOffered = errors.New("the server does not offer this resource")
	// errFileName says that an attachment cannot be called what it is called.
	errFileName = errors.New("not a file name")
)

// causes tells what each type key means to a caller (protocol §1.8).
var causes = map[TypeKey]error{
	KeyPoolNotFound:       ErrPoolNotFound,
	KeyAgentNotFound:      ErrAgentNotFound,
	KeyAgentExists:        ErrAgentExists,
	KeySessionConflict:    ErrSessionConflict,
	KeySessionExpired:     ErrSessionExpired,
	KeyAccessTokenExpired: ErrRevoked,
	KeyJobNotFound:        ErrLockLost,
	KeyJobTokenExpired:    ErrLockLost,
	KeyAccessDenied:       ErrAccessDenied,
	KeyUnauthorized:       ErrUnauthorized,
	KeyPlanNotFound:       ErrPlanGone,
	KeyPlanSecurity:       ErrPlanGone,
	KeyPlanTerminated:     ErrPlanGone,
	KeyPlanJobNotFound:    ErrPlanGone,
}

// StatusError is an answer that refuses, or one that is not JSON where JSON was
// asked for. It carries no part of a JSON body, which may hold tokens, but for
// the sentence that names the owner of a session.
type StatusError struct {
	Method     string
	Path       string // without the query
	Code       int
	TypeKey    TypeKey       // empty when the body was not the service's
	ActivityID string        // what Microsoft's support asks for
	RetryAfter time.Duration // zero when the server did not say
	Excerpt    string        // first half kilobyte of a body that was not JSON: it came from something in between
	Owner      string        // of [ErrSessionConflict]: the service's sentence, which names the other session's owner

	hostOffline  bool // the service asked not to be tried again
	signIn       bool // a sign-in page in place of an answer
	tokenRequest bool // the stricter-spoken token endpoint: 500 is tried again
}

// Error names the call, the status, and what kind of refusal it was.
func (e *StatusError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %d", e.Method, e.Path, e.Code)
	if text := http.StatusText(e.Code); text != "" {
		b.WriteString(" " + text)
	}
	if e.TypeKey != "" {
		b.WriteString(", " + string(e.TypeKey))
	}
	if e.ActivityID != "" {
		b.WriteString(", activity " + e.ActivityID)
	}
	if e.Owner != "" {
		fmt.Fprintf(&b, ", %q", e.Owner)
	}
	if e.Excerpt != "" {
		fmt.Fprintf(&b, ", answered not by the service but with %q", e.Excerpt)
	}
	return b.String()
}

// Temporary reports whether the same request may succeed a little later: 502,
// 503 and 504, unless the service says that its host is offline, and 429, which
// Microsoft's agent does not repeat; for a token request 500 as well (protocol
// §1.9).
func (e *StatusError) Temporary() bool {
	switch e.Code {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return !e.hostOffline
	case http.StatusTooManyRequests:
		return true
	case http.StatusInternalServerError:
		return e.tokenRequest
	}
	return false
}

// Is reports whether target is the sentinel that e stands for.
func (e *StatusError) Is(target error) bool {
	if cause, ok := causes[e.TypeKey]; ok {
		return cause == target
	}
	switch target {
	case ErrUnauthorized:
		return e.signIn || e.Code == http.StatusUnauthorized
	case ErrAccessDenied:
		return e.Code == http.StatusForbidden && e.TypeKey == "" && e.Excerpt == "" // a page is a proxy's
	}
	return false
}
