package dockerapi

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// event is one of Docker's and Podman's events, as far as it is looked at.
type event struct {
	Status   string `json:"status"`
	ID       string `json:"id"`
	From     string `json:"from"`
	Type     string `json:"Type"`
	Action   string `json:"Action"`
	Actor    actor  `json:"Actor"`
	Scope    string `json:"scope"`
	Time     int64  `json:"time"`
	TimeNano int64  `json:"timeNano"`
}

type actor struct {
	ID         string            `json:"ID"`
	Attributes map[string]string `json:"Attributes"`
}

// events answers /events with what happens to the job's containers and to
// images. Turns of health are ours: Podman tells of every check, without saying
// in Docker's words how it went.
func (s *Server) events(c *call) error {
	f, err := filters(c.query)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	if !c.libpod && len(f) > 0 {
		setFilters(c.query, podmanWords(f))
	}
	req, err := http.NewRequestWithContext(ctx, c.r.Method, c.url().String(), nil) //nolint:gosec // it goes to the Podman service
	if err != nil {
		return err
	}
	turns, stop := s.health.listen()
	defer stop()
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	maps.Copy(c.w.Header(), resp.Header)
	c.w.Header().Del("Content-Length")
	c.w.WriteHeader(resp.StatusCode)
	if resp.StatusCode != http.StatusOK {
		_, err := io.Copy(c.w, resp.Body)
		return ignore(err)
	}
	out := newStream(c.w)
	out.flush()
	messages := make(chan json.RawMessage) // closed by the reader
	var reader sync.WaitGroup
	defer reader.Wait()
	defer cancel()
	reader.Go(func() {
		defer close(messages)
		readMessages(ctx, resp.Body, messages)
	})
	for {
		select {
		case m, ok := <-messages:
			if !ok || s.relevant(c, m) && out.write(dockerWords(c, m)) != nil {
				return nil
			}
		case turn := <-turns:
			if e := healthMessage(turn); !c.libpod && wanted(f, e) && out.write(e) != nil {
				return nil
			}
		}
	}
}

// ignore drops an error of writing to a client that is gone.
func ignore(error) error { return nil }

// readMessages reads a stream of JSON values until it or ctx ends.
func readMessages(ctx context.Context, from io.Reader, to chan<- json.RawMessage) {
	decoder := json.NewDecoder(from)
	for {
		var m json.RawMessage
		if decoder.Decode(&m) != nil {
			return
		}
		select {
		case to <- m:
		case <-ctx.Done():
			return
		}
	}
}

// relevant reports whether an event of Podman's is for the job.
func (s *Server) relevant(c *call, m json.RawMessage) bool {
	var e event
	if json.Unmarshal(m, &e) != nil {
		return false
	}
	switch e.Type {
	case "container", "pod":
		return s.owner.Owns(e.Actor.Attributes) && (c.libpod || e.Action != "health_status")
	case "image", "system":
		return true
	}
	return false
}

// dockerActions are Docker's words for what Podman says otherwise.
var dockerActions = map[string]string{"died": "die", "remove": "destroy", "exec_died": "exec_die", "exec": "exec_start"}

// podmanWords are filters of Docker's as Podman understands them.
func podmanWords(f map[string][]string) map[string][]string {
	f = maps.Clone(f)
	var events []string
	for _, value := range f["event"] {
		events = append(events, value)
		for theirs, ours := range dockerActions {
			if value == ours {
				events = append(events, theirs)
			}
		}
	}
	if len(events) > 0 {
		f["event"] = events
	}
	return f
}

// dockerWords is an event of a container in Docker's words.
func dockerWords(c *call, m json.RawMessage) json.RawMessage {
	var e event
	if c.libpod || json.Unmarshal(m, &e) != nil || e.Type != "container" {
		return m
	}
	word, ok := dockerActions[e.Action]
	o, err := parseAnswer(m)
	if !ok || err != nil {
		return m
	}
	if code, ok := e.Actor.Attributes["containerExitCode"]; ok {
		e.Actor.Attributes["exitCode"] = code
		o.set("Actor", e.Actor)
	}
	o.set("status", word)
	o.set("Action", word)
	return o.encode()
}

// healthMessage tells a turn of health as Docker does.
func healthMessage(h healthEvent) event {
	now, action := time.Now(), "health_status: "+string(h.health)
	return event{
		Status: action, ID: h.container.ID, From: h.container.ImageName, Type: "container", Action: action, Scope: "local",
		Actor: actor{ID: h.container.ID, Attributes: h.container.attributes()},
		Time:  now.Unix(), TimeNano: now.UnixNano(),
	}
}

// wanted reports whether an event of a container passes the client's filters.
func wanted(f map[string][]string, e event) bool {
	for name, values := range f {
		passes := func(value string) bool {
			switch name {
			case "type":
				return value == e.Type
			case "event":
				return value == e.Action || value == "health_status"
			case "container":
				return value == e.Actor.Attributes["name"] || value != "" && strings.HasPrefix(e.ID, value)
			case "image":
				return value == e.From
			case "label":
				return labelled(e.Actor.Attributes, value)
			}
			return false
		}
		if len(values) > 0 && !slices.ContainsFunc(values, passes) {
			return false
		}
	}
	return true
}

// stream writes JSON values, one a line, each at once.
type stream struct {
	encoder *json.Encoder
	control *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{encoder: json.NewEncoder(w), control: http.NewResponseController(w)}
}

func (s *stream) write(value any) error {
	if err := s.encoder.Encode(value); err != nil {
		return err
	}
	return s.control.Flush()
}

func (s *stream) flush() { _ = s.control.Flush() } // a write after it meets the same error
