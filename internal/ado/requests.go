package ado

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// RenewRequest keeps request id locked to this agent and returns it; its
// LockedUntil is set and by the server's clock. It makes one attempt, because renewing has a rhythm of its own (protocol §7.1).
// It returns [ErrLockLost] when the server no longer counts the request as ours,
// and another error for every other refusal, an answer without a date among them.
func (c *Client) RenewRequest(ctx context.Context, id job.RequestID) (JobRequest, error) {
	var request JobRequest
	_, err := c.conn.do(withoutRetries(ctx), c.request(id, JobRequest{RequestID: id}), &request)
	if err == nil && request.LockedUntil.IsZero() {
		err = errors.New("the answer does not say until when")
	}
	if err != nil {
		return JobRequest{}, fmt.Errorf("renewing request %d: %w", id, err)
	}
	return request, nil
}

// FinishRequest ends a request whose plan is older than version 8; the others
// end with [JobClient.Complete]. It makes one attempt. It returns [ErrLockLost] as
// RenewRequest does.
func (c *Client) FinishRequest(ctx context.Context, id job.RequestID, result job.Result) error {
	_, err := c.conn.do(withoutRetries(ctx), c.request(id, JobRequest{RequestID: id, FinishTime: job.At(time.Now()), Result: result}), nil)
	if err != nil {
		return fmt.Errorf("finishing request %d: %w", id, err)
	}
	return nil
}

func (c *Client) request(id job.RequestID, body JobRequest) call {
	return call{
		method: http.MethodPatch, location: LocationJobRequests, version: versionPools,
		route: c.route(map[string]string{"requestId": strconv.FormatInt(int64(id), 10)}),
		query: url.Values{"lockToken": {ZeroGUID}},
		body:  body,
	}
}
