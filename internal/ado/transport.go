package ado

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/retry"
)

// Options are what every client of this package needs.
type Options struct {
	HTTP       http.RoundTripper // connections, usually from [NewHTTP]; may be shared
	Log        *slog.Logger
	UserAgent  string        // our product and version, as in "dockless/1.0"
	Timeout    time.Duration // one attempt of one request, its answer included
	Retries    int           // attempts after the first; zero is none
	RetryPause time.Duration // before the first of them; it doubles
	Clock      *Clock        // learns the server's time; nil: nobody does
}

// The values of protocol §1.9.
const (
	DefaultTimeout    = 100 * time.Second
	DefaultRetries    = 3
	DefaultRetryPause = 10 * time.Second
	maxRetryPause     = 10 * time.Minute
)

const (
	// maxAnswer bounds what is read of one answer. The largest are job
	// messages; a hundred steps with long scripts stay below a megabyte.
	maxAnswer = 64 << 20
	// excerptLength is how much of a foreign body an error quotes.
	excerptLength = 512
	// challengeRounds is how often one request may be repeated with a new token
	// (protocol §3.3 asks for a bound): once for a token that expired on the
	// way, once for one that another process renewed at the same moment.
	challengeRounds = 2
)

// authorizer puts a credential on requests.
type authorizer interface {
	// authorize sets req's header and returns the secret it used.
	authorize(ctx context.Context, req *http.Request) (secret string, err error)
	// refused is told that secret was not accepted, and reports whether another
	// attempt would use a new one.
	refused(secret string) bool
}

// transport is what every request passes: it authorizes, bounds, retries, and
// turns refusals into *[StatusError]. Answers are read completely before they
// are returned, so a bound covers the body too.
type transport struct {
	options  Options
	auth     authorizer // nil: none
	token    bool       // requests go to the token endpoint
	throttle *throttle  // of the identity behind auth; nil: none
}

type noRetryKey struct{}

// withoutRetries marks calls whose caller has a rhythm of its own: the poll and
// the renewal, which have their waits in the protocol, the reports of a job, which
// are repeated for as long as the job is ours, and the feed, which is not worth a
// second attempt.
func withoutRetries(ctx context.Context) context.Context {
	return context.WithValue(ctx, noRetryKey{}, true)
}

// RoundTrip implements http.RoundTripper. It returns an error for every answer
// that is not a success.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if b, ok := req.Body.(repeatable); ok {
		req = req.Clone(req.Context())
		req.ContentLength = int64(b.length())
		req.GetBody = func() (io.ReadCloser, error) { return b.again(), nil }
	}
	retries := t.options.Retries
	if req.Context().Value(noRetryKey{}) != nil || (req.Body != nil && req.GetBody == nil) {
		retries = 0
	}
	var answer *http.Response
	attempts := 0
	err := retry.Do(req.Context(), retry.Policy{
		Attempts:  retries + 1,
		First:     t.options.RetryPause,
		Max:       maxRetryPause,
		Retryable: worthRetrying,
		Pause:     rest,
		Notify: func(err error, attempt int, pause time.Duration) {
			t.options.Log.WarnContext(req.Context(), "request will be repeated", "error", err, "attempt", attempt, "pause", pause)
		},
	}, func(ctx context.Context) (err error) {
		answer, err = t.challenged(ctx, req) //nolint:bodyclose // it is in memory already
		attempts++
		if status, ok := errors.AsType[*StatusError](err); ok && status.Temporary() && attempts <= retries {
			return errors.Join(err, rest(ctx, spread(status.RetryAfter)))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return answer, nil
}

// worthRetrying follows protocol §1.9: some statuses, and failures of the
// connection. What our own side refuses (a token, a redirect) is final.
func worthRetrying(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Temporary()
	}
	_, broken := errors.AsType[*connectionError](err)
	return broken
}

// connectionError is a request that got no answer.
type connectionError struct{ err error }

func (e *connectionError) Error() string { return e.err.Error() }
func (e *connectionError) Unwrap() error { return e.err }

// Temporary says yes in the name of what it wraps: net counts a connection that
// is refused or reset among what lasts.
func (e *connectionError) Temporary() bool { return true }

// challenged sends req, and once more with a new token when the answer is a
// challenge.
func (t *transport) challenged(ctx context.Context, req *http.Request) (*http.Response, error) {
	for round := 0; ; round++ {
		answer, secret, challenge, err := t.attempt(ctx, req)
		if !challenge || round == challengeRounds || t.auth == nil || (req.Body != nil && req.GetBody == nil) || !t.auth.refused(secret) {
			return answer, err
		}
	}
}

var errNoAnswer = errors.New("no complete answer in time")

// attempt sends req once. challenge reports whether the service asks for a new token.
func (t *transport) attempt(ctx context.Context, req *http.Request) (_ *http.Response, secret string, challenge bool, err error) {
	defer attend(ctx)
	if err := t.throttle.wait(ctx); err != nil {
		return nil, "", false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, t.options.Timeout,
		fmt.Errorf("%s %s: %w (%s)", req.Method, req.URL.Path, errNoAnswer, t.options.Timeout))
	defer cancel()
	sent := req.Clone(ctx)
	if req.GetBody != nil {
		if sent.Body, err = req.GetBody(); err != nil {
			return nil, "", false, fmt.Errorf("reading the request's body again: %w", err)
		}
	}
	sent.Header.Set("X-TFS-FedAuthRedirect", "Suppress")
	sent.Header.Set("User-Agent", t.options.UserAgent)
	if t.auth != nil {
		if secret, err = t.auth.authorize(ctx, sent); err != nil {
			return nil, "", false, err
		}
	}
	started := time.Now()
	answer, err := t.options.HTTP.RoundTrip(sent)
	if err != nil {
		return nil, secret, false, t.broken(ctx, req, err)
	}
	if answer.StatusCode < http.StatusInternalServerError && t.options.Clock.observe(req.URL.Host, started, answer.Header) {
		t.options.Log.WarnContext(ctx, "this machine's clock is wrong, the server's is used where it matters", "server", req.URL.Host, "server_ahead", t.options.Clock.ahead(req.URL.Host).Round(time.Second))
	}
	t.throttle.observe(ctx, answer)
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if cerr := answer.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, secret, false, t.broken(ctx, req, err)
	}
	if len(body) > maxAnswer {
		return nil, secret, false, fmt.Errorf("%s %s: the answer is larger than %d bytes", req.Method, req.URL.Path, maxAnswer)
	}
	t.options.Log.DebugContext(ctx, "request answered", "method", req.Method, "path", req.URL.Path,
		"status", answer.StatusCode, "bytes", len(body), "elapsed", time.Since(started))
	answer.Body = io.NopCloser(bytes.NewReader(body))
	answer.ContentLength = int64(len(body))
	if t.token && answer.StatusCode == http.StatusBadRequest {
		if refused := readRefusal(answer, body); refused != nil {
			return nil, secret, false, refused
		}
	}
	status := refusal(req, answer, body, secret)
	if status == nil {
		return answer, secret, false, nil
	}
	status.tokenRequest = t.token
	return nil, secret, isChallenge(status, answer), status
}

// broken describes a request without an answer. Errors of net/http quote
// addresses only, never headers.
func (t *transport) broken(ctx context.Context, req *http.Request, err error) error {
	if ctx.Err() != nil {
		if cause := context.Cause(ctx); errors.Is(cause, errNoAnswer) {
			return &connectionError{cause}
		}
		return context.Cause(ctx)
	}
	if idle, ok := t.options.HTTP.(interface{ CloseIdleConnections() }); ok {
		idle.CloseIdleConnections() // whatever broke this one broke those too
	}
	if explained := explain(t.options.HTTP, req, err); explained != nil {
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, explained) // no attempt will do better
	}
	return &connectionError{fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)}
}

// isChallenge follows protocol §3.3: 401 or 302, with a Bearer challenge, and no
// word that authentication failed for good.
func isChallenge(status *StatusError, answer *http.Response) bool {
	if status.Code != http.StatusUnauthorized && status.Code != http.StatusFound {
		return false
	}
	if status.TypeKey == KeyAccessTokenExpired || answer.Header.Get("X-VSS-AuthenticateError") != "" {
		return false
	}
	for _, c := range answer.Header.Values("WWW-Authenticate") {
		if strings.Contains(strings.ToLower(c), "bearer") {
			return true
		}
	}
	return false
}

// refusal returns the error that answer stands for, or nil for a success.
func refusal(req *http.Request, answer *http.Response, body []byte, secret string) *StatusError {
	isJSON := looksLikeJSON(body)
	wantsJSON := strings.HasPrefix(req.Header.Get("Accept"), "application/json")
	if answer.StatusCode/100 == 2 && (isJSON || len(body) == 0 || !wantsJSON) {
		return nil
	}
	e := &StatusError{
		Method: req.Method, Path: req.URL.Path, Code: answer.StatusCode,
		ActivityID:  answer.Header.Get("ActivityId"),
		RetryAfter:  retryAfter(answer.Header),
		hostOffline: answer.Header.Get("X-VSS-HostOfflineError") != "",
	}
	var problem ServiceError
	switch {
	case answer.StatusCode/100 == 3:
		// Never followed: the target would receive the credential.
		e.signIn = true
		if target, err := url.Parse(answer.Header.Get("Location")); err == nil && target.Host != "" {
			e.Excerpt = "a redirect to " + target.Host
		}
	case isJSON && json.Unmarshal(trimBOM(body), &problem) == nil:
		e.TypeKey = problem.TypeKey
		if e.TypeKey == KeySessionConflict {
			e.Owner = excerpt([]byte(problem.Message), secret)
		}
	case !isJSON && len(body) > 0:
		e.signIn = answer.StatusCode == http.StatusNonAuthoritativeInfo
		e.Excerpt = excerpt(body, secret)
	}
	return e
}

func looksLikeJSON(body []byte) bool {
	body = bytes.TrimLeft(trimBOM(body), " \t\r\n")
	return len(body) > 0 && (body[0] == '{' || body[0] == '[')
}

// excerpt quotes the beginning of a foreign body, without the credential, which
// a proxy's error page may repeat.
func excerpt(body []byte, secret string) string {
	text := strings.ToValidUTF8(string(body), "�")
	if secret != "" {
		text = strings.ReplaceAll(text, secret, mask.Replacement)
	}
	if len(text) > excerptLength {
		text = strings.ToValidUTF8(text[:excerptLength], "")
	}
	return text
}

// retryAfter reads seconds or a date, which is by the server's clock; zero when
// there is neither.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(answered(h)), 0), maxRetryPause)
	}
	return seconds(text)
}

// seconds reads a number of seconds, at most maxRetryPause; zero when it is none.
func seconds(text string) time.Duration {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || n <= 0 || math.IsNaN(n) {
		return 0
	}
	return time.Duration(min(n, maxRetryPause.Seconds()) * float64(time.Second))
}

// answered is when an answer was written, by the server's clock if it says so.
func answered(h http.Header) time.Time {
	if at, err := http.ParseTime(h.Get("Date")); err == nil {
		return at
	}
	return time.Now()
}

func trimBOM(body []byte) []byte { return bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")) }
