package emulator

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/dockless-ci/dockless/internal/job"
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

// scope is the project of the run, "" when nothing of it was queued.
func (r *run) scope() string {
	if len(r.requests) == 0 {
		return ""
	}
	return r.requests[0].plan.scope
}

// mayUse checks that a job token belongs to a job of the run, or of one of the same
// project for a call that only reads, and that the job is still running when the
// call changes something.
func (s *Server) mayUse(c *call, r *run) error {
	if c.who.kind != byJob {
		return nil
	}
	q, err := s.jobOf(c)
	switch {
	case err != nil:
		return err
	case q.run != r && (c.r.Method != http.MethodGet || q.run.scope() != r.scope()):
		return accessDenied("The job token belongs to another run.") // and reads those of its project
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
	case strings.ContainsAny(in.Name, forbiddenInNames) || strings.ContainsFunc(in.Name, unicode.IsControl):
		return nil, refuse(http.StatusBadRequest, "InvalidArtifactNameException", "The artifact name %q has a character that is not allowed.", in.Name)
	case strings.EqualFold(in.Resource.Type, job.ArtifactContainer) && len(r.itemsBelow(containerFolder(r, in.Resource.Data))) == 0:
		return nil, badRequest("The container of the run has nothing at %s (§9.2).", in.Resource.Data)
	case guid(in.Source) != string(c.job.job):
		return nil, badRequest("The source of an artifact is the job's id (§9.2).")
	}
	self := base(c.r) + strings.TrimSuffix(c.r.URL.Path, "/") + "?artifactName=" + in.Name
	in.ID, in.Resource.URL, in.Resource.DownloadURL = len(r.artifacts)+1, self, self+"&$format=zip"
	r.artifacts = slices.DeleteFunc(r.artifacts, func(a artifact) bool { return strings.EqualFold(a.Name, in.Name) })
	r.artifacts = append(r.artifacts, in)
	c.note = in.Name
	return in, nil
}

// forbiddenInNames cannot be in the name of an artifact (language §5.8).
const forbiddenInNames = "\":<>|*?/\\"

// containerFolder is where a location says that an artifact lies in the container of
// the run; one that cannot be is where nothing lies.
func containerFolder(r *run, location string) string {
	id, folder, ok := job.ArtifactResource{Type: job.ArtifactContainer, Data: location}.Container()
	if !ok || id != int64(r.containerID()) {
		return "\x00"
	}
	return folder
}

// getArtifacts lists artifacts, or answers one, as JSON or as a zip.
func (s *Server) getArtifacts(c *call) (any, error) {
	s.mu.Lock()
	r, err := s.runOf(c)
	if err != nil {
		s.mu.Unlock()
		return nil, err
	}
	name, all := cmp.Or(c.v("artifactName"), c.q("artifactName")), slices.Clone(r.artifacts)
	i := slices.IndexFunc(all, func(a artifact) bool { return strings.EqualFold(a.Name, name) })
	var folder string
	var items []containerItem
	if i >= 0 {
		folder = containerFolder(r, all[i].Resource.Data)
		items = r.itemsBelow(folder)
	}
	s.mu.Unlock()
	switch {
	case name == "":
		return listOf(all), nil
	case i < 0:
		return nil, refuse(http.StatusNotFound, "ArtifactNotFoundException", "The build %s has no artifact %s.", c.v("buildId"), name)
	case c.wants("application/zip") || strings.EqualFold(c.q("$format"), "zip"):
		return zipOf(c, items, folder)
	}
	return all[i], nil
}

type buildWire struct {
	ID          int      `json:"id"`
	BuildNumber string   `json:"buildNumber"`
	Tags        []string `json:"tags"`
	URI         string   `json:"uri"`
	Status      string   `json:"status"`
	Result      string   `json:"result,omitempty"`

	SourceBranch string            `json:"sourceBranch,omitempty"`
	Definition   map[string]any    `json:"definition"`
	Project      map[string]string `json:"project"`
}

func (r *run) wire() buildWire {
	out := buildWire{
		ID: r.id, BuildNumber: r.number, Tags: slices.Clone(r.tags), URI: "vstfs:///Build/Build/" + strconv.Itoa(r.id),
		Status: "completed", Result: "succeeded", Project: map[string]string{"id": r.scope(), "name": "emulator"},
		Definition: map[string]any{"id": r.definition, "name": r.name},
	}
	for _, q := range r.requests {
		switch {
		case q.state != Completed:
			out.Status, out.Result = "inProgress", ""
		case q.result == job.SucceededWithIssues && out.Result == "succeeded":
			out.Result = "partiallySucceeded"
		case !q.result.OK() && out.Result != "":
			out.Result = "failed"
		}
		if branch, ok := job.Lookup(q.plain, "build.sourceBranch"); ok {
			out.SourceBranch = branch
		}
	}
	return out
}

// listBuilds answers the runs of a project that fit the query, newest first.
func (s *Server) listBuilds(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var own *run
	if c.who.kind == byJob {
		q, err := s.jobOf(c)
		if err != nil {
			return nil, err
		}
		own = q.run
	}
	found := []buildWire{}
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(s.runs))) {
		b := s.runs[id].wire()
		if own != nil && own.scope() != b.Project["id"] || !c.among("definitions", fmt.Sprint(b.Definition["id"])) ||
			!c.among("branchName", b.SourceBranch) || !c.among("statusFilter", b.Status) || !c.among("resultFilter", b.Result) {
			continue
		}
		if tags := c.q("tagFilters"); tags != "" && slices.ContainsFunc(strings.Split(tags, ","), func(tag string) bool { return !slices.Contains(b.Tags, tag) }) {
			continue
		}
		found = append(found, b)
	}
	if top, err := strconv.Atoi(c.q("$top")); err == nil && top >= 0 && top < len(found) {
		found = found[:top]
	}
	return listOf(found), nil
}

// among reports whether a query parameter lists value; an absent one lists all.
func (c *call) among(parameter, value string) bool {
	text := c.q(parameter)
	return text == "" || slices.ContainsFunc(strings.Split(text, ","), func(part string) bool { return strings.EqualFold(strings.TrimSpace(part), value) })
}

func (s *Server) getBuild(c *call) (any, error) {
	if c.v("buildId") == "" {
		return s.listBuilds(c)
	}
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

// Artifacts returns the artifacts of the run that a job belongs to.
func (s *Server) Artifacts(id job.ID) []job.Artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []job.Artifact
	if q := s.jobs[id]; q != nil {
		for _, a := range q.run.artifacts {
			out = append(out, job.Artifact{ID: a.ID, Name: a.Name, Source: a.Source, Resource: job.ArtifactResource{
				Type: a.Resource.Type, Data: a.Resource.Data, Properties: maps.Clone(a.Resource.Properties),
			}})
		}
	}
	return out
}
