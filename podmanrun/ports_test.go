package podmanrun

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// drawing is a Podman that makes containers c1, c2 and so on, and finds the port of
// the first so many taken when they start; did gets what it was asked to do.
func drawing(t *testing.T, taken int, did *[]string) *Client {
	t.Helper()
	made := 0
	return clientOf(t, httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		_, what, _ := strings.Cut(r.URL.Path, "/libpod/containers/")
		switch {
		case what == "create":
			made++
			*did = append(*did, fmt.Sprintf("make c%d", made))
			_, _ = fmt.Fprintf(w, `{"Id":"c%d"}`, made) // the test fails by what it reads
		case r.Method == http.MethodDelete:
			*did = append(*did, "remove "+what)
		case strings.HasSuffix(what, "/start"):
			*did = append(*did, "start "+strings.TrimSuffix(what, "/start"))
			if made <= taken {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.WriteString(w, `{"message":"cannot listen on the TCP port: listen tcp4 127.0.0.1:42509: bind: address already in use"}`)
			}
		}
	})))
}

func TestAContainerWhoseDrawnPortIsTakenIsMadeAgain(t *testing.T) {
	many := []string{"make c1"}
	for i := 1; i < portDraws; i++ {
		many = append(many, fmt.Sprintf("start c%d", i), fmt.Sprintf("remove c%d", i), fmt.Sprintf("make c%d", i+1))
	}
	many = append(many, fmt.Sprintf("start c%d", portDraws))
	for name, c := range map[string]struct {
		services string
		taken    int
		want     []string
		fails    bool
	}{
		"it is free":              {"  db: {image: x, ports: ['127.0.0.1::80']}\n", 0, []string{"make c1", "start c1"}, false},
		"another has drawn it":    {"  db: {image: x, ports: ['127.0.0.1::80']}\n", 1, []string{"make c1", "start c1", "remove c1", "make c2", "start c2"}, false},
		"so it goes on":           {"  db: {image: x, ports: ['127.0.0.1::80']}\n", 100, many, true},
		"the file asks for it":    {"  db: {image: x, ports: ['127.0.0.1:42509:80', '127.0.0.1::81']}\n", 1, []string{"make c1", "start c1"}, true},
		"a service lives in it":   {"  db: {image: x, ports: ['127.0.0.1::80']}\n  b: {image: x, network_mode: 'service:db'}\n", 1, []string{"make c1", "start c1"}, true},
		"a service has its files": {"  db: {image: x, ports: ['127.0.0.1::80']}\n  b: {image: x, volumes_from: [db]}\n", 1, []string{"make c1", "start c1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			var did []string
			n := warmUnit(t, t.TempDir(), c.services)
			n.up.client, n.up.slots = drawing(t, c.taken, &did), make(chan struct{}, 1)
			if err := n.make(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := n.launch(t.Context())
			if (err != nil) != c.fails {
				t.Errorf("launch = %v, want failure %t", err, c.fails)
			}
			if diff := cmp.Diff(c.want, did); diff != "" {
				t.Errorf("what Podman did (-want +got):\n%s", diff)
			}
			if last := did[len(did)-1]; last != "start "+n.id {
				t.Errorf("the unit takes %s for its container, want the one of %q", n.id, last)
			}
		})
	}
}
