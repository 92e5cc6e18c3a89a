package libpod

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// answers carries requests to the service and puts right what it answers while others
// remove something. A list is asked for again, and so is a container whose process ends
// at that moment. Something that is being removed is still
// found, and whoever asks for it waits for its lock, which the removal holds. Then Podman
// answers 500 with "no such container", in nearly every request for one thing; a moment
// later it would be 404. Here it is 404 at once.
type answers struct{ to http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (a answers) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if stumbled := stumbleOf(r); stumbled != nil {
		resp, err = a.asked(r, stumbled)
	} else {
		resp, err = a.to.RoundTrip(r)
	}
	if err == nil && resp.StatusCode == http.StatusInternalServerError {
		correct(r, resp)
	}
	return resp, err
}

// CloseIdleConnections is what an [http.Client] calls to close those of the service.
func (a answers) CloseIdleConnections() {
	if t, ok := a.to.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// correct makes the refusal of a request for something that has gone a 404.
func correct(r *http.Request, resp *http.Response) {
	about := subjectOf(r)
	says, ok := peek(resp)
	if !ok || !about.gone(says) {
		return
	}
	if about.docker { // whose clients look for these words
		says.Message = "No such " + dockerWords[about.kind] + ": " + about.name
	}
	says.Response = http.StatusNotFound
	data, _ := json.Marshal(says) // texts and numbers always encode
	_ = resp.Body.Close()         // what it had has been read
	resp.StatusCode, resp.Status = says.Response, strconv.Itoa(says.Response)+" "+http.StatusText(says.Response)
	resp.Body, resp.ContentLength, resp.TransferEncoding = io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
	resp.Header.Set("Content-Length", strconv.Itoa(len(data)))
}

// maxRefusal is more than any refusal of Podman's has, in bytes.
const maxRefusal = 64 << 10

// refused is Podman's error object.
type refused struct {
	Cause    string `json:"cause"` // the words of the innermost error
	Message  string `json:"message"`
	Response int    `json:"response"`
}

// peek reads the refusal in an answer, which stays to be read; ok is false for
// another body.
func peek(resp *http.Response) (says refused, ok bool) {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxRefusal)) // whoever reads on meets the same error
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
	// Some handlers write a second object behind it.
	return says, json.NewDecoder(bytes.NewReader(data)).Decode(&says) == nil
}

// subject is the one thing that a request is about; its zero value is none.
type subject struct {
	kind, name string
	docker     bool // asked for in Docker's API, not libpod's
}

var versionPart = regexp.MustCompile(`^v[0-9.]+$`)

// partsOf takes the path of a request apart, after the version, and tells which API it
// is of.
func partsOf(r *http.Request) (parts []string, docker bool) {
	parts = strings.Split(strings.Trim(r.URL.EscapedPath(), "/"), "/")
	if versionPart.MatchString(parts[0]) {
		parts = parts[1:]
	}
	if len(parts) > 0 && parts[0] == "libpod" {
		return parts[1:], false
	}
	return parts, true
}

// subjectOf reads what a request is about from its path. A list and a creation are
// about nothing that is there: what is missing then is something else.
func subjectOf(r *http.Request) subject {
	parts, docker := partsOf(r)
	if len(parts) < 2 {
		return subject{}
	}
	single := r.Method == http.MethodDelete || docker && r.Method == http.MethodGet && parts[0] == "volumes"
	if len(parts) == 2 && !single {
		return subject{}
	}
	name, err := url.PathUnescape(parts[1])
	if err != nil {
		return subject{}
	}
	return subject{parts[0], name, docker}
}

// goneCauses are Podman's words, the whole of a cause, for what is not there any more.
// Others begin like them: "no such file or directory", "no such network interface".
var goneCauses = map[string][]string{
	"containers": {"no such container", "container has already been removed"},
	"exec":       {"no such container", "container has already been removed", "no such exec session", "exec session has already been removed"},
	"pods":       {"no such pod", "pod has already been removed"},
	"volumes":    {"no such volume", "volume has already been removed"},
}

var dockerWords = map[string]string{"containers": "container", "exec": "exec instance", "volumes": "volume"}

var (
	idWords = regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	isID    = regexp.MustCompile(`^[0-9a-f]{12,64}$`)
)

// gone reports whether a refusal says that the subject itself is not there any more.
func (s subject) gone(says refused) bool {
	if !slices.Contains(goneCauses[s.kind], says.Cause) {
		return false
	}
	if s.kind != "containers" || !isID.MatchString(s.name) {
		return true
	}
	// It may be another one, which depends on it or which it depends on.
	ids := idWords.FindAllString(says.Message, -1)
	return len(ids) == 0 || slices.ContainsFunc(ids, func(id string) bool { return strings.HasPrefix(id, s.name) })
}
