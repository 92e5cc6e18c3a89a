package dockerapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// maxBody is the longest request that is read whole, in bytes. A container's
// description is a few KiB; one with every file of a repository in its labels is
// a mistake.
const maxBody = 4 << 20

// maxAnswer is the longest answer that is read whole, in bytes: a list of some
// ten thousand containers.
const maxAnswer = 64 << 20

// refusal is an answer of our own that is no success.
type refusal struct {
	code int
	text string
}

func (r *refusal) Error() string { return r.text }

// refuse writes err as Docker and Podman do: both read message, libpod's clients
// also cause and response.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusBadGateway
	if r, ok := errors.AsType[*refusal](err); ok {
		code = r.code
	}
	writeJSON(w, code, map[string]any{"message": err.Error(), "cause": err.Error(), "response": code})
}

func writeJSON(w http.ResponseWriter, code int, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("dockerapi: writing %T as JSON: %v", value, err)) // texts, numbers and JSON only
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(code)
	_, _ = w.Write(data) // a client that is gone needs no answer
}

// call is one request of a client, taken apart: /version/libpod/parts.
type call struct {
	w       http.ResponseWriter
	r       *http.Request
	version string // as in "v1.41"; empty: the client names none
	libpod  bool   // Podman's own API, not Docker's
	parts   []string
	query   url.Values
}

var versionPart = regexp.MustCompile(`^v[0-9]+(\.[0-9]+)*$`)

// newCall takes a request apart. Paths and queries that could be read in two ways are
// refused, because what is judged here must be what Podman carries out.
func newCall(w http.ResponseWriter, r *http.Request) (*call, error) {
	c := &call{w: w, r: r}
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), "/")
	if !ok {
		return nil, &refusal{http.StatusBadRequest, "the request has no path"}
	}
	for part := range strings.SplitSeq(path, "/") {
		text, err := url.PathUnescape(part)
		if err != nil || text == "" || text == "." || text == ".." || strings.ContainsRune(text, 0) {
			return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("the path %q cannot be read", r.URL.Path)}
		}
		c.parts = append(c.parts, text)
	}
	if versionPart.MatchString(c.parts[0]) {
		c.version, c.parts = c.parts[0], c.parts[1:]
	}
	if len(c.parts) > 0 && c.parts[0] == "libpod" {
		c.libpod, c.parts = true, c.parts[1:]
	}
	if len(c.parts) == 0 {
		return nil, &refusal{http.StatusNotFound, "page not found"}
	}
	var err error
	c.query, err = parseQuery(r.URL.RawQuery)
	return c, err
}

// is reports whether the request is method on the path parts; "*" stands for
// any one part, and as the last for any number of them.
func (c *call) is(method string, parts ...string) bool {
	if method != "*" && c.r.Method != method {
		return false
	}
	for i, want := range parts {
		switch {
		case i >= len(c.parts):
			return false
		case want != "*" && want != c.parts[i]:
			return false
		}
	}
	return len(parts) == len(c.parts) || len(parts) < len(c.parts) && parts[len(parts)-1] == "*"
}

// url returns where the request goes at Podman.
func (c *call) url() *url.URL {
	var parts []string
	if c.version != "" {
		parts = append(parts, c.version)
	}
	if c.libpod {
		parts = append(parts, "libpod")
	}
	parts = append(parts, c.parts...)
	escaped := slices.Clone(parts)
	for i := range escaped {
		escaped[i] = url.PathEscape(escaped[i])
	}
	return &url.URL{
		Scheme: "http", Host: "podman", RawQuery: c.query.Encode(),
		Path: "/" + strings.Join(parts, "/"), RawPath: "/" + strings.Join(escaped, "/"),
	}
}

// body reads the request as a JSON object; an empty one is an empty object.
func (c *call) body() (object, error) {
	data, err := io.ReadAll(io.LimitReader(c.r.Body, maxBody+1))
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("reading the request: %v", err)}
	}
	if len(data) > maxBody {
		return nil, &refusal{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is longer than %d MiB", maxBody>>20)}
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return object{}, nil
	}
	o, err := parseObject(data)
	if err != nil {
		return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("reading the request: %v", err)}
	}
	return o, nil
}

// send makes o the request's body.
func (c *call) send(o object) {
	data := o.encode()
	c.r.Body, c.r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	c.r.Header.Set("Content-Type", "application/json")
	c.r.Header.Set("Content-Length", strconv.Itoa(len(data)))
	c.r.TransferEncoding = nil
}

// forward sends the request on and passes the answer back as it comes, also
// when it is a stream or a raw connection. Change, unless nil, sees the answer
// first.
func (s *Server) forward(c *call, change func(*http.Response) error) error {
	proxy := httputil.ReverseProxy{
		Transport: s.transport, FlushInterval: -1, ErrorLog: s.http.ErrorLog, ModifyResponse: change,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL, r.Out.Host = c.url(), "podman"
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			s.log.DebugContext(r.Context(), "docker request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			refuse(w, fmt.Errorf("asking Podman: %w", err))
		},
	}
	proxy.ServeHTTP(c.w, c.r)
	return nil
}

// readAnswer reads a successful JSON answer into value; ok is false for any other.
func readAnswer(resp *http.Response, value any) (ok bool, err error) {
	if resp.StatusCode/100 != 2 {
		return false, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(data) > maxAnswer {
		err = fmt.Errorf("podman's answer is longer than %d MiB", maxAnswer>>20)
	}
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return false, err
	}
	replaceAnswer(resp, data)
	if err := json.Unmarshal(data, value); err != nil {
		return false, fmt.Errorf("reading podman's answer: %w", err)
	}
	return true, nil
}

// replaceAnswer makes data the body of resp.
func replaceAnswer(resp *http.Response, data []byte) {
	resp.Body, resp.ContentLength, resp.TransferEncoding = io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
	resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
}
