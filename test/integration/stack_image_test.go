package integration_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

func TestAnImageThatAStackLosesToAnotherJobIsFetchedAgain(t *testing.T) {
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: rig.NeedImages(t).Addr()})
	client := connectTo(t, engine)
	defer wantNoStackLeft(t, client)
	for name, keys := range map[string]string{
		"by its name":     "image: busybox",
		"by its platform": "image: busybox, platform: linux/" + runtime.GOARCH,
	} {
		compose := "name: lost\nservices:\n  a: {init: true, command: sleep 1000, " + keys + "}\n"
		var remove sync.Once
		removed := false
		_, err := engineUp(t, client, compose, func(o *podmanrun.UpOptions) {
			o.Progress = func(e podmanrun.Event) {
				if e.Kind != podmanrun.EventPulled {
					return
				}
				remove.Do(func() {
					out, err := engine.Command(t.Context(), "rmi", "--force", "busybox").CombinedOutput()
					if removed = err == nil; !removed {
						t.Errorf("removing the image: %v\n%s", err, out)
					}
				})
			}
		})
		if err != nil || !removed {
			t.Errorf("starting what wants its image %s, which was removed (%t) before = %v", name, removed, err)
		}
		if err := client.Down(t.Context(), "lost", podmanrun.DownOptions{}); err != nil {
			t.Error(err)
		}
	}
}
