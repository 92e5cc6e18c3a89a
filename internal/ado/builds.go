package ado

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

const (
	versionContainers = "1.0-preview.4"
	versionArtifacts  = "7.1-preview.5"
	versionBuilds     = "7.1-preview.7"
	versionTags       = "7.1-preview.3"
	versionReleases   = "7.1-preview.8"
	versionAreas      = "3.2-preview.1"
)

// areaRelease is the resource area of releases, which may be on a host of its own
// (protocol §9.3).
const areaRelease = "efc2f575-36ef-48e9-b672-0c6fb4a48ac5"

// BuildClient publishes and fetches what belongs to a run, and changes the run,
// with the token of one job (protocol §9.1 to §9.3). Its methods may be called
// concurrently.
type BuildClient struct {
	conn    *connection
	chunks  *connection         // for the parts of files, each of which gets more time
	base    *azuredevops.Client // for files that are not held in memory
	options Options
	token   mask.Secret
}

// NewBuildClient returns a client for the run that the job of m belongs to,
// entered with the token that m brought along. It does not connect.
func NewBuildClient(m *job.Message, o Options) (*BuildClient, error) {
	address, token := m.JobToken()
	if address == "" || token == "" {
		return nil, fmt.Errorf("job %s has no %s endpoint with a token", m.JobID, job.SystemConnection)
	}
	c := &BuildClient{options: o, token: mask.NewSecret(token)}
	var err error
	if c.conn, err = newConnection(address, bearer{c.token}, o); err != nil {
		return nil, fmt.Errorf("entering the run of job %s: %w", m.JobID, err)
	}
	slow := o
	slow.Timeout = max(o.Timeout, partTimeout)
	if c.chunks, err = newConnection(address, bearer{c.token}, slow); err != nil {
		return nil, fmt.Errorf("entering the run of job %s: %w", m.JobID, err)
	}
	c.base = c.conn.streaming()
	return c, nil
}

// buildRoute is the route of everything below a run.
func buildRoute(run job.RunReference) map[string]string {
	return map[string]string{"project": run.Project, "buildId": strconv.Itoa(run.Build)}
}

// Associate adds an artifact to a run and returns it as the server has it. The
// same name again replaces what the run had under it.
func (c *BuildClient) Associate(ctx context.Context, run job.RunReference, a job.Artifact) (job.Artifact, error) {
	var out job.Artifact
	_, err := c.conn.do(ctx, call{
		method: http.MethodPost, location: LocationBuildArtifacts, version: versionArtifacts, route: buildRoute(run), body: a,
	}, &out)
	if err != nil {
		return job.Artifact{}, fmt.Errorf("adding artifact %s to run %d: %w", a.Name, run.Build, err)
	}
	return out, nil
}

// Artifacts lists the artifacts of a run.
func (c *BuildClient) Artifacts(ctx context.Context, run job.RunReference) ([]job.Artifact, error) {
	var out List[job.Artifact]
	_, err := c.conn.do(ctx, call{
		method: http.MethodGet, location: LocationBuildArtifacts, version: versionArtifacts, route: buildRoute(run),
	}, &out)
	if err != nil {
		return nil, fmt.Errorf("listing the artifacts of run %d: %w", run.Build, err)
	}
	return out.Value, nil
}

// buildWire is the part of a run that is read and written here.
type buildWire struct {
	ID          int    `json:"id"`
	BuildNumber string `json:"buildNumber,omitempty"`
	Project     *struct {
		ID string `json:"id"`
	} `json:"project,omitempty"`
}

// SetNumber changes the number of a run and returns the one that it has now,
// which is another when the server did not take it.
func (c *BuildClient) SetNumber(ctx context.Context, run job.RunReference, number string) (string, error) {
	var out buildWire
	_, err := c.conn.do(ctx, call{
		method: http.MethodPatch, location: LocationBuilds, version: versionBuilds, route: buildRoute(run),
		body: buildWire{ID: run.Build, BuildNumber: number},
	}, &out)
	if err != nil {
		return "", fmt.Errorf("changing the number of run %d: %w", run.Build, err)
	}
	return out.BuildNumber, nil
}

// AddTag adds a tag to a run and returns all that it has. The tag travels in the
// body, because a path cannot hold every character.
func (c *BuildClient) AddTag(ctx context.Context, run job.RunReference, tag string) ([]string, error) {
	var out List[string]
	_, err := c.conn.do(ctx, call{
		method: http.MethodPost, location: LocationBuildTags, version: versionTags, route: buildRoute(run), body: []string{tag},
	}, &out)
	if err != nil {
		return nil, fmt.Errorf("tagging run %d: %w", run.Build, err)
	}
	return out.Value, nil
}

var errNoRun = errors.New("no run fits")

// FindRun returns the run that a query means, with the GUID of its project.
func (c *BuildClient) FindRun(ctx context.Context, q job.RunQuery) (job.RunReference, error) {
	r := call{method: http.MethodGet, location: LocationBuilds, version: versionBuilds, route: map[string]string{"project": q.Project}}
	var found buildWire
	var err error
	if q.Build != 0 {
		r.route["buildId"] = strconv.Itoa(q.Build)
		_, err = c.conn.do(ctx, r, &found)
	} else {
		r.query = latest(q)
		var all List[buildWire]
		if _, err = c.conn.do(ctx, r, &all); err == nil && len(all.Value) == 0 {
			err = fmt.Errorf("%w: pipeline %s of project %s, branch %q, tags %q", errNoRun, q.Definition, q.Project, q.Branch, q.Tags)
		}
		if len(all.Value) > 0 {
			found = all.Value[0]
		}
	}
	if err != nil {
		return job.RunReference{}, fmt.Errorf("looking for a run: %w", err)
	}
	run := job.RunReference{Project: q.Project, Build: found.ID}
	if found.Project != nil && found.Project.ID != "" {
		run.Project = found.Project.ID
	}
	return run, nil
}

// latest asks for the newest completed run that fits.
func latest(q job.RunQuery) url.Values {
	results := []string{"succeeded"}
	if q.Partial {
		results = append(results, "partiallySucceeded")
	}
	if q.Failed {
		results = append(results, "failed")
	}
	values := url.Values{
		"definitions": {q.Definition}, "resultFilter": {strings.Join(results, ",")}, "statusFilter": {"completed"},
		"queryOrder": {"finishTimeDescending"}, "$top": {"1"},
	}
	if q.Branch != "" {
		values.Set("branchName", q.Branch)
	}
	if len(q.Tags) > 0 {
		values.Set("tagFilters", strings.Join(q.Tags, ","))
	}
	return values
}

// RenameRelease gives a release another name. Releases may be on a host of their
// own, which the service names.
func (c *BuildClient) RenameRelease(ctx context.Context, project string, release int, name, comment string) error {
	conn, err := c.releases(ctx)
	if err != nil {
		return fmt.Errorf("renaming release %d: %w", release, err)
	}
	_, err = conn.do(ctx, call{
		method: http.MethodPatch, location: LocationReleases, version: versionReleases,
		route: map[string]string{"project": project, "releaseId": strconv.Itoa(release)},
		body:  map[string]string{"name": name, "comment": comment},
	}, nil)
	if err != nil {
		return fmt.Errorf("renaming release %d: %w", release, err)
	}
	return nil
}

func (c *BuildClient) releases(ctx context.Context) (*connection, error) {
	var area struct {
		LocationURL string `json:"locationUrl"`
	}
	_, err := c.conn.do(ctx, call{
		method: http.MethodGet, location: LocationResourceAreas, version: versionAreas, route: map[string]string{"areaId": areaRelease},
	}, &area)
	status, refused := errors.AsType[*StatusError](err)
	switch {
	case refused && status.Code == http.StatusNotFound, err == nil && area.LocationURL == "": // nothing lives elsewhere
		return c.conn, nil
	case err != nil:
		return nil, err
	case strings.HasPrefix(c.conn.url, "https://") && !strings.HasPrefix(area.LocationURL, "https://"):
		return nil, fmt.Errorf("the service names %s, where the job's token would travel in the clear", redactedURL(area.LocationURL))
	}
	return newConnection(area.LocationURL, bearer{c.token}, c.options)
}

// pauses returns a random pause between the attempts of one part of a file, 5 s
// to 10 s by default, and the pause before a file that failed is sent again,
// which is 60 s (protocol §9.1).
func (c *BuildClient) pauses() (low, high, file time.Duration) {
	return c.options.RetryPause / 2, c.options.RetryPause, 6 * c.options.RetryPause
}
