package dockerapi

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

// pruneContainers removes the job's containers that do not run.
func (s *Server) pruneContainers(c *call) error {
	f, err := filters(c.query)
	if err != nil {
		return err
	}
	f["status"] = []string{"created", "exited", "stopped"}
	deleted, err := s.prune(c, "containers", f, url.Values{"v": {"true"}, "volumes": {"true"}})
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, pruned(c, "Id", "ContainersDeleted", deleted))
	return nil
}

// pruneNetworks removes the job's networks that no container uses: Podman
// refuses the others.
func (s *Server) pruneNetworks(c *call) error {
	f, err := filters(c.query)
	if err != nil {
		return err
	}
	deleted, err := s.prune(c, "networks", f, nil)
	if err != nil {
		return err
	}
	answer := pruned(c, "Name", "NetworksDeleted", deleted)
	if o, ok := answer.(map[string]any); ok {
		delete(o, "SpaceReclaimed")
	}
	writeJSON(c.w, http.StatusOK, answer)
	return nil
}

// pruneVolumes removes the job's volumes that no container uses.
func (s *Server) pruneVolumes(c *call) error {
	f, err := filters(c.query)
	if err != nil {
		return err
	}
	delete(f, "all") // of later versions of Docker's API; all of the job's have names
	f["dangling"] = []string{"true"}
	deleted, err := s.prune(c, "volumes", f, nil)
	if err != nil {
		return err
	}
	writeJSON(c.w, http.StatusOK, pruned(c, "Id", "VolumesDeleted", deleted))
	return nil
}

// prune removes what the job has of a kind, passes the filters and Podman lets go of.
func (s *Server) prune(c *call, kind string, f map[string][]string, query url.Values) ([]string, error) {
	things, err := s.ownThings(c.r.Context(), kind, f)
	if err != nil {
		return nil, err
	}
	deleted := []string{}
	for _, t := range things {
		name := t.Name
		if kind == "containers" {
			name = t.ID
		}
		status, answer, err := s.exchange(c.r.Context(), http.MethodDelete, libpod+"/"+kind+"/"+url.PathEscape(name), query, nil)
		if err != nil {
			return deleted, err
		}
		if status/100 == 2 && !stays(answer) {
			deleted = append(deleted, name)
		}
	}
	slices.Sort(deleted)
	return deleted, nil
}

// stays reports whether Podman tells of an error in a removal that it answered with
// success, as when its network backend has failed.
func stays(answer []byte) bool {
	var reports []struct{ Err json.RawMessage }
	if json.Unmarshal(answer, &reports) != nil {
		return false // others answer with something else, or nothing
	}
	for _, r := range reports {
		if len(r.Err) > 0 && string(r.Err) != "null" {
			return true
		}
	}
	return false
}

// pruned is the answer to a prune: libpod's is a list of reports.
func pruned(c *call, key, member string, deleted []string) any {
	if !c.libpod {
		return map[string]any{member: deleted, "SpaceReclaimed": 0}
	}
	reports := []map[string]any{}
	for _, name := range deleted {
		reports = append(reports, map[string]any{key: name})
	}
	return reports
}
