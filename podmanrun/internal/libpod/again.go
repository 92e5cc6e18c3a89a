package libpod

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// askAgain is for what another job's removal or a process' end broke. Podman collects the
// names of a list first, looks at each after, and answers 500 when one has gone in
// between: 7 of 117 lists of Podman 4.3.1, while four others made and removed volumes
// all the time. Each attempt starts from new names, so that only a Podman where
// something ends all the time spends all ten, four seconds.
var askAgain = retry.Policy{Attempts: 10, First: 20 * time.Millisecond, Max: 500 * time.Millisecond, Retryable: isStumble}

// errStumble means that an answer stumbled over something that ended meanwhile.
var errStumble = errors.New("the answer stumbled")

func isStumble(err error) bool { return errors.Is(err, errStumble) }

// asked sends a request, and again while its answer stumbles. The last answer is the
// caller's.
func (a answers) asked(r *http.Request, stumbled func(refused) bool) (resp *http.Response, err error) {
	ended := retry.Do(r.Context(), askAgain, func(context.Context) error {
		if resp != nil {
			_ = resp.Body.Close() // what is wrong with it has been read
		}
		if resp, err = a.to.RoundTrip(r); err != nil || resp.StatusCode != http.StatusInternalServerError { //nolint:bodyclose // the last one is the caller's, each before it is closed above
			return nil
		}
		if says, ok := peek(resp); !ok || !stumbled(says) {
			return nil
		}
		return errStumble
	})
	if ended != nil && r.Context().Err() != nil {
		_ = resp.Body.Close() // likewise
		return nil, context.Cause(r.Context())
	}
	return resp, err
}

// stumbleOf returns what tells a refusal of a request that stumbled over something which
// ended meanwhile from every other; nil is for requests that are sent once only.
func stumbleOf(r *http.Request) func(refused) bool {
	switch {
	case r.Method != http.MethodGet || r.Body != nil && r.Body != http.NoBody:
		return nil
	case isList(r):
		return refused.ofRemoved
	case isLook(r):
		return refused.ofEnded
	}
	return nil
}

// isList reports whether a reading request is for a list, or for the use of the disk,
// which is made from lists.
func isList(r *http.Request) bool {
	if filters := r.URL.Query().Get("filters"); strings.Contains(filters, `"since"`) || strings.Contains(filters, `"before"`) {
		return false // a container that they name and that is not there is the asker's mistake, in the same words
	}
	parts, docker := partsOf(r)
	switch {
	case docker && len(parts) == 1:
		return parts[0] == "volumes" || parts[0] == "networks"
	case len(parts) == 2:
		return slices.Contains([]string{"containers/json", "images/json", "networks/json", "pods/json", "volumes/json", "system/df"}, strings.Join(parts, "/"))
	}
	return false
}

// isLook reports whether a reading request is for what there is to know of a container.
func isLook(r *http.Request) bool {
	parts, _ := partsOf(r)
	return len(parts) == 3 && parts[0] == "containers" && parts[2] == "json"
}

// ofRemoved reports whether a list stumbled over something removed since it began, in
// Podman's words "no such volume", "volume has already been removed" and the like.
func (says refused) ofRemoved() bool {
	return strings.Contains(says.Message, "no such ") || strings.Contains(says.Message, "has already been removed")
}

// ofEnded reports whether a look at a container stumbled over its process, which ended
// while Podman read its control group: "open /proc/4932/cgroup: no such process".
func (says refused) ofEnded() bool {
	return strings.Contains(says.Message, "/proc/") && strings.HasSuffix(says.Message, "no such process")
}
