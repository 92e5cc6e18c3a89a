package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxJSON bounds a JSON body. The largest true one is a records PATCH of a few
// hundred records.
const maxJSON = 16 << 20

// list is how a response that is a list is wrapped (§1.7).
type list[T any] struct {
	Count int `json:"count"`
	Value []T `json:"value"`
}

func listOf[T any](values []T) list[T] {
	if values == nil {
		values = []T{}
	}
	return list[T]{Count: len(values), Value: values}
}

// raw is an answer that is not JSON.
type raw struct {
	contentType string
	body        []byte
}

// streamed is an answer the endpoint has written itself.
type streamed struct{}

// answer writes what an endpoint returned: an error, nothing, or a value.
func answer(w http.ResponseWriter, value any, err error) int {
	if err != nil {
		return answerError(w, err)
	}
	switch v := value.(type) {
	case nil:
		w.WriteHeader(http.StatusNoContent)
		return http.StatusNoContent
	case streamed:
		return http.StatusOK
	case raw:
		return write(w, http.StatusOK, v.contentType, v.body)
	default:
		return answerJSON(w, http.StatusOK, v)
	}
}

func answerJSON(w http.ResponseWriter, status int, value any) int {
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(value); err != nil {
		status = http.StatusInternalServerError
		body.Reset()
		body.WriteString(`{"message":"The answer cannot be written as JSON.","typeKey":"VssServiceException"}`)
	}
	return write(w, status, "application/json; charset=utf-8", body.Bytes())
}

// write sends body with its length, never compressed and never in chunks
// (Appendix D).
func write(w http.ResponseWriter, status int, contentType string, body []byte) int {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away is its own problem
	return status
}

// errorBody is the error envelope of §1.8.
type errorBody struct {
	ID        string    `json:"$id"`
	Inner     *string   `json:"innerException"`
	Message   string    `json:"message"`
	TypeName  string    `json:"typeName"`
	TypeKey   string    `json:"typeKey"`
	ErrorCode int       `json:"errorCode"`
	EventID   int       `json:"eventId"`
	Problems  []problem `json:"errors,omitempty"` // ours, for control calls
}

// maxHeader bounds the message in a header: clients refuse headers of a few kilobytes.
const maxHeader = 1024

func answerError(w http.ResponseWriter, err error) int {
	r, ok := errors.AsType[*refusal](err)
	if !ok {
		r = &refusal{status: http.StatusInternalServerError, key: "VssServiceException", message: err.Error()}
	}
	if r.status == http.StatusUnauthorized {
		challenge(w.Header())
	}
	w.Header().Set("X-TFS-ServiceError", url.QueryEscape(r.message[:min(len(r.message), maxHeader)]))
	return answerJSON(w, r.status, errorBody{
		ID: "1", Message: r.message, TypeKey: r.key, EventID: 3000, Problems: r.problems,
		TypeName: "Microsoft.TeamFoundation.DistributedTask.WebApi." + r.key + ", Microsoft.TeamFoundation.DistributedTask.WebApi",
	})
}

// challenge asks for another credential: one that contains Bearer makes the client
// get a new token (§1.6).
func challenge(h http.Header) {
	h.Add("WWW-Authenticate", "Bearer")
	h.Add("WWW-Authenticate", `Basic realm="dockless emulator"`)
}

// decode reads a JSON body into to. It strips a byte order mark (§1.7).
func (c *call) decode(to any) error {
	body, err := c.body(maxJSON)
	if err != nil {
		return err
	}
	return c.parse(body, to)
}

// parse is decode for a body that was read.
func (c *call) parse(body []byte, to any) error {
	body = bytes.TrimPrefix(body, []byte("\xef\xbb\xbf"))
	if err := json.Unmarshal(body, to); err != nil {
		return badRequest("The body is not the JSON that %s %s takes: %v.", c.r.Method, c.where.resource, err)
	}
	return nil
}

func (c *call) body(limit int64) ([]byte, error) { return readBody(c.r, limit) }

// readBody reads at most limit bytes.
func readBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return nil, badRequest("The body ended early: %v.", err)
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(limit)
	}
	return body, nil
}

// maxUpload bounds what one call may store: pages of logs have 8 MiB (§7.6), chunks
// of artifacts at most 24 MiB (§9.1), and attachments what a task gives them.
const maxUpload = 256 << 20

// upload appends from, the body or what is left of it, to a file.
func (c *call) upload(f *appendFile, from io.Reader) (size, lines int64, err error) {
	size, lines, err = f.append(from)
	if _, ours := errors.AsType[*fs.PathError](err); err == nil || ours || errors.Is(err, fs.ErrClosed) {
		return size, lines, err
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		return 0, 0, tooLarge(maxUpload)
	}
	return 0, 0, badRequest("The body ended early.")
}

// stored is the body, as far as one call may store it.
func (c *call) stored() io.Reader { return http.MaxBytesReader(c.w, c.r.Body, maxUpload) }

// wants reports whether the Accept header asks for the media type.
func (c *call) wants(mediaType string) bool {
	for _, value := range c.r.Header.Values("Accept") {
		for part := range strings.SplitSeq(value, ",") {
			name, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(name), mediaType) {
				return true
			}
		}
	}
	return false
}

// sends reports whether the body has the media type.
func (c *call) sends(mediaType string) bool {
	name, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(name), mediaType)
}
