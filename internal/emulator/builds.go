package emulator

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// artifact is a named result of a run (§9.2).
type artifact struct {
	ID       int              `json:"id"`
	Name     string           `json:"name"`
	Source   string           `json:"source"`
	Resource artifactResource `json:"resource"`
}

type artifactResource struct {
	Type        string            `json:"type"`
	Data        string            `json:"data"`
	Properties  map[string]string `json:"properties"`
	URL         string            `json:"url,omitempty"`
	DownloadURL string            `json:"downloadUrl,omitempty"`
}

// runOf finds the run of a build call and checks the caller's job. The caller
// holds s.mu.
func (s *Server) runOf(c *call) (*run, error) {
	id, err := strconv.Atoi(c.v("buildId"))
	r := s.runs[id]
	if err != nil || r == nil {
		return nil, refuse(http.StatusNotFound, "BuildNotFoundException", "There is no build %s.", c.v("buildId"))
	}
	return r, s.mayUse(c, r)
}

// mayUse checks that a job token belongs to a job of the run, and that the job
// is still running when the call changes something.
func (s *Server) mayUse(c *call, r *run) error {
	if c.who.kind != byJob {
		return nil
	}
	q, err := s.jobOf(c)
	switch {
	case err != nil:
		return err
	case q.run != r:
		return accessDenied("The job token belongs to another run.")
	case q.state != Running && c.r.Method != http.MethodGet:
		return s.wrongOrder(q, "§7.1", "%s %s before the first renewal of request %d", c.r.Method, c.where.resource, q.id)
	}
	return nil
}

// addArtifact associates an artifact (§9.2). The same name again replaces it.
func (s *Server) addArtifact(c *call) (any, error) {
	var in artifact
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOf(c)
	switch {
	case err != nil:
		return nil, err
	case in.Name == "" || in.Resource.Type == "":
		return nil, badRequest("An artifact has a name and a resource type (§9.2).")
	case guid(in.Source) != string(c.job.job):
		return nil, badRequest("The source of an artifact is the job's id (§9.2).")
	}
	self := base(c.r) + strings.TrimSuffix(c.r.URL.Path, "/") + "?artifactName=" + in.Name
	in.ID, in.Resource.URL, in.Resource.DownloadURL = len(r.artifacts)+1, self, self+"&$format=zip"
	r.artifacts = slices.DeleteFunc(r.artifacts, func(a artifact) bool { return a.Name == in.Name })
	r.artifacts = append(r.artifacts, in)
	c.note = in.Name
	return in, nil
}

func (s *Server) getArtifacts(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOf(c)
	if err != nil {
		return nil, err
	}
	name := cmp.Or(c.v("artifactName"), c.q("artifactName"))
	if name == "" {
		return listOf(slices.Clone(r.artifacts)), nil
	}
	for _, a := range r.artifacts {
		if a.Name == name {
			return a, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "ArtifactNotFoundException", "The build %d has no artifact %s.", r.id, name)
}

type buildWire struct {
	ID          int      `json:"id"`
	BuildNumber string   `json:"buildNumber"`
	Tags        []string `json:"tags"`
	URI         string   `json:"uri"`
	Status      string   `json:"status"`
}

func (r *run) wire() buildWire {
	status := "completed"
	for _, q := range r.requests {
		if q.state != Completed {
			status = "inProgress"
		}
	}
	return buildWire{ID: r.id, BuildNumber: r.number, Tags: slices.Clone(r.tags), URI: "vstfs:///Build/Build/" + strconv.Itoa(r.id), Status: status}
}

func (s *Server) getBuild(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOf(c)
	if err != nil {
		return nil, err
	}
	return r.wire(), nil
}

// updateBuild changes the build number (§9.3).
func (s *Server) updateBuild(c *call) (any, error) {
	var in buildWire
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOf(c)
	if err != nil {
		return nil, err
	}
	r.number = cmp.Or(in.BuildNumber, r.number)
	return r.wire(), nil
}

func (s *Server) getTags(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOf(c)
	if err != nil {
		return nil, err
	}
	return listOf(slices.Clone(r.tags)), nil
}

// addTags adds one tag from the route or a list from the body (§9.3).
func (s *Server) addTags(c *call) (any, error) {
	tags := []string{c.v("tag")}
	if tags[0] == "" {
		var in json.RawMessage
		if err := c.decode(&in); err != nil {
			return nil, err
		}
		if err := json.Unmarshal(in, &tags); err != nil {
			return nil, badRequest("The body is no list of tags (§9.3).")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.runOf(c)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(r.tags, tag) {
			r.tags = append(r.tags, tag)
		}
	}
	return listOf(slices.Clone(r.tags)), nil
}
