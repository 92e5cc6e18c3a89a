package runner

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
)

// withOwnEndpoints returns a copy of m whose service connections may be changed.
func withOwnEndpoints(m *job.Message) *job.Message {
	own := *m
	own.Resources.Endpoints = make([]job.Endpoint, len(m.Resources.Endpoints))
	for i, e := range m.Resources.Endpoints {
		e.Authorization.Parameters, e.Data = maps.Clone(e.Authorization.Parameters), maps.Clone(e.Data)
		own.Resources.Endpoints[i] = e
	}
	return &own
}

// setEndpoint changes a service connection for the steps that follow (protocol
// §8.10). The one that carries the job's token cannot be changed.
func setEndpoint(a *attempt, c command.Command) error {
	id, field, key := c.Property("id"), strings.ToLower(c.Property("field")), c.Property("key")
	if field == "authparameter" {
		a.addSecret(c.Data) // before anything is said of it
	}
	var e *job.Endpoint
	for i := range a.x.m.Resources.Endpoints {
		if candidate := &a.x.m.Resources.Endpoints[i]; id != "" && strings.EqualFold(candidate.ID, id) && !candidate.IsSystemConnection() {
			e = candidate
		}
	}
	switch {
	case id == "":
		return errors.New("the property id is missing")
	case field == "":
		return errors.New("the property field is missing")
	case strings.EqualFold(id, job.SystemConnection):
		return errors.New("the system connection cannot be changed")
	case e == nil:
		return fmt.Errorf("the job has no service connection %s", id)
	case field != "url" && key == "":
		return errors.New("the property key is missing")
	}
	switch field {
	case "url":
		if u, err := url.Parse(c.Data); err != nil || u.Scheme == "" {
			return errors.New("the value is no absolute address")
		}
		e.URL = c.Data
	case "dataparameter":
		e.Data = put(e.Data, key, c.Data)
	case "authparameter":
		e.Authorization.Parameters = put(e.Authorization.Parameters, key, c.Data)
	default:
		return fmt.Errorf("the field %q is none of url, dataParameter and authParameter", c.Property("field"))
	}
	return nil
}

// put sets m[key], whatever the case of the name it has there.
func put(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = make(map[string]string)
	}
	for known := range m {
		if strings.EqualFold(known, key) {
			key = known
		}
	}
	m[key] = value
	return m
}
