package ado

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"github.com/dockless-ci/dockless/internal/job"
)

// Tasks returns a client for the packages of tasks that is entered with the
// administrator's credential: a job's token, which serves the same purpose, exists
// only while there is a job.
func (r *Registration) Tasks() *TaskClient { return newTaskClient(r.conn) }

// TaskVersions lists every version of every task that the server has, as jobs may
// name them.
func (c *TaskClient) TaskVersions(ctx context.Context) ([]job.TaskReference, error) {
	var all List[struct {
		ID      string `json:"id"`
		Name    string `json:"name"`
		Version struct {
			Major int `json:"major"`
			Minor int `json:"minor"`
			Patch int `json:"patch"`
		} `json:"version"`
	}]
	_, err := c.conn.do(ctx, call{
		method: http.MethodGet, location: LocationTasks, version: versionTasks, query: url.Values{"allVersions": {"true"}},
	}, &all)
	if err != nil {
		return nil, fmt.Errorf("listing the tasks of the server: %w", err)
	}
	refs := make([]job.TaskReference, 0, len(all.Value))
	for _, t := range all.Value {
		refs = append(refs, job.TaskReference{
			ID: t.ID, Name: t.Name, Version: fmt.Sprintf("%d.%d.%d", t.Version.Major, t.Version.Minor, t.Version.Patch),
		})
	}
	return refs, nil
}
