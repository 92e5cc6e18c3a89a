package emulator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxFaultBody bounds the control call that adds a fault. The page of a proxy,
// which is the largest thing one holds, has some ten kilobytes.
const maxFaultBody = 1 << 20

// faultWire is a fault as control calls show it (design §9).
type faultWire struct {
	ID    FaultID   `json:"id"`
	Match string    `json:"match"`
	Kind  FaultKind `json:"kind"`
	Value any       `json:"value"`
	Count int       `json:"count"`
	Every int       `json:"every"`
	Hits  int       `json:"hits"`
}

// answerWire is the value of a fault of kind status.
type answerWire struct {
	Code        int               `json:"code,omitempty"`
	RetryAfter  string            `json:"retryAfter,omitempty"`
	TypeKey     string            `json:"typeKey,omitempty"`
	Body        *string           `json:"body,omitempty"`
	ContentType string            `json:"contentType,omitempty"`
	Headers     map[string]string `json:"headers,omitempty"`
	After       bool              `json:"after,omitempty"`
}

// serveFaults answers the control calls for faults.
func (s *Server) serveFaults(r *http.Request, id string) (any, error) {
	switch {
	case r.Method == http.MethodGet && id == "":
		out := []faultWire{}
		for _, f := range s.Faults() {
			out = append(out, f.wire())
		}
		return out, nil
	case r.Method == http.MethodPost && id == "":
		return s.controlFail(r)
	case r.Method == http.MethodDelete && id == "":
		s.Heal()
		return nil, nil
	case r.Method == http.MethodDelete:
		if n, err := strconv.Atoi(id); err != nil || !s.HealOne(FaultID(n)) {
			return nil, refuse(http.StatusNotFound, "VssResourceNotFoundException", "There is no fault %s.", id)
		}
		return nil, nil
	}
	return nil, refuse(http.StatusMethodNotAllowed, "VssRequestContentException", "There is no control call %s %s.", r.Method, r.URL.Path)
}

func (s *Server) controlFail(r *http.Request) (any, error) {
	body, err := readBody(r, maxFaultBody)
	if err != nil {
		return nil, err
	}
	f, err := parseFault(body)
	if err != nil {
		return nil, refuseQueued(err)
	}
	e, err := s.fail(f)
	if err != nil {
		return nil, refuseQueued(err)
	}
	return e.wire(), nil
}

// parseFault reads a fault as JSON. Its error names the member; [arm] checks what
// the members say.
func parseFault(text []byte) (Fault, error) {
	var in struct {
		Match string          `json:"match"`
		Kind  FaultKind       `json:"kind"`
		Value json.RawMessage `json:"value"`
		Count int             `json:"count"`
		Every int             `json:"every"`
	}
	if err := decodeStrictly(text, &in); err != nil {
		return Fault{}, memberOf("", err)
	}
	f := Fault{Match: in.Match, Kind: in.Kind, Count: in.Count, Every: in.Every}
	given := len(in.Value) > 0 && string(in.Value) != "null"
	var err error
	switch in.Kind {
	case FaultStatus:
		if !given {
			return Fault{}, wrongMember("value", "is missing: a status, or an object that describes the answer")
		}
		f.Answer, err = parseAnswer(in.Value)
	case FaultDelay, FaultClockSkew:
		var span string
		if err := json.Unmarshal(in.Value, &span); err != nil || !given {
			return Fault{}, wrongMember("value", "is no text with a duration like 2s")
		}
		if f.For, err = time.ParseDuration(span); err != nil {
			err = wrongMember("value", "%q is no duration like 2s", span)
		}
	default:
		// Whoever gives these a value means another kind; an empty one is none.
		if given && string(in.Value) != `""` {
			err = wrongMember("value", "a fault of kind %s has none", in.Kind)
		}
	}
	return f, err
}

// parseAnswer reads the value of a fault of kind status: a number, or an object.
func parseAnswer(text json.RawMessage) (FaultAnswer, error) {
	var in answerWire
	if text[0] != '{' {
		if err := json.Unmarshal(text, &in.Code); err != nil {
			return FaultAnswer{}, wrongMember("value", "is neither a status nor an object that describes the answer")
		}
		if in.Code == 0 {
			return FaultAnswer{}, wrongMember("value", "0 is not between 200 and 599")
		}
	} else if err := decodeStrictly(text, &in); err != nil {
		return FaultAnswer{}, memberOf("value", err)
	}
	out := FaultAnswer{Code: in.Code, TypeKey: in.TypeKey, Body: in.Body, ContentType: in.ContentType, Headers: in.Headers, After: in.After}
	if in.RetryAfter != "" {
		span, err := time.ParseDuration(in.RetryAfter)
		if err != nil || span <= 0 {
			return FaultAnswer{}, wrongMember("value.retryAfter", "%q is no duration like 2s", in.RetryAfter)
		}
		out.RetryAfter = span
	}
	return out, nil
}

// decodeStrictly reads one JSON object and refuses members that it has no place
// for: a misspelled count would make a fault that never ends.
func decodeStrictly(text []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more after the object")
	}
	return nil
}

// memberOf turns an error of package json into one that names the member below
// parent, as far as json tells.
func memberOf(parent string, err error) error {
	name, text := parent, err.Error()
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		name, text = strings.Trim(parent+"."+wrong.Field, "."), "is a "+wrong.Value
	} else if unknown, ok := strings.CutPrefix(text, "json: unknown field "); ok {
		name, text = strings.Trim(parent+"."+strings.Trim(unknown, `"`), "."), "is no member of a fault"
	}
	if name == "" {
		return wrongMember("the body", "%s", text)
	}
	return wrongMember(name, "%s", text)
}

// wire returns the entry as control calls show it, in a form that can be sent
// again.
func (e FaultEntry) wire() faultWire {
	out := faultWire{ID: e.ID, Match: e.Match, Kind: e.Kind, Count: e.Count, Every: e.Every, Hits: e.Hits}
	switch e.Kind {
	case FaultStatus:
		a := answerWire{
			Code: e.Answer.Code, TypeKey: e.Answer.TypeKey, Body: e.Answer.Body, ContentType: e.Answer.ContentType,
			Headers: e.Answer.Headers, After: e.Answer.After,
		}
		if e.Answer.RetryAfter != 0 {
			a.RetryAfter = e.Answer.RetryAfter.String()
		}
		out.Value = a
	case FaultDelay, FaultClockSkew:
		out.Value = e.For.String()
	}
	return out
}
