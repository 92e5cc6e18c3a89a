package emulator

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// updateRelease gives a release another name (§9.3). Only a job of a release may
// do that, and only to its own: the one that its variable release.releaseId names.
func (s *Server) updateRelease(c *call) (any, error) {
	var in struct{ Name, Comment string }
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	q, err := s.jobOf(c)
	if err != nil {
		return nil, err
	}
	own, _ := job.Lookup(q.plain, "release.releaseId")
	id, err := strconv.Atoi(c.v("releaseId"))
	switch {
	case err != nil || !strings.EqualFold(q.plan.hub, "Release") || own != c.v("releaseId"):
		return nil, refuse(http.StatusNotFound, "ReleaseNotFoundException", "There is no release %s.", c.v("releaseId"))
	case in.Name == "":
		return nil, badRequest("A release has a name (§9.3).")
	}
	s.releases[id] = in.Name
	c.note = in.Name
	return map[string]any{"id": id, "name": in.Name, "comment": in.Comment}, nil
}

// ReleaseName returns the name that a job has given to a release, or "".
func (s *Server) ReleaseName(release int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.releases[release]
}
