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

// listAgain is for lists that another job's removal broke: Podman collects the names
// first, looks at each after, and answers 500 when one has gone in between: 7 of 117
// lists of Podman 4.3.1, while four others made and removed volumes all the time. Each
// attempt starts from new names, so that only a Podman which removes all the time
// spends all ten, four seconds.
var listAgain = retry.Policy{Attempts: 10, First: 20 * time.Millisecond, Max: 500 * time.Millisecond, Retryable: isBroken}

// errBroken means that a list stumbled over something that was removed meanwhile.
var errBroken = errors.New("the list is broken")

func isBroken(err error) bool { return errors.Is(err, errBroken) }

// listed sends a request for a list, and again while it is broken. The last answer
// is the caller's.
func (a answers) listed(r *http.Request) (resp *http.Response, err error) {
	ended := retry.Do(r.Context(), listAgain, func(context.Context) error {
		if resp != nil {
			_ = resp.Body.Close() // what is wrong with it has been read
		}
		if resp, err = a.to.RoundTrip(r); err != nil || !broken(resp) { //nolint:bodyclose // the last one is the caller's, each before it is closed above
			return nil
		}
		return errBroken
	})
	if ended != nil && r.Context().Err() != nil {
		_ = resp.Body.Close() // likewise
		return nil, context.Cause(r.Context())
	}
	return resp, err
}

// isList reports whether a request is for a list, or for the use of the disk, which
// is made from lists, and can be sent again.
func isList(r *http.Request) bool {
	if r.Method != http.MethodGet || r.Body != nil && r.Body != http.NoBody {
		return false
	}
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

// broken reports whether an answer is a list's that stumbled over something removed
// since it began, in Podman's words "no such volume", "volume has already been removed"
// and the like.
func broken(resp *http.Response) bool {
	if resp.StatusCode != http.StatusInternalServerError {
		return false
	}
	says, ok := peek(resp)
	return ok && (strings.Contains(says.Message, "no such ") || strings.Contains(says.Message, "has already been removed"))
}
