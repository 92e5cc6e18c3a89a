package libpod

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A service takes a third of a second to tell of itself, and a volume's place at once.
func TestWhereVolumesAreIsReadFromTheirPlaces(t *testing.T) {
	for name, c := range map[string]struct {
		volume, place string
		want          string
		asked         []string
	}{
		"of one that is there":     {"data", "/var/volumes/data/_data", "/var/volumes", []string{"/volumes/data/json"}},
		"of one that is elsewhere": {"data", "/mnt/nfs", "/told/volumes", []string{"/volumes/data/json", "/info"}},
		"without any":              {"", "", "/told/volumes", []string{"/info"}},
	} {
		t.Run(name, func(t *testing.T) {
			var asked []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set(versionHeader, "5.8.3")
				_, path, isCall := strings.Cut(r.URL.Path, "/libpod")
				if !isCall {
					return
				}
				asked = append(asked, path)
				answer := any(map[string]string{"Mountpoint": c.place})
				if path == "/info" {
					answer = map[string]any{"store": map[string]string{"volumePath": "/told/volumes"}}
				}
				_ = json.NewEncoder(w).Encode(answer) // the test fails by what it reads
			}))
			client := clientOf(t, srv)
			got, err := client.VolumesDir(t.Context(), c.volume)
			if diff := cmp.Diff(c.asked, asked); err != nil || got != c.want || diff != "" {
				t.Errorf("VolumesDir(%q) = %q, %v, want %q; asked (-want +got):\n%s", c.volume, got, err, c.want, diff)
			}
		})
	}
}
