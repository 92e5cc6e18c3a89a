package dockerapi_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestAContainerWithAPartOfAVolumeIsNotStartedByAPodmanThatFollowsLinks(t *testing.T) {
	requests := []string{"/v1.41/containers/part/start", "/v1.41/containers/part/restart?t=0", "/v4.3.1/libpod/containers/part/init", "/v4.3.1/libpod/containers/part/restore"}
	for version, refused := range map[string]bool{"4.3.1": true, "4.5.0": false} {
		u := newUpstream()
		u.version = version
		labels := maps.Clone(mine.Labels())
		labels["io.dockless.subpaths"] = `[{"volume":"data","path":"inner","target":"/part"}]`
		u.things["containers"]["part"] = labels
		c := open(t, u)
		for _, request := range requests {
			code, answer := c.do(t, http.MethodPost, request, "")
			if refused && (code != http.StatusForbidden || !strings.Contains(answer, "dockless stack start") || !strings.Contains(answer, version)) {
				t.Errorf("with Podman %s, %s = %d %s, want it refused with what to do", version, request, code, answer)
			}
			if !refused && code != http.StatusOK {
				t.Errorf("with Podman %s, %s = %d %s, want Podman's answer", version, request, code, answer)
			}
		}
		if asked := u.requests(); refused && len(asked) > 0 {
			t.Errorf("Podman %s was asked %q", version, asked)
		}
		// Whatever else is asked of it, and of containers without parts, is for Podman.
		for _, request := range []string{"/v1.41/containers/part/stop", "/v1.41/containers/web/start"} {
			if code, answer := c.do(t, http.MethodPost, request, ""); code != http.StatusOK {
				t.Errorf("with Podman %s, %s = %d %s", version, request, code, answer)
			}
		}
		if asked := u.requests(); !slices.Contains(asked, "POST /v1.41/containers/"+id("web")+"/start") {
			t.Errorf("Podman %s was asked %q", version, asked)
		}
	}
}
