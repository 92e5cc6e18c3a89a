package dockerapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// answer judges a request and answers it. What is not listed here does not
// exist for a job: secrets, which are the operator's, Kubernetes files, whose
// containers could not be labelled, and resets of the whole service.
func (s *Server) answer(c *call) error {
	switch c.parts[0] {
	case "_ping", "version", "info", "session", "grpc", "distribution", "manifests":
		return s.forward(c, nil)
	case "containers":
		return s.containers(c)
	case "exec":
		return s.exec(c)
	case "networks":
		return s.networks(c)
	case "volumes":
		return s.volumes(c)
	case "pods":
		return s.pods(c)
	case "images":
		return s.images(c)
	case "commit":
		return s.commit(c)
	case "events":
		return s.events(c)
	case "auth":
		return s.auth(c)
	case "system":
		if c.is(http.MethodGet, "system", "df") {
			return s.diskUsage(c)
		}
	case "build":
		if c.is(http.MethodPost, "build", "prune") {
			// The build cache is BuildKit's; the docker command asks nevertheless.
			writeJSON(c.w, http.StatusOK, map[string]any{"CachesDeleted": nil, "SpaceReclaimed": 0})
			return nil
		}
		if len(c.parts) == 1 {
			mode, err := s.joined(c.r.Context(), c.query.Get("networkmode"))
			if err != nil {
				return err
			}
			if mode != "" {
				c.query.Set("networkmode", mode)
			}
			return s.forward(c, nil)
		}
	}
	return s.unknown(c)
}

func (s *Server) unknown(c *call) error {
	return &refusal{http.StatusNotFound, fmt.Sprintf("%s %s is not offered to jobs", c.r.Method, c.r.URL.Path)}
}

// containers answers /containers/….
func (s *Server) containers(c *call) error {
	switch {
	case c.is(http.MethodGet, "containers", "json"):
		return s.listContainers(c)
	case c.is(http.MethodPost, "containers", "create"):
		return s.createContainer(c)
	case c.is(http.MethodPost, "containers", "prune"):
		return s.pruneContainers(c)
	case c.is(http.MethodGet, "containers", "stats"):
		return s.statistics(c)
	case len(c.parts) < 2, len(c.parts) == 2 && c.r.Method != http.MethodDelete:
		return s.unknown(c)
	}
	name := c.parts[1]
	id, err := s.ownID(c.r.Context(), "containers", name)
	if err != nil {
		return err
	}
	c.parts[1] = id
	if c.r.Method == http.MethodPost && len(c.parts) == 3 && slices.Contains(starts, c.parts[2]) {
		if err := s.startable(c.r.Context(), id, name); err != nil {
			return err
		}
	}
	switch {
	case c.is(http.MethodDelete, "containers", "*") && len(c.parts) == 2:
		// An anonymous volume has no label and would stay for ever. One that another
		// container uses stays as long as that.
		c.query.Set("v", "true")
		if c.libpod {
			c.query.Set("volumes", "true")
		}
	case c.is(http.MethodGet, "containers", id, "json"):
		return s.forward(c, func(resp *http.Response) error { return s.showHealth(id, resp) })
	case c.is(http.MethodGet, "containers", id, "logs"):
		return s.logs(c, id)
	case c.is(http.MethodPost, "containers", id, "start"), c.is(http.MethodPost, "containers", id, "restart"):
		return s.forward(c, func(resp *http.Response) error { return s.started(id, resp) })
	case c.is(http.MethodPost, "containers", id, "exec"):
		return s.forward(c, s.remember)
	case c.is(http.MethodPost, "containers", id, "restore"):
		if c.query.Has("import") {
			return &refusal{http.StatusForbidden, "a job cannot import a container: it could not be labelled as the job's"}
		}
	}
	return s.forward(c, nil)
}

// logs answers the question for the output of a container. Nothing comes after that of an
// ended one, and Podman would drop most lines of a long log that it shall follow.
func (s *Server) logs(c *call, id string) error {
	if c.query.Has("follow") {
		var is struct {
			State      struct{ Status string }
			HostConfig struct{ RestartPolicy struct{ Name string } }
		}
		if _, err := s.ask(c.r.Context(), http.MethodGet, "/containers/"+id+"/json", nil, nil, &is); err != nil {
			return err
		}
		if policy := is.HostConfig.RestartPolicy.Name; slices.Contains([]string{"exited", "stopped"}, is.State.Status) && (policy == "" || policy == "no") {
			c.query.Del("follow")
		}
	}
	return s.forward(c, nil)
}

// starts are what makes Podman mount the volumes of a container.
var starts = []string{"init", "restart", "restore", "start"}

// startable refuses a container of a stack whose mounts nobody would compare with its
// volumes if Podman started it as it is asked here.
func (s *Server) startable(ctx context.Context, id, name string) error {
	only, err := s.podman.StartsHereOnly(ctx, id)
	if err != nil || !only {
		return err
	}
	return &refusal{http.StatusForbidden, fmt.Sprintf("container %s has a subpath of a volume, and Podman %s would follow links out of the volume: "+
		"start it with \"dockless stack start\" or \"dockless stack restart\", which look what is mounted", name, s.podman.Version())}
}

// started follows the health of a container that has been started.
func (s *Server) started(id string, resp *http.Response) error {
	if resp.StatusCode/100 == 2 {
		s.follow(id)
	}
	return nil
}

// remember keeps the id of what has been created.
func (s *Server) remember(resp *http.Response) error {
	var created struct{ ID string }
	ok, err := readAnswer(resp, &created)
	if ok {
		s.known.add(created.ID)
	}
	return err
}

// statistics answers libpod's question for the resource use of many containers.
func (s *Server) statistics(c *call) error {
	names := c.query["containers"]
	for i, name := range names {
		id, err := s.ownID(c.r.Context(), "containers", name)
		if err != nil {
			return err
		}
		names[i] = id
	}
	if len(names) == 0 {
		things, err := s.ownThings(c.r.Context(), "containers", nil)
		if err != nil {
			return err
		}
		for _, t := range things {
			c.query.Add("containers", t.ID)
		}
		if len(things) == 0 {
			writeJSON(c.w, http.StatusOK, map[string]any{"Error": nil, "Stats": nil})
			return nil
		}
	}
	return s.forward(c, nil)
}

// exec answers /exec/{id}/…: an exec session is its container's.
func (s *Server) exec(c *call) error {
	if len(c.parts) != 3 {
		return s.unknown(c)
	}
	id := c.parts[1]
	if s.known.has(id) {
		return s.forward(c, nil)
	}
	var session struct{ ContainerID string }
	status, err := s.ask(c.r.Context(), http.MethodGet, "/exec/"+url.PathEscape(id)+"/json", nil, nil, &session)
	if err != nil {
		return err
	}
	if status == http.StatusOK {
		if _, err = s.ownID(c.r.Context(), "containers", session.ContainerID); err == nil {
			s.known.add(id)
			return s.forward(c, nil)
		}
	}
	return &refusal{http.StatusNotFound, "No such exec instance: " + id}
}

// commit answers /commit: the container must be the job's.
func (s *Server) commit(c *call) error {
	id, err := s.ownID(c.r.Context(), "containers", c.query.Get("container"))
	if err != nil {
		return err
	}
	c.query.Set("container", id)
	// Podman 4.3 wants an object, where the docker command sends nothing.
	body, err := c.body()
	if err != nil {
		return err
	}
	c.send(body)
	return s.forward(c, nil)
}

// networks answers /networks/….
func (s *Server) networks(c *call) error {
	switch {
	case c.is(http.MethodGet, "networks"), c.is(http.MethodGet, "networks", "json"):
		return s.listNetworks(c)
	case c.is(http.MethodPost, "networks", "create"):
		return s.createNetwork(c)
	case c.is(http.MethodPost, "networks", "prune"):
		return s.pruneNetworks(c)
	case len(c.parts) < 2:
		return s.unknown(c)
	}
	name, whose, err := s.network(c.r.Context(), c.parts[1])
	if err != nil {
		return err
	}
	c.parts[1] = name
	connects := c.is(http.MethodPost, "networks", name, "connect") || c.is(http.MethodPost, "networks", name, "disconnect")
	if whose != own && c.r.Method != http.MethodGet && !connects {
		return &refusal{http.StatusForbidden, "network " + name + " does not belong to this job"}
	}
	if connects {
		if err := s.connects(c); err != nil {
			return err
		}
	}
	return s.forward(c, nil)
}

// builtinNetworks are the names that Docker's clients give to what is no network
// of Podman's.
var builtinNetworks = []string{"bridge", "host", "none", "default"}

// network finds a network that the job may use and returns the name under which
// both APIs know it.
func (s *Server) network(ctx context.Context, name string) (string, belonging, error) {
	if slices.Contains(builtinNetworks, name) {
		return name, shared, nil
	}
	t, whose, err := s.usable(ctx, "networks", name)
	if err != nil {
		return "", foreign, err
	}
	return t.Name, whose, nil
}

// connects checks the container of a connection to a network.
func (s *Server) connects(c *call) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	id, err := s.ownID(c.r.Context(), "containers", body.text("Container"))
	if err != nil {
		return err
	}
	body.set("Container", id)
	c.send(body)
	return nil
}

// volumes answers /volumes/….
func (s *Server) volumes(c *call) error {
	switch {
	case c.is(http.MethodGet, "volumes"), c.is(http.MethodGet, "volumes", "json"):
		return s.listVolumes(c)
	case c.is(http.MethodPost, "volumes", "create"):
		return s.createVolume(c)
	case c.is(http.MethodPost, "volumes", "prune"):
		return s.pruneVolumes(c)
	case len(c.parts) < 2:
		return s.unknown(c)
	}
	t, whose, err := s.usable(c.r.Context(), "volumes", c.parts[1])
	if err != nil {
		return err
	}
	c.parts[1] = t.Name
	if whose != own && !t.Anonymous && c.r.Method != http.MethodGet {
		return &refusal{http.StatusForbidden, "volume " + t.Name + " does not belong to this job"}
	}
	if whose != own {
		// An anonymous volume has no label. It may be another job's, whose container
		// would be removed with it.
		c.query.Del("force")
	}
	return s.forward(c, nil)
}

// pods answers libpod's /pods/….
func (s *Server) pods(c *call) error {
	switch {
	case !c.libpod:
		return s.unknown(c)
	case c.is(http.MethodGet, "pods", "json"):
		return s.forward(c, s.onlyOwn)
	case c.is(http.MethodPost, "pods", "create"):
		return s.createPod(c)
	case len(c.parts) < 2, len(c.parts) == 2 && (c.r.Method != http.MethodDelete || strings.EqualFold(c.parts[1], "prune")),
		c.parts[1] == "stats":
		return s.unknown(c)
	}
	id, err := s.ownID(c.r.Context(), "pods", c.parts[1])
	if err != nil {
		return err
	}
	c.parts[1] = id
	if c.is(http.MethodPost, "pods", id, "start") || c.is(http.MethodPost, "pods", id, "restart") {
		return s.forward(c, func(resp *http.Response) error { return s.startedPod(c.r.Context(), id, resp) })
	}
	return s.forward(c, nil)
}

// startedPod follows the health of the containers of a pod that has been started.
func (s *Server) startedPod(ctx context.Context, id string, resp *http.Response) error {
	if resp.StatusCode/100 != 2 {
		return nil
	}
	var pod struct {
		Containers []struct{ ID string }
	}
	if _, err := s.ask(ctx, http.MethodGet, "/pods/"+id+"/json", nil, nil, &pod); err != nil {
		return err
	}
	for _, container := range pod.Containers {
		s.follow(container.ID) // which ends at once for one without a healthcheck
	}
	return nil
}
