package integration_test

import (
	"testing"

	"github.com/dockless-ci/dockless/podmanrun"
)

// TestAStackHasAsManyContainersAsItsServicesSay goes up, and down again in size:
// replicas that stay are kept as they run.
func TestAStackHasAsManyContainersAsItsServicesSay(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	up := func(replicas string) []podmanrun.ContainerStatus {
		t.Helper()
		project := loadStack(t, `name: sized
services:
  web:
    image: busybox
    init: true
    command: ["sleep", "300"]
    scale: `+replicas+`
  late:
    image: busybox
    init: true
    command: ["sleep", "300"]
    depends_on: [web]
`)
		if _, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t)}); err != nil {
			t.Fatal(err)
		}
		list, err := client.Ps(t.Context(), "sized")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	three := up("3")
	if len(three) != 4 || three[1].Name != "sized-web-1" || three[3].Replica != 3 {
		t.Fatalf("containers = %+v, want late and three of web", three)
	}
	one := up("1")
	if len(one) != 2 || one[1].ID != three[1].ID {
		t.Errorf("after scaling down = %+v, want late and the first of web, kept", one)
	}
	if none := up("0"); len(none) != 1 || none[0].Service != "late" {
		t.Errorf("after scaling to nothing = %+v, want late only", none)
	}
	if err := client.Down(t.Context(), "sized", podmanrun.DownOptions{}); err != nil {
		t.Error(err)
	}
}
