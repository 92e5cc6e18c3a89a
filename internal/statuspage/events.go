package statuspage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	// eventPeriod is how often a stream looks for changes: as often as a clock
	// that shows seconds moves, and no more than a few milliseconds of work.
	eventPeriod = time.Second
	// mostStreams are so many people who look at one agent; each costs a
	// connection and a look every second.
	mostStreams = 16
	// writeBound is how long a reader may take for what changed in a second.
	writeBound = 10 * time.Second
	// silence is after how many periods a stream says that it is still there, so
	// that a connection that is gone is noticed.
	silence = 15
)

// stream is one reader of changes.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	parts   map[string][]byte // what the page shows, by the id of its element
	step    string            // whose log is followed; empty: none
	next    int               // number of the first line that was not sent
	id      int               // counts events, so that a browser can go on after a break
	quiet   int
}

// events streams what changes on a page: parts of it, and new lines of a log.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		w.Header().Set("Retry-After", "30")
		http.Error(w, fmt.Sprintf("%d people look already; the page itself still loads", mostStreams), http.StatusServiceUnavailable)
		return
	}
	q := r.URL.Query()
	s := &stream{w: w, control: http.NewResponseController(w), parts: make(map[string][]byte), step: q.Get("step")}
	s.next, _ = strconv.Atoi(q.Get("from"))
	if last, err := strconv.Atoi(r.Header.Get("Last-Event-ID")); err == nil {
		s.next = last // after a break of the connection
	}
	// Bounds of the server are for answers that end; each write here has its own.
	_ = s.control.SetReadDeadline(time.Time{})
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // of proxies
	if r.Method == http.MethodHead {
		return
	}
	w.WriteHeader(http.StatusOK)
	tick := time.NewTicker(eventPeriod)
	defer tick.Stop()
	for first := true; ; first = false {
		over, err := p.tell(s, r, q.Get("job"), first)
		if over || err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		case <-p.ended:
			return
		}
	}
}

// tell sends what has changed, and reports whether nothing more will.
func (p *Page) tell(s *stream, r *http.Request, job string, first bool) (over bool, err error) {
	if err := s.control.SetWriteDeadline(time.Now().Add(writeBound)); err != nil {
		return true, err
	}
	if job == "" {
		v := p.overviewOf(r)
		err := p.tellParts(s, v, "running", "agents", "health", "stacks", "recent")
		return false, s.end(err, first)
	}
	v, ok := p.jobOf(job, false)
	if !ok {
		return true, s.send("over", "{}")
	}
	parts := []string{"facts", "steps", "builds"}
	if r.URL.Query().Get("only") == "log" {
		parts = []string{"logstate"}
		if i := slices.IndexFunc(v.Job.Steps, func(step Step) bool { return step.ID == s.step }); i >= 0 {
			v.Step = v.Job.Steps[i]
		}
	}
	if err := p.tellParts(s, v, parts...); err != nil {
		return true, err
	}
	more := v.Job.Open()
	if s.step != "" {
		open, err := p.tellLog(s, v)
		if err != nil {
			return true, err
		}
		more = more || open
	}
	if v.Live != nil && v.Live.ID != s.step {
		// The next step runs: the page is loaded anew where it follows the job.
		if err := s.send("step", "{}"); err != nil {
			return true, err
		}
	}
	if !more {
		return true, s.send("over", "{}")
	}
	return false, s.end(nil, first)
}

// tellParts renders parts of a page and sends those that differ from what was sent.
func (p *Page) tellParts(s *stream, v view, names ...string) error {
	v.Now = p.now()
	for _, name := range names {
		var body bytes.Buffer
		if err := p.templates.ExecuteTemplate(&body, name, v); err != nil {
			panic("statuspage: a template does not fit its values: " + err.Error())
		}
		if bytes.Equal(s.parts[name], body.Bytes()) {
			continue
		}
		s.parts[name] = body.Bytes()
		if err := s.sendJSON("part", map[string]string{"id": name, "html": body.String()}); err != nil {
			return err
		}
	}
	return nil
}

// tellLog sends new lines of the followed log. A reader who fell behind by more
// than a page gets the last ones: nobody reads that fast.
func (p *Page) tellLog(s *stream, v view) (open bool, err error) {
	l, ok := p.source.Log(v.Job.ID, s.step, s.next, PageLines)
	if !ok {
		return false, nil
	}
	if l.Total-l.end() >= PageLines {
		l, ok = p.source.Log(v.Job.ID, s.step, 0, PageLines)
		if !ok {
			return false, nil
		}
	}
	if len(l.Lines) == 0 {
		return l.Open, nil
	}
	skipped := max(0, l.First-max(s.next, 1))
	s.next = l.end()
	s.id = s.next
	return l.Open || l.end() <= l.Total, s.sendJSON("log", map[string]any{"skipped": skipped, "do": operations(l), "total": l.Total})
}

func (s *stream) sendJSON(event string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		panic("statuspage: an event that is no JSON: " + err.Error()) // it has texts and numbers only
	}
	return s.send(event, string(data))
}

// send writes one event. JSON has no line breaks, which would end it.
func (s *stream) send(event, data string) error {
	s.quiet = 0
	id := ""
	if s.id > 0 {
		id = "id: " + strconv.Itoa(s.id) + "\n"
	}
	_, err := fmt.Fprintf(s.w, "event: %s\n%sdata: %s\n\n", event, id, data)
	return err
}

// end flushes what was sent; when that was nothing for long, or this is the start,
// it says so, in a comment.
func (s *stream) end(err error, first bool) error {
	if err != nil {
		return err
	}
	if s.quiet++; s.quiet >= silence || first {
		s.quiet = 0
		if _, err := fmt.Fprint(s.w, ": still here\n\n"); err != nil {
			return err
		}
	}
	return s.control.Flush()
}
