package emulator

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxDelay bounds one delay; no client waits for an hour.
const maxDelay = time.Hour

// faultKinds are all kinds, in the order of design §9.
var faultKinds = []FaultKind{
	FaultStatus, FaultDelay, FaultDrop, FaultReset, FaultExpireSession, FaultRevokeToken, FaultLoseLock, FaultClockSkew,
}

var (
	methodName = regexp.MustCompile(`^(\*|[A-Za-z]+)$`)
	headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$") // a token of RFC 9110 §5.6.2
)

// memberError is a mistake in one member of a fault, named as the control call
// spells it.
type memberError struct{ member, text string }

func (e *memberError) Error() string { return e.member + ": " + e.text }

func wrongMember(member, format string, args ...any) error {
	return &memberError{member, fmt.Sprintf(format, args...)}
}

// arm checks a fault and makes it ready to be compared with calls. Its error
// joins one [memberError] for every mistake.
func arm(f Fault) (*armed, error) {
	a := &armed{FaultEntry: FaultEntry{Fault: f}, method: "*", path: regexp.MustCompile("")}
	var problems []error
	problem := func(member, format string, args ...any) {
		problems = append(problems, wrongMember(member, format, args...))
	}
	if f.Match != "" {
		method, path, found := strings.Cut(f.Match, " ")
		expr, err := regexp.Compile(path)
		switch {
		case !found || !methodName.MatchString(method):
			problem("match", "%q is no method or *, one space, and an expression for the path", f.Match)
		case err != nil:
			problem("match", "%v", err)
		default:
			a.method, a.path = method, expr
		}
	}
	if f.Count < 0 {
		problem("count", "%d is less than zero", f.Count)
	}
	if f.Every < 0 {
		problem("every", "%d is less than zero", f.Every)
	}
	switch f.Kind {
	case FaultStatus:
		problems = append(problems, f.Answer.check())
	case FaultDelay:
		if f.For <= 0 || f.For > maxDelay {
			problem("value", "a delay of %s is not between 0 and %s", f.For, maxDelay)
		}
	case FaultClockSkew:
		if f.For == 0 {
			problem("value", "a clock that is shifted by nothing is right")
		}
		a.Match, a.Count, a.Every = "", 0, 0
		a.method, a.path = "*", regexp.MustCompile("")
	default:
		if !slices.Contains(faultKinds, f.Kind) {
			problem("kind", "%q is none of %s", f.Kind, kindNames())
		}
	}
	return a, errors.Join(problems...)
}

func kindNames() string {
	var names []string
	for _, k := range faultKinds {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

// check reports everything that is wrong with the answer.
func (a FaultAnswer) check() error {
	var problems []error
	problem := func(member, format string, args ...any) {
		problems = append(problems, wrongMember("value."+member, format, args...))
	}
	bare := a.Code == http.StatusNoContent || a.Code == http.StatusNotModified
	switch {
	case a.Code == 0 && a.RetryAfter == 0 && len(a.Headers) == 0:
		problem("code", "is missing, and there is no header to add either")
	case a.Code == 0 && (a.Body != nil || a.TypeKey != "" || a.ContentType != "" || a.After):
		problem("code", "is missing; typeKey, body, contentType and after go with one")
	case a.Code != 0 && (a.Code < 200 || a.Code > 599):
		problem("code", "%d is not between 200 and 599", a.Code)
	case bare && a.Body != nil && *a.Body != "":
		problem("body", "an answer %d has none", a.Code)
	}
	if a.RetryAfter < 0 || a.RetryAfter%time.Second != 0 {
		problem("retryAfter", "%s is no whole number of seconds", a.RetryAfter)
	}
	if a.ContentType != "" && a.Body == nil {
		problem("contentType", "there is no body it could describe")
	}
	if strings.ContainsFunc(a.ContentType, isControl) {
		problem("contentType", "%q holds a control character", a.ContentType)
	}
	for name, value := range a.Headers {
		switch {
		case !headerName.MatchString(name):
			problem("headers", "%q is no name of a header", name)
		case strings.ContainsFunc(value, isControl):
			problem("headers", "the value of %s holds a control character", name)
		}
	}
	return errors.Join(problems...)
}

// isControl reports whether a header cannot hold r.
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
