package dockerapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
)

// filters reads the filters of a list in both forms that clients send:
// {"label":["a=b"]} and {"label":{"a=b":true}}.
func filters(query url.Values) (map[string][]string, error) {
	out := make(map[string][]string)
	text := query.Get("filters")
	if text == "" {
		return out, nil
	}
	var raw map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &raw) != nil {
		return nil, &refusal{http.StatusBadRequest, "the filters cannot be read"}
	}
	for name, value := range raw {
		var set map[string]bool
		if json.Unmarshal(value, &set) == nil {
			for v, on := range set {
				if on {
					out[name] = append(out[name], v)
				}
			}
			slices.Sort(out[name])
			continue
		}
		var list []string
		if json.Unmarshal(value, &list) != nil {
			return nil, &refusal{http.StatusBadRequest, "the filters cannot be read"}
		}
		out[name] = list
	}
	return out, nil
}

func setFilters(query url.Values, f map[string][]string) {
	data, _ := json.Marshal(f) // texts always encode
	query.Set("filters", string(data))
}

// onlyLabelled narrows a list to the owner's at Podman, who knows the rest of
// the filters. Its answer is looked at again.
func (s *Server) onlyLabelled(query url.Values) error {
	f, err := filters(query)
	if err != nil {
		return err
	}
	f["label"] = append(f["label"], s.ownerLabels()...)
	setFilters(query, f)
	return nil
}

// ownerLabels are the owner's labels as filters have them.
func (s *Server) ownerLabels() []string {
	labels := s.owner.Labels()
	var list []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		list = append(list, name+"="+labels[name])
	}
	return list
}

func (s *Server) listContainers(c *call) error {
	if err := s.onlyLabelled(c.query); err != nil {
		return err
	}
	return s.forward(c, func(resp *http.Response) error {
		return filterAnswer(resp, func(o object) bool {
			if !s.owns(o) {
				return false
			}
			s.showStatus(o)
			return true
		})
	})
}

func (s *Server) owns(o object) bool {
	var labels map[string]string
	return o.read("Labels", &labels) == nil && s.owner.Owns(labels)
}

// onlyOwn drops what is not the job's from a list.
func (s *Server) onlyOwn(resp *http.Response) error { return filterAnswer(resp, s.owns) }

// filterAnswer drops the objects of a list that keep does not want; keep may
// change them.
func filterAnswer(resp *http.Response, keep func(object) bool) error {
	var list []json.RawMessage
	ok, err := readAnswer(resp, &list)
	if !ok {
		return err
	}
	kept, err := filterList(list, keep)
	if err != nil {
		return err
	}
	data, err := json.Marshal(kept)
	if err != nil {
		return err
	}
	replaceAnswer(resp, data)
	return nil
}

func filterList(list []json.RawMessage, keep func(object) bool) ([]json.RawMessage, error) {
	kept := []json.RawMessage{}
	for _, item := range list {
		o, err := parseAnswer(item)
		if err != nil {
			return nil, err
		}
		if keep(o) {
			kept = append(kept, o.encode())
		}
	}
	return kept, nil
}

// listNetworks shows the job's networks and those of the operator, among them
// the default bridge.
func (s *Server) listNetworks(c *call) error {
	return s.forward(c, func(resp *http.Response) error {
		return filterAnswer(resp, func(o object) bool {
			var labels map[string]string
			return o.read("Labels", &labels) == nil && s.belongs(labels) != foreign
		})
	})
}

// listVolumes shows the job's volumes. Of the others nobody can tell which are
// the operator's and which an anonymous one of another job.
func (s *Server) listVolumes(c *call) error {
	f, err := filters(c.query)
	if err != nil {
		return err
	}
	keep := s.owns
	if len(f) > 0 {
		things, err := s.ownThings(c.r.Context(), "volumes", f)
		if err != nil {
			return err
		}
		c.query.Del("filters")
		keep = func(o object) bool {
			return s.owns(o) && slices.ContainsFunc(things, func(t thing) bool { return t.Name == o.text("Name") })
		}
	}
	return s.forward(c, func(resp *http.Response) error {
		if c.libpod {
			return filterAnswer(resp, keep)
		}
		return changeMembers(resp, map[string]func(object) bool{"Volumes": keep})
	})
}

// changeMembers filters the members of an answer that are lists.
func changeMembers(resp *http.Response, keep map[string]func(object) bool) error {
	var raw json.RawMessage
	ok, err := readAnswer(resp, &raw)
	if !ok {
		return err
	}
	o, err := parseAnswer(raw)
	if err != nil {
		return err
	}
	for member, keep := range keep {
		var list []json.RawMessage
		if err := o.read(member, &list); err != nil {
			return err
		}
		kept, err := filterList(list, keep)
		if err != nil {
			return err
		}
		o.set(member, kept)
	}
	replaceAnswer(resp, o.encode())
	return nil
}

// diskUsage answers /system/df with the job's containers and volumes.
func (s *Server) diskUsage(c *call) error {
	containers, err := s.ownThings(c.r.Context(), "containers", nil)
	if err != nil {
		return err
	}
	volumes, err := s.ownThings(c.r.Context(), "volumes", nil)
	if err != nil {
		return err
	}
	among := func(things []thing, members ...string) func(object) bool {
		return func(o object) bool {
			return slices.ContainsFunc(things, func(t thing) bool {
				return slices.ContainsFunc(members, func(m string) bool {
					text := o.text(m)
					return text != "" && (text == t.ID || text == t.Name)
				})
			})
		}
	}
	return s.forward(c, func(resp *http.Response) error {
		return changeMembers(resp, map[string]func(object) bool{
			"Containers": among(containers, "Id", "ContainerID"), "Volumes": among(volumes, "Name", "VolumeName"),
		})
	})
}

// ownThings lists what the job has of a kind, by libpod's API. More are filters of
// Podman's; those for labels are not its own, see [labelFilters].
func (s *Server) ownThings(ctx context.Context, kind string, more map[string][]string) ([]thing, error) {
	labels, others := splitLabels(more)
	var things []thing
	for i, f := range s.asked(kind, others) {
		list, err := s.list(ctx, kind, f)
		if err != nil {
			return nil, err
		}
		if i == 0 {
			things = list
			continue
		}
		things = slices.DeleteFunc(things, func(t thing) bool {
			return !slices.ContainsFunc(list, func(o thing) bool { return o.Name == t.Name })
		})
	}
	return slices.DeleteFunc(things, func(t thing) bool { return !s.owner.Owns(t.Labels) || !labels.pass(t.Labels) }), nil
}

// asked are the filters of the lists that Podman is asked for: what all of them have
// is meant. That is one list, narrowed to the owner's, but for volumes: theirs Podman
// joins with "or", so each is asked for by itself.
func (s *Server) asked(kind string, f map[string][]string) []map[string][]string {
	if kind == "volumes" && len(f) > 0 {
		var lists []map[string][]string
		for _, name := range slices.Sorted(maps.Keys(f)) {
			lists = append(lists, map[string][]string{name: f[name]})
		}
		return lists
	}
	narrowed := map[string][]string{"label": s.ownerLabels()}
	maps.Copy(narrowed, f)
	return []map[string][]string{narrowed}
}

// list asks libpod's API for what there is of a kind.
func (s *Server) list(ctx context.Context, kind string, f map[string][]string) ([]thing, error) {
	query := url.Values{}
	setFilters(query, f)
	if kind == "containers" {
		query.Set("all", "true")
	}
	status, answer, err := s.exchange(ctx, http.MethodGet, libpod+"/"+kind+"/json", query, nil)
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK {
		return nil, notListed(kind, status, answer)
	}
	var list []thing
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("reading podman's answer: %w", err)
	}
	return list, nil
}

// notListed says why there is no list, with Podman's own status and words, as if the
// client had asked Podman.
func notListed(kind string, status int, answer []byte) error {
	var says struct{ Message string }
	_ = json.Unmarshal(answer, &says) // without words the status must do
	text := fmt.Sprintf("podman answered %d when it was asked for %s", status, kind)
	if status == http.StatusBadRequest {
		text = "Podman does not take the filters for " + kind
	}
	if says.Message != "" {
		text += ": " + says.Message
	}
	return &refusal{status, text}
}
