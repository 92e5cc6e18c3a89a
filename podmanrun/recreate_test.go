package podmanrun

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// living plays a Podman service whose containers live in the namespaces of others. It
// tells who was asked for.
func living(t *testing.T, in map[string][]string) (c *Client, asked func() []string) {
	t.Helper()
	var (
		mu  sync.Mutex
		all []string
	)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		if path.Base(r.URL.Path) != "json" {
			return
		}
		id := path.Base(path.Dir(r.URL.Path))
		mu.Lock()
		defer mu.Unlock()
		all = append(all, id)
		_ = json.NewEncoder(w).Encode(map[string]any{"Id": id, "Dependencies": in[id]}) // the test fails by what it reads
	}))
	c = clientOf(t, srv)
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(all)
		return all
	}
}

func TestAHookIsFoundBehindAContainerThatHasNone(t *testing.T) {
	listed := func(id, state string, labels ...string) libpod.Listed {
		l := libpod.Listed{ID: id, State: state, Labels: make(map[string]string)}
		for _, label := range labels {
			l.Labels[label] = "[]"
		}
		return l
	}
	c, asked := living(t, map[string][]string{
		"guest": {"base"}, "second": {"guest"}, "third": {"second"}, "fourth": {"third"},
		"other": {"elsewhere"}, "command": {"base"}, "stopped": {"base"}, "quiet": {"base"},
	})
	u := &up{
		client: c,
		before: []libpod.Listed{
			listed("base", "running", labelPreStop),
			listed("fourth", "running", labelPreStop), listed("second", "running", labelPreStop),
			listed("guest", "running"), listed("third", "running"), listed("quiet", "running"),
			listed("elsewhere", "running"), listed("stopped", "exited", labelPreStop),
		},
		aside: []libpod.Listed{listed("other", "running", labelPreStop), listed("command", "running", labelPreStop, labelOneOff)},
	}
	var got []string
	for _, l := range u.livingIn(t.Context(), "base") {
		got = append(got, l.ID)
	}
	if diff := cmp.Diff([]string{"fourth", "second"}, got); diff != "" {
		t.Errorf("with hooks in base, the farthest first (-want +got):\n%s", diff)
	}
	if who := asked(); slices.Contains(who, "quiet") || len(slices.Compact(slices.Clone(who))) != len(who) {
		t.Errorf("Podman was asked for %q, want nobody whom no hook needs, and nobody twice", who)
	}
}
