package entra

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
)

// maxAnswer bounds what is read of one answer; a token is a few kilobytes.
const maxAnswer = 1 << 20

// wire carries azidentity's requests and remembers how the last one failed. What
// azidentity makes of a failure is text of many lines that quotes the answer.
type wire struct {
	http *http.Client

	failure error    // the last request got no answer
	refusal *refusal // it got one that refuses
	host    string   // whom it was sent to
}

// refusal is what an OAuth endpoint says no with.
type refusal struct {
	status int
	code   string // OAuth's short name, or empty
	number int    // of Microsoft's AADSTS errors, or zero
}

// Do implements azcore's policy.Transporter.
func (w *wire) Do(req *http.Request) (*http.Response, error) {
	w.failure, w.refusal, w.host = nil, nil, req.URL.Host
	answer, err := w.http.Do(req) //nolint:gosec // the authority is the operator's to name
	if err != nil {
		if wrapped, ok := errors.AsType[*url.Error](err); ok {
			err = wrapped.Err // the rest repeats the address
		}
		w.failure = err
		return nil, err
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if cerr := answer.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		w.failure = fmt.Errorf("reading the answer: %w", err)
		return nil, w.failure
	}
	answer.Body = io.NopCloser(bytes.NewReader(body))
	w.refusal = readRefusal(answer.StatusCode, body)
	return answer, nil
}

var (
	// oauthCode is what an OAuth error code looks like; anything else is not quoted.
	oauthCode = regexp.MustCompile(`^[a-zA-Z_]{1,64}$`)
	aadsts    = regexp.MustCompile(`AADSTS(\d{4,9})`)
)

// readRefusal takes the codes from an answer and none of its text, which may
// repeat what was sent.
func readRefusal(status int, body []byte) *refusal {
	r := &refusal{status: status}
	var problem struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
	}
	if json.Unmarshal(body, &problem) != nil {
		return r
	}
	if oauthCode.MatchString(problem.Error) {
		r.code = problem.Error
	}
	if found := aadsts.FindStringSubmatch(problem.Description); found != nil {
		r.number, _ = strconv.Atoi(found[1]) // digits only
	} else if len(problem.Codes) > 0 {
		r.number = problem.Codes[0]
	}
	return r
}
