package podmanrun

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

// forgetful is a Podman that has lost the image of the first container that it is to
// make; asked gets what it is to make.
func forgetful(t *testing.T, warmDir string, asked *[]libpod.CreateRequest) *Client {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		w.Header().Set("Content-Type", "application/json")
		switch _, what, _ := strings.Cut(r.URL.Path, "/libpod/"); {
		case what == "containers/create":
			var request libpod.CreateRequest
			if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
				t.Errorf("reading what to create: %v", err)
			}
			if *asked = append(*asked, request); len(*asked) == 1 {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.WriteString(w, `{"message":"x: image not known"}`) // the test fails by what it reads
				return
			}
			_, _ = io.WriteString(w, `{"Id":"made"}`)
		case path.Base(what) == "exists":
			w.WriteHeader(http.StatusNotFound)
		case what == "volumes/json":
			_, _ = io.WriteString(w, `[]`)
		case path.Base(what) == "export":
		default:
			_, _ = io.WriteString(w, `{}`)
		}
	}))
	t.Cleanup(srv.Close)
	c, err := Open(t.Context(), Config{
		Host: "tcp://" + srv.Listener.Addr().String(), ConnectTimeout: time.Minute, WarmDir: warmDir, WarmSize: "1MiB",
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it holds connections only
	return c
}

// checkedImage is an image with a volume for this machine; an empty check is none.
func checkedImage(id, check string) *libpod.Image {
	img := image(id, "/data")
	img.Architecture = runtime.GOARCH
	if check != "" {
		img.Healthcheck = &libpod.HealthConfig{Test: []string{"CMD", check}}
	}
	return img
}

func TestAnImageThatComesInPlaceOfALostOneBringsWhatItsContainerIs(t *testing.T) {
	for name, c := range map[string]struct {
		image *libpod.Image
		warm  bool
		check []string
	}{
		"the same one":    {checkedImage("old", "old-check"), true, []string{"CMD", "old-check"}},
		"another one":     {checkedImage("new", "new-check"), false, []string{"CMD", "new-check"}},
		"without a check": {checkedImage("new", ""), false, nil},
	} {
		for _, platform := range []string{"", "linux/" + runtime.GOARCH} {
			t.Run(name+" "+platform, func(t *testing.T) {
				var asked []libpod.CreateRequest
				var warnings []string
				old := checkedImage("old", "old-check")
				n := warmUnit(t, t.TempDir(), "  db: {image: x, platform: '"+platform+"', x-dockless: {warm: true}}\n")
				n.up.client, n.up.slots = forgetful(t, t.TempDir(), &asked), make(chan struct{}, 1)
				n.up.options = UpOptions{Warm: WarmScopes{Own: "tests"}, Progress: func(e Event) {
					if e.Kind == EventWarning {
						warnings = append(warnings, e.Text)
					}
				}}
				if err := n.setImage(t.Context(), old); err != nil {
					t.Fatal(err)
				}
				if err := n.warmUp(t.Context(), old); err != nil || n.warm == nil {
					t.Fatalf("warmUp = %v, %q", err, warnings)
				}
				store := warm.Store{Dir: n.up.client.warmDir, Size: n.up.client.warmSize}
				kept, err := store.Begin("tests", "archive-"+n.warm.key)
				if err == nil {
					err = kept.Commit(warm.About{Volumes: []string{"/data"}})
				}
				if err != nil {
					t.Fatal(err)
				}
				defer n.warm.close()
				n.request.seal(old.ID)
				again := func(context.Context) (*libpod.Image, error) { return c.image, nil }
				if err := n.create(t.Context(), fetched{again: again}); err != nil || len(asked) != 2 || n.id != "made" {
					t.Fatalf("create = %v, Podman was asked for %d containers, want a second one", err, len(asked))
				}
				first, second := asked[0], asked[1]
				if !slices.Contains(first.Volumes[0].Options, "nocopy") {
					t.Fatalf("the first container has volumes %+v, want them to be filled with what was kept", first.Volumes)
				}
				if got := slices.Contains(second.Volumes[0].Options, "nocopy"); got != c.warm || n.warm.fresh != c.warm || (n.warm.found != nil) != c.warm {
					t.Errorf("it starts from what was kept = %t, %t, and keeps what it is then = %t; want %t", got, n.warm.found != nil, n.warm.fresh, c.warm)
				}
				if warned := strings.Contains(fmt.Sprint(warnings), "it does not start warm: its image"); warned == c.warm {
					t.Errorf("warnings = %q", warnings)
				}
				if (second.Labels[labelHash] == first.Labels[labelHash]) != c.warm {
					t.Errorf("the hashes are %s and %s", first.Labels[labelHash], second.Labels[labelHash])
				}
				if platform != "" && (second.Image != c.image.ID || second.RawImageName != "x") {
					t.Errorf("the container is made from %s, called %s, want %s, called x", second.Image, second.RawImageName, c.image.ID)
				}
				var has, follows, labelled []string
				if second.HealthConfig != nil {
					has = second.HealthConfig.Test
				}
				if n.health != nil {
					follows = n.health.Test
				}
				if check := checkFrom(second.Labels); check != nil {
					labelled = check.Test
				}
				if diff := cmp.Diff([][]string{c.check, c.check, c.check}, [][]string{has, follows, labelled}); diff != "" {
					t.Errorf("the check that the container has, is followed, and is noted (-want +got):\n%s", diff)
				}
			})
		}
	}
}
