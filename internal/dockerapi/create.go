package dockerapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// createTimeout bounds the making of one thing, which goes on when the client
// has gone: half a creation could not be found again. Making a container on a
// busy disk takes seconds.
const createTimeout = time.Minute

var errCreateTimeout = fmt.Errorf("podman did not answer within %s", createTimeout)

// create forwards a request that makes something, labelled as the job's.
func (s *Server) create(c *call, body object, labels string, change func(*http.Response) error) error {
	if err := s.label(body, labels); err != nil {
		return err
	}
	c.send(body)
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(c.r.Context()), createTimeout, errCreateTimeout)
	defer cancel()
	c.r = c.r.WithContext(ctx)
	return s.forward(c, change)
}

// label adds the owner's labels to the member of body that holds labels. They
// win: a job cannot make something in the name of another.
func (s *Server) label(body object, member string) error {
	labels := make(map[string]string)
	if err := body.read(member, &labels); err != nil {
		return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
	}
	maps.Copy(labels, s.owner.Labels())
	body.set(member, labels)
	return nil
}

// stopTimeout is how many seconds a container has between being asked to end and
// being killed when nobody says; Docker's. Podman's Docker API takes silence for
// none, and a stop would kill databases at once.
const stopTimeout = 10

// createContainer answers /containers/create of both APIs.
func (s *Server) createContainer(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	check := s.dockerReferences
	if c.libpod {
		check = s.libpodReferences
	} else if body.raw("StopTimeout") == nil {
		body.set("StopTimeout", stopTimeout)
	}
	if err := check(c.r.Context(), body); err != nil {
		return err
	}
	return s.create(c, body, "Labels", s.remember)
}

func (s *Server) createPod(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if err := s.libpodReferences(c.r.Context(), body); err != nil {
		return err
	}
	return s.create(c, body, "labels", s.remember)
}

func (s *Server) createNetwork(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	return s.create(c, body, "Labels", nil)
}

func (s *Server) createVolume(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	// Podman, like Docker, answers with the volume when there is one already.
	if name := body.text("Name"); name != "" {
		if err := s.ensureVolume(c.r.Context(), name, nil); err != nil {
			return err
		}
	}
	if c.libpod {
		// What Podman before 4.4 reads.
		if err := s.label(body, "Label"); err != nil {
			return err
		}
	}
	return s.create(c, body, "Labels", nil)
}

// volumeRequest makes a volume by libpod's API.
type volumeRequest struct {
	Name    string
	Labels  map[string]string
	Label   map[string]string // what Podman before 4.4 reads
	Driver  string            `json:",omitempty"`
	Options map[string]string `json:",omitempty"`
}

// ensureVolume makes a volume of the job's unless there is one that the job may
// use. Podman would make one without a label when a container names it. A nil request
// makes none: it only looks whether the name is another job's.
func (s *Server) ensureVolume(ctx context.Context, name string, request *volumeRequest) error {
	t, err := s.look(ctx, "volumes", name)
	switch {
	case err == nil && s.belongs(t.labels()) == foreign:
		return &refusal{http.StatusConflict, fmt.Sprintf("volume %s belongs to another job that uses the same Podman service", name)}
	case err == nil:
		return nil
	case err != errAbsent: //nolint:errorlint // it comes bare
		return err
	case request == nil:
		return nil
	}
	request.Name, request.Labels = name, s.owner.Labels()
	request.Label = request.Labels
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), createTimeout, errCreateTimeout)
	defer cancel()
	status, err := s.ask(ctx, http.MethodPost, "/volumes/create", nil, request, nil)
	if err != nil {
		return err
	}
	if status/100 != 2 {
		// Another request may have been faster.
		if t, err := s.look(ctx, "volumes", name); err != nil || s.belongs(t.labels()) == foreign {
			return fmt.Errorf("podman answered %d when it was asked to make volume %s", status, name)
		}
	}
	return nil
}
