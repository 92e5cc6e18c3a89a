package ado

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"github.com/dockless-ci/dockless/internal/mask"
)

// Versions that requests ask for (protocol Appendix A); the server's range
// decides.
const (
	versionPools  = "5.1-preview.1"
	versionEvents = "2.0-preview.1"
	versionTasks  = "3.0-preview.1"
)

const (
	mediaJSON   = "application/json"
	mediaBinary = "application/octet-stream"
)

// connection is one address entered with one credential.
//
// The base client keeps routes in a map of the whole process, keyed by address,
// and never asks again: after a server changes its routes the process has to be
// restarted. Two first requests at the same time may both ask. It follows
// redirects and has no retries; both are settled in the transport and here. Its
// cost is one OPTIONS request in the life of a process, about 1 ms next to the
// emulator and one round trip elsewhere.
type connection struct {
	url  string
	base *azuredevops.Client
	http *http.Client

	throttle *throttle
}

func newConnection(address string, auth authorizer, o Options) (*connection, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("address %q is not an http or https URL", redactedURL(address))
	}
	if u.User != nil {
		return nil, errors.New("the address carries a user name or password")
	}
	load := newThrottle(o.Log)
	hc := &http.Client{
		Transport:     &transport{options: o, auth: auth, throttle: load},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	address = strings.TrimRight(address, "/")
	conn := &azuredevops.Connection{BaseUrl: address}
	return &connection{url: address, http: hc, throttle: load, base: azuredevops.NewClientWithOptions(conn, address, azuredevops.WithHTTPClient(hc))}, nil
}

func redactedURL(address string) string {
	if u, err := url.Parse(address); err == nil {
		return u.Redacted()
	}
	return "(unreadable)"
}

// call is one request to a resource.
type call struct {
	method   string
	location LocationID
	version  string
	route    map[string]string
	query    url.Values
	body     any       // sent as JSON unless nil
	content  io.Reader // sent as it is, in place of body
	media    string    // of content; empty is application/octet-stream
	header   map[string]string
}

// do sends c and decodes the answer into out, which may be nil. found is false
// when the answer has no body, which means "no result" (protocol §1.7).
func (c *connection) do(ctx context.Context, r call, out any) (found bool, err error) {
	answer, err := c.send(ctx, r)
	if err != nil {
		return false, err
	}
	return decode(answer, out)
}

// send sends c and returns the answer, which is in memory already.
func (c *connection) send(ctx context.Context, r call) (*http.Response, error) {
	id, err := uuid.Parse(string(r.location))
	if err != nil {
		return nil, fmt.Errorf("location id %q: %w", r.location, err)
	}
	content, media := r.content, cmp.Or(r.media, mediaBinary)
	if content == nil {
		media = ""
		if r.body != nil {
			encoded, err := json.Marshal(r.body)
			if err != nil {
				return nil, fmt.Errorf("encoding the request: %w", err)
			}
			content, media = bytes.NewReader(encoded), mediaJSON
		}
	}
	answer, err := c.base.Send(ctx, r.method, id, r.version, r.route, r.query, content, media, mediaJSON, r.header)
	if err != nil {
		return nil, cleaned(err)
	}
	return answer, nil
}

// cleaned takes the wrapping of net/http off an error, which repeats the whole
// address with its query.
func cleaned(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	if missing, ok := errors.AsType[*azuredevops.LocationIdNotRegisteredError](err); ok {
		return fmt.Errorf("%w: %s at %s", errNotOffered, missing.LocationId, missing.Url)
	}
	return err
}

func decode(answer *http.Response, out any) (found bool, err error) {
	body, err := io.ReadAll(answer.Body)
	if cerr := answer.Body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return false, fmt.Errorf("reading the answer: %w", err)
	}
	body = bytes.TrimSpace(trimBOM(body))
	if len(body) == 0 || bytes.Equal(body, []byte("null")) {
		return false, nil
	}
	if out == nil {
		return true, nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return false, fmt.Errorf("reading the answer to %s %s: %w", answer.Request.Method, answer.Request.URL.Path, jsonPosition(err))
	}
	return true, nil
}

// jsonPosition keeps where a JSON error happened and drops the value it quotes.
func jsonPosition(err error) error {
	if t, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("member %q at byte %d is of the wrong type", t.Field, t.Offset)
	}
	if s, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("no JSON from byte %d on", s.Offset)
	}
	return errors.New("a member cannot be read")
}

// connect asks who the credential belongs to, at the fixed path that works
// before discovery (protocol §1.2).
func (c *connection) connect(ctx context.Context) (ConnectionData, error) {
	address := c.url + "/_apis/connectionData?connectOptions=0&lastChangeId=-1&lastChangeId64=-1"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return ConnectionData{}, fmt.Errorf("connecting: %w", err)
	}
	req.Header.Set("Accept", mediaJSON)
	answer, err := c.http.Do(req)
	if err != nil {
		return ConnectionData{}, fmt.Errorf("connecting to %s: %w", c.url, cleaned(err))
	}
	var data ConnectionData
	found, err := decode(answer, &data)
	if err == nil && !found {
		err = errors.New("an empty answer")
	}
	if err != nil {
		return ConnectionData{}, fmt.Errorf("connecting to %s: %w", c.url, err)
	}
	return data, nil
}

// basic is a personal access token in the password position.
type basic struct{ token mask.Secret }

func (b basic) authorize(_ context.Context, req *http.Request) (string, error) {
	token := b.token.Reveal()
	// The user name is ignored by the service.
	req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("VstsAgent:"+token)))
	return token, nil
}

func (basic) refused(string) bool { return false }

// bearer is a token that nobody can renew: the job's.
type bearer struct{ token mask.Secret }

func (b bearer) authorize(_ context.Context, req *http.Request) (string, error) {
	token := b.token.Reveal()
	req.Header.Set("Authorization", "Bearer "+token)
	return token, nil
}

func (bearer) refused(string) bool { return false }

// BearerTokens gives the tokens of an identity that can sign in again, as
// Microsoft Entra's do. Both methods are called concurrently.
type BearerTokens interface {
	// Token returns a token that is good now.
	Token(ctx context.Context) (mask.Secret, error)
	// Refuse is told that the service did not accept token: the next one is to be
	// another.
	Refuse(token mask.Secret)
}

// renewing is a token that is fetched anew when it is refused.
type renewing struct{ tokens BearerTokens }

func (r renewing) authorize(ctx context.Context, req *http.Request) (string, error) {
	token, err := r.tokens.Token(ctx)
	if err != nil {
		return "", err
	}
	return bearer{token}.authorize(ctx, req)
}

func (r renewing) refused(secret string) bool {
	r.tokens.Refuse(mask.NewSecret(secret))
	return true
}

// AtConfiguredHost returns address with the scheme, host and port of configured,
// as addresses from a server on premises are used: it may know itself by another
// name than its agents do (protocol §1.1). An unreadable address stays as it is.
func AtConfiguredHost(address, configured string) string {
	a, err := url.Parse(address)
	c, cerr := url.Parse(configured)
	if err != nil || cerr != nil || c.Host == "" {
		return address
	}
	a.Scheme, a.Host = c.Scheme, c.Host
	return a.String()
}
