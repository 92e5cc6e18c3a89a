package podmanrun

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

func TestTheVolumesOfAContainerBesideTheProjectComeWithTheirParts(t *testing.T) {
	const labels = `{"Config":{"Labels":{"io.dockless.subpaths":"[{\"volume\":\"data\",\"path\":\"inner\",\"target\":\"/part\",\"options\":[\"nocopy\"]}]"}}}`
	parts := func(options ...string) []libpod.NamedVolume {
		return []libpod.NamedVolume{{Name: "data", Dest: "/part", Options: append(options, "nocopy"), SubPath: "inner"}}
	}
	for from, want := range map[string][]libpod.NamedVolume{"container:with": parts(), "container:with:ro": parts("ro"), "container:without": nil, "container:missing": nil} {
		n := warmUnit(t, t.TempDir(), "  db: {image: x, volumes_from: ['"+from+"']}\n")
		n.up.client = passing(t, map[string][]moment{
			"with": {{http.StatusOK, labels}}, "without": {itRuns}, "missing": {{http.StatusNotFound, `{"message":"no such container"}`}},
		})
		if err := n.refer(t.Context()); err != nil {
			t.Fatalf("with %s, refer = %v", from, err)
		}
		if diff := cmp.Diff(want, n.request.Volumes); diff != "" {
			t.Errorf("with %s, the container's own volumes (-want +got):\n%s", from, diff)
		}
		if got := partsIn(n.request.Labels); len(got) != len(want) {
			t.Errorf("with %s, the container says that it has parts %v", from, got)
		}
		if diff := cmp.Diff([]string{from[len(ofContainer):]}, n.request.VolumesFrom); diff != "" {
			t.Errorf("with %s, it has the volumes of (-want +got):\n%s", from, diff)
		}
	}
}
