package emulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/statuspage"
)

// Call is one call an agent made for a job, in the order of the answers.
type Call struct {
	At       time.Time `json:"at"`
	Method   string    `json:"method"`
	Resource string    `json:"resource"` // as Appendix A names it: records, feed, logs, events, jobrequests, …
	Path     string    `json:"path"`
	Note     string    `json:"note,omitempty"` // what the call said, for example "JobCompleted succeeded" or "renew; fault reset"
	Status   int       `json:"status"`         // 0: a fault left the call without an answer
}

// maxCalls bounds the calls kept for one job; feeds of long jobs fill it last
// because they are dropped from half of it on.
const maxCalls = 20000

// table is built once: it never changes.
var table = locations()

// ServeHTTP answers the agent protocol, under /_emulator the control calls, and at /
// people who look ([statuspage]).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.closed:
		_ = answerError(w, stopping())
		return
	default:
	}
	if !s.cfg.Status.Off() && statuspage.Serves(r.URL.Path) {
		s.page.ServeHTTP(w, r)
		return
	}
	began := time.Now()
	out := &reply{ResponseWriter: w, clock: s.shiftedClock}
	status := s.route(out, r)
	s.log.Debug("call", "method", r.Method, "path", r.URL.Path, "status", status, "took", time.Since(began))
	out.finish()
}

func (s *Server) route(w *reply, r *http.Request) int {
	if strings.HasPrefix(r.URL.Path, controlPrefix) {
		return s.serveControl(w, r)
	}
	c := &call{w: w, r: r}
	c.where, c.vars = find(table, r.URL.EscapedPath())
	status := s.endure(c, w)
	if c.job != nil {
		s.record(c, status)
	}
	return status
}

// carryOut does what the call asks for and answers it.
func (s *Server) carryOut(c *call) int {
	path := strings.TrimSuffix(c.r.URL.Path, "/")
	switch {
	case strings.EqualFold(path, grantPath):
		return s.serveToken(c.w, c.r)
	case c.r.Method == http.MethodOptions && strings.EqualFold(path, "/_apis"):
		return answerJSON(c.w, http.StatusOK, publish(table))
	case c.where == nil:
		return answerError(c.w, refuse(http.StatusNotFound, "VssResourceNotFoundException", "Nothing is known at %s.", c.r.URL.Path))
	}
	value, err := s.serve(c)
	return answer(c.w, value, err)
}

// serve authenticates the caller and runs the endpoint.
func (s *Server) serve(c *call) (any, error) {
	who, err := s.authenticate(c.r)
	if err != nil {
		return nil, err
	}
	c.who = who
	c.w.Header().Set("X-VSS-UserData", s.instance+":"+who.name())
	e, ok := c.where.methods[c.r.Method]
	if !ok {
		return nil, refuse(http.StatusMethodNotAllowed, "VssRequestContentException", "%s takes no %s.", c.where.resource, c.r.Method)
	}
	if err := c.authorize(e); err != nil {
		return nil, err
	}
	// A plan that is closed to the caller answers so whatever the body says.
	if c.v("planId") != "" {
		if err := s.checkPlan(c); err != nil {
			return nil, err
		}
	}
	return e.serve(s, c)
}

// record adds the call to the list of its job.
func (s *Server) record(c *call, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, resource := len(c.job.calls), ""
	if c.where != nil {
		resource = c.where.resource
	}
	if n >= maxCalls || n >= maxCalls/2 && resource == "feed" {
		return
	}
	c.job.calls = append(c.job.calls, Call{
		At: s.now(), Method: c.r.Method, Resource: resource, Path: c.r.URL.Path, Note: noteFaults(c.note, c.faults), Status: status,
	})
}

// Violation is something an agent did that the protocol forbids.
type Violation struct {
	Job     string `json:"job,omitempty"` // empty: no job's
	Section string `json:"section"`       // of the protocol document
	Text    string `json:"text"`
	Refused bool   `json:"refused"` // false: it was let pass, as the service would
}

// maxViolations bounds the list; a client that is wrong that often needs no more.
const maxViolations = 1000

// violate notes a violation. The caller holds s.mu.
func (s *Server) violate(q *request, section string, refused bool, format string, args ...any) {
	v := Violation{Section: section, Text: fmt.Sprintf(format, args...), Refused: refused}
	if q != nil {
		v.Job = string(q.job)
	}
	s.log.Warn("protocol violated", "job_id", v.Job, "section", section, "text", v.Text, "refused", refused)
	if len(s.violations) < maxViolations {
		s.violations = append(s.violations, v)
	}
}

// wrongOrder notes a violation and returns the refusal.
func (s *Server) wrongOrder(q *request, section, format string, args ...any) error {
	s.violate(q, section, true, format, args...)
	return refuse(http.StatusConflict, OrderRefused, "%s (%s).", fmt.Sprintf(format, args...), section)
}

// Violations returns what agents did wrong so far, for all jobs.
func (s *Server) Violations() []Violation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.violations)
}
