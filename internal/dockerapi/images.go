package dockerapi

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// images answers /images/…. They belong to nobody: they are a cache of the
// Podman service for all its jobs. So none is pruned, which is for the operator,
// and none is forced away from under another job's container.
func (s *Server) images(c *call) error {
	switch {
	case c.is(http.MethodPost, "images", "prune"):
		if c.libpod {
			writeJSON(c.w, http.StatusOK, []any{})
		} else {
			writeJSON(c.w, http.StatusOK, map[string]any{"ImagesDeleted": nil, "SpaceReclaimed": 0})
		}
		return nil
	case c.is(http.MethodPost, "images", "create") && !c.libpod:
		if image := pulled(c.query); image != "" && s.isInsecure(image) {
			return s.pullInsecure(c, image)
		}
	case c.is(http.MethodDelete, "images", "remove") && c.libpod:
		if truth(c.query.Get("all")) {
			return &refusal{http.StatusForbidden, "a job cannot remove all images: others use them"}
		}
		for _, image := range c.query["images"] {
			if err := s.removable(c, image); err != nil {
				return err
			}
		}
	case c.r.Method == http.MethodDelete && len(c.parts) > 1:
		if err := s.removable(c, strings.Join(c.parts[1:], "/")); err != nil {
			return err
		}
	case c.is(http.MethodPost, "images", "*") && c.parts[len(c.parts)-1] == "push":
		s.allowPlain(c, strings.Join(c.parts[1:len(c.parts)-1], "/"))
	}
	return s.forward(c, nil)
}

func truth(text string) bool { return text != "" && text != "0" && !strings.EqualFold(text, "false") }

// removable checks that removing an image by force, which with Podman ends its
// containers, ends none of another job's.
func (s *Server) removable(c *call, image string) error {
	if !truth(c.query.Get("force")) {
		return nil
	}
	ask := s.ask
	if !c.libpod {
		ask = s.askDocker // the two APIs read short names differently
	}
	var found thing
	status, err := ask(c.r.Context(), http.MethodGet, "/images/"+url.PathEscape(image)+"/json", nil, nil, &found)
	if err != nil || status == http.StatusNotFound {
		return err // Podman answers that there is no such image
	}
	if status != http.StatusOK || found.ID == "" {
		return fmt.Errorf("podman answered %d when it was asked for image %s", status, image)
	}
	var all []thing
	status, err = s.ask(c.r.Context(), http.MethodGet, "/containers/json", url.Values{"all": {"true"}}, nil, &all)
	if err != nil {
		return err
	}
	if status != http.StatusOK {
		return fmt.Errorf("podman answered %d when it was asked who uses image %s", status, image)
	}
	uses := func(t thing) bool {
		return t.ImageID == strings.TrimPrefix(found.ID, "sha256:") && !s.owner.Owns(t.Labels)
	}
	if slices.ContainsFunc(all, uses) {
		return &refusal{http.StatusConflict, "image " + image + " is used by a container of another job"}
	}
	return nil
}

// pulled returns the image that a pull of Docker's API asks for.
func pulled(query url.Values) string {
	image, tag := query.Get("fromImage"), query.Get("tag")
	switch {
	case image == "" || tag == "":
		return image
	case strings.Contains(tag, ":"):
		return image + "@" + tag
	}
	return image + ":" + tag
}

// isInsecure reports whether an image's registry is spoken to without TLS.
func (s *Server) isInsecure(image string) bool {
	named, err := reference.ParseNormalizedNamed(image)
	return err == nil && s.plain(reference.Domain(named))
}

// plain reports whether a registry is spoken to without TLS: one that the
// operator named, or one on this host, as Docker has it.
func (s *Server) plain(registry string) bool {
	host, _, _ := strings.Cut(registry, ":")
	return host == "localhost" || strings.HasPrefix(host, "127.") || strings.HasPrefix(registry, "[::1]") ||
		slices.Contains(s.insecure, registry) || slices.Contains(s.insecure, host)
}

// allowPlain lets Podman speak to an insecure registry without TLS.
func (s *Server) allowPlain(c *call, image string) {
	if s.isInsecure(image) && !c.query.Has("tlsVerify") {
		c.query.Set("tlsVerify", "false")
	}
}

// pullInsecure pulls by libpod's API, because Podman's Docker API takes only
// registries without TLS that its own configuration names.
func (s *Server) pullInsecure(c *call, image string) error {
	ctx, cancel := context.WithCancel(c.r.Context())
	defer cancel()
	query := url.Values{"reference": {image}, "policy": {"always"}, "tlsVerify": {"false"}}
	for i, part := range strings.Split(c.query.Get("platform"), "/") {
		if key := []string{"OS", "Arch", "Variant", ""}[min(i, 3)]; part != "" && key != "" {
			query.Set(key, part)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://podman"+libpod+"/images/pull?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	if auth := c.r.Header.Get("X-Registry-Auth"); auth != "" {
		req.Header.Set("X-Registry-Auth", auth)
	}
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	if resp.StatusCode != http.StatusOK {
		var answer struct{ Message string }
		_ = json.NewDecoder(resp.Body).Decode(&answer) // without a message the code must do
		return &refusal{resp.StatusCode, "pulling " + image + ": " + answer.Message}
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.WriteHeader(http.StatusOK)
	out := newStream(c.w)
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if message := progress(lines.Bytes()); message != nil && out.write(message) != nil {
			return nil // the client is gone
		}
	}
	return nil
}

// progress turns a line of libpod's report of a pull into one of Docker's; nil
// for a line that says nothing.
func progress(line []byte) any {
	var report struct{ Stream, Error, ID string }
	switch {
	case json.Unmarshal(line, &report) != nil:
		return nil
	case report.Error != "":
		return map[string]any{"error": report.Error, "errorDetail": map[string]string{"message": report.Error}}
	case report.ID != "":
		return map[string]string{"status": "Download complete", "id": report.ID[:min(len(report.ID), 12)]}
	case strings.TrimSpace(report.Stream) != "":
		return map[string]string{"status": strings.TrimSpace(report.Stream)}
	}
	return nil
}
