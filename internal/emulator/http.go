package emulator

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Call is one call an agent made for a job, in the order of the answers.
type Call struct {
	At       time.Time `json:"at"`
	Method   string    `json:"method"`
	Resource string    `json:"resource"` // as Appendix A names it: records, feed, logs, events, jobrequests, …
	Path     string    `json:"path"`
	Note     string    `json:"note,omitempty"` // what the call said, for example "JobCompleted succeeded"
	Status   int       `json:"status"`
}

// maxCalls bounds the calls kept for one job; feeds of long jobs fill it last
// because they are dropped from half of it on.
const maxCalls = 20000

// table is built once: it never changes.
var table = locations()

// ServeHTTP answers the agent protocol and, under /_emulator, the control calls.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-s.closed:
		_ = answerError(w, refuse(http.StatusServiceUnavailable, "VssServiceException", "The server is stopping."))
		return
	default:
	}
	began := time.Now()
	status := s.route(w, r)
	s.log.Debug("call", "method", r.Method, "path", r.URL.Path, "status", status, "took", time.Since(began))
}

func (s *Server) route(w http.ResponseWriter, r *http.Request) int {
	path := strings.TrimSuffix(r.URL.Path, "/")
	switch {
	case strings.HasPrefix(path, controlPrefix):
		return s.serveControl(w, r)
	case strings.EqualFold(path, grantPath):
		return s.serveToken(w, r)
	case r.Method == http.MethodOptions && strings.EqualFold(path, "/_apis"):
		return answerJSON(w, http.StatusOK, publish(table))
	}
	where, vars := find(table, r.URL.EscapedPath())
	if where == nil {
		return answerError(w, refuse(http.StatusNotFound, "VssResourceNotFoundException", "Nothing is known at %s.", r.URL.Path))
	}
	c := &call{w: w, r: r, where: where, vars: vars}
	value, err := s.serve(c)
	status := answer(w, value, err)
	if c.job != nil {
		s.record(c, status)
	}
	return status
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
	n := len(c.job.calls)
	if n >= maxCalls || n >= maxCalls/2 && c.where.resource == "feed" {
		return
	}
	c.job.calls = append(c.job.calls, Call{
		At: s.now(), Method: c.r.Method, Resource: c.where.resource, Path: c.r.URL.Path, Note: c.note, Status: status,
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
