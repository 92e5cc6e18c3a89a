package libpod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// apiVersion is the oldest libpod API that has every endpoint used here; Podman
// 4.x and 5.x both answer it.
const apiVersion = "v4.0.0"

// requestTimeout bounds one request that should be answered at once. Creating a
// container on a busy disk takes seconds; a minute means that Podman hangs.
const requestTimeout = time.Minute

// StatusError is a refusal by the Podman service.
type StatusError struct {
	Method, Path string
	Code         int    // HTTP status
	Message      string // Podman's own words
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("podman answered %d: %s", e.Code, e.Message)
}

// request is one call of the libpod API.
type request struct {
	method, path string // path starts after /libpod; names in it are escaped by the caller
	query        url.Values
	header       http.Header
	body         any           // JSON, or an io.Reader that is sent as it is
	bound        time.Duration // zero is requestTimeout, negative leaves the bound to ctx
	what         string        // what is being done, for errors: "creating container x"
}

// call sends r and decodes the JSON answer into result unless that is nil.
// Refusals are a *[StatusError].
func (c *Client) call(ctx context.Context, r request, result any) error {
	if r.bound >= 0 {
		bound := r.bound
		if bound == 0 {
			bound = requestTimeout
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, bound, fmt.Errorf("podman did not answer within %s", bound))
		defer cancel()
	}
	body, err := c.stream(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }() // everything of interest has been read
	data, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("%s: %w", r.what, withCause(ctx, err))
	}
	if result == nil || len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, result); err != nil {
		return fmt.Errorf("%s: decoding podman's answer: %w", r.what, err)
	}
	return nil
}

// stream sends r and returns the body of the answer, which the caller closes.
func (c *Client) stream(ctx context.Context, r request) (io.ReadCloser, error) {
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// send sends r and returns the answer, whose body the caller closes.
// The bindings' own DoRequest is not used because it sends a body again after
// an error and sleeps without looking at the context.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	var body io.Reader
	contentType := "application/json"
	switch b := r.body.(type) {
	case nil:
	case io.Reader:
		body, contentType = b, "application/x-tar"
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.what, err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, "http://d/"+apiVersion+"/libpod"+r.path, body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.what, err)
	}
	req.URL.RawQuery = r.query.Encode()
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	maps.Copy(req.Header, r.header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.what, withCause(ctx, err))
	}
	switch {
	case resp.StatusCode/100 == 2, resp.StatusCode == http.StatusNotModified, resp.StatusCode == http.StatusSwitchingProtocols:
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // the refusal has been read as far as it matters
	return nil, fmt.Errorf("%s: %w", r.what, &StatusError{
		Method: r.method, Path: r.path, Code: resp.StatusCode, Message: refusal(resp.Body),
	})
}

// refusal reads Podman's error object, or quotes the start of what came instead.
func refusal(body io.Reader) string {
	data, _ := io.ReadAll(io.LimitReader(body, 64<<10)) // a broken body is quoted as far as it came
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &answer) == nil && answer.Message != "" {
		return answer.Message
	}
	return strings.TrimSpace(string(data[:min(len(data), 512)]))
}

// withCause puts the cause of an ended ctx in front of err.
func withCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// HasStatus reports whether err is a refusal with this HTTP status.
func HasStatus(err error, code int) bool {
	status, ok := errors.AsType[*StatusError](err)
	return ok && status.Code == code
}

// filters encodes label filters as the API wants them.
func filters(labels map[string]string) url.Values {
	list := make([]string, 0, len(labels))
	for k, v := range labels {
		list = append(list, k+"="+v)
	}
	data, _ := json.Marshal(map[string][]string{"label": list}) // strings always encode
	return url.Values{"filters": {string(data)}}
}
