package libpod

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

// listAgain is for lists that another job's removal broke: Podman collects the names
// first, looks at each after, and answers 500 when one has gone in between: 7 of 117
// lists of Podman 4.3.1, while four others made and removed volumes all the time. Each
// attempt starts from new names, so that only a Podman which removes all the time
// spends all ten, four seconds.
var listAgain = retry.Policy{Attempts: 10, First: 20 * time.Millisecond, Max: 500 * time.Millisecond, Retryable: goneMeanwhile}

// list asks for the list at path and decodes it into result.
func (c *Client) list(ctx context.Context, path string, query url.Values, what string, result any) error {
	return retry.Do(ctx, listAgain, func(ctx context.Context) error {
		return c.call(ctx, request{method: http.MethodGet, path: path, query: query, what: what}, result)
	})
}

// goneMeanwhile says whether err is a list's that stumbled over something removed
// since it began, in Podman's words "no such volume", "no such container" and the like.
func goneMeanwhile(err error) bool {
	refused, ok := errors.AsType[*StatusError](err)
	return ok && refused.Code == http.StatusInternalServerError && strings.Contains(refused.Message, "no such ")
}
