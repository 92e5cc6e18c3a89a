package podmanrun

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// sharedService plays a Podman service on which two owners have a project of one
// name. It answers lists without a look at their filters, and notes what is removed.
func sharedService(t *testing.T, owners ...Owner) (c *Client, removed func() []string) {
	t.Helper()
	var mu sync.Mutex
	var gone []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "5.8.3")
		kind, name := path.Base(path.Dir(r.URL.Path)), path.Base(r.URL.Path)
		switch {
		case r.Method == http.MethodDelete:
			mu.Lock()
			gone = append(gone, kind+" "+name)
			mu.Unlock()
			w.WriteHeader(http.StatusNoContent)
			return
		case r.Method != http.MethodGet || name != "json" && kind != "volumes":
			return
		}
		list := []any{}
		for _, o := range owners {
			list = append(list, map[string]any{"Id": o.Job, "Name": o.Job, "Names": []string{o.Job}, "Labels": ownedBy(o, "p", nil)})
		}
		_ = json.NewEncoder(w).Encode(list) // the test fails by what it reads
	}))
	c = clientOf(t, srv)
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		slices.Sort(gone)
		return slices.Clone(gone)
	}
}

func TestAProjectIsItsOwnersAlone(t *testing.T) {
	mine, theirs := Owner{Agent: "a", Job: "mine"}, Owner{Agent: "b", Job: "theirs"}
	for name, test := range map[string]struct {
		owner Owner
		want  []string
	}{
		"one owner's":  {mine, []string{"containers mine", "networks mine", "volumes mine"}},
		"everybody's":  {Owner{}, []string{"containers mine", "containers theirs", "networks mine", "networks theirs", "volumes mine", "volumes theirs"}},
		"an agent's":   {Owner{Agent: "b"}, []string{"containers theirs", "networks theirs", "volumes theirs"}},
		"a stranger's": {Owner{Agent: "c"}, nil},
	} {
		c, removed := sharedService(t, mine, theirs)
		if err := c.Down(t.Context(), "p", DownOptions{Owner: test.owner, Volumes: true}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(test.want, removed(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: removed (-want +got):\n%s", name, diff)
		}
	}
}

func TestCommandsFindTheirOwnersContainersOnly(t *testing.T) {
	mine, theirs := Owner{Agent: "a", Job: "same"}, Owner{Agent: "b", Job: "same"}
	c, _ := sharedService(t, mine, theirs)
	for name, test := range map[string]struct {
		owner Owner
		want  int
	}{
		"one owner's": {mine, 1}, "everybody's": {Owner{}, 2}, "a stranger's": {Owner{Agent: "c", Job: "same"}, 0},
	} {
		list, err := c.listed(t.Context(), test.owner, "p", nil)
		if err != nil || len(list) != test.want {
			t.Errorf("%s: %d containers, %v, want %d", name, len(list), err, test.want)
		}
		if len(list) == 1 && list[0].Labels[LabelAgent] != "a" {
			t.Errorf("%s: it is of agent %s", name, list[0].Labels[LabelAgent])
		}
	}
}

func TestAProjectOfAnotherOwnerIsNotReplaced(t *testing.T) {
	c, removed := sharedService(t, Owner{Agent: "b", Job: "theirs"})
	p, err := Services("p", map[string]Service{"db": {Image: "x", LocalImage: true}})
	if err != nil {
		t.Fatal(err)
	}
	// The image is no image, so it ends with an error and undoes what it made.
	if _, err := c.Up(t.Context(), p, UpOptions{Owner: Owner{Agent: "a", Job: "mine"}, RemoveOrphans: true}); err == nil {
		t.Fatal("Up came up without an image")
	}
	if got := removed(); slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "containers") }) {
		t.Errorf("removed %q, want nobody else's", got)
	}
}

func TestWhatAnotherStartUsesIsNotInTheWayOfUndoing(t *testing.T) {
	for name, c := range map[string]struct {
		kind  string
		code  int
		says  string
		fails bool
	}{
		"a network": {"networks", http.StatusInternalServerError, `"p_default" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used`, false},
		"a volume":  {"volumes", http.StatusConflict, "volume p_data is being used by the following container(s): 4e2b: volume is being used", false},
		"a failure": {"networks", http.StatusInternalServerError, "netavark: IO error: Read-only file system", true},
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Libpod-API-Version", "5.8.3")
			switch {
			case r.Method == http.MethodDelete && path.Base(path.Dir(r.URL.Path)) == c.kind:
				w.WriteHeader(c.code)
				_ = json.NewEncoder(w).Encode(map[string]string{"message": c.says}) // the test fails by what it reads
			case r.URL.Path != "/_ping" && r.Method == http.MethodGet:
				_, _ = w.Write([]byte("[]")) // likewise
			}
		}))
		client, err := Open(t.Context(), Config{Host: "tcp://" + srv.Listener.Addr().String(), ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		u := &up{client: client, project: &types.Project{Name: "p"}, networks: []string{"p_default"}, volumes: []string{"p_data"}}
		if err := u.undo(t.Context()); (err != nil) != c.fails {
			t.Errorf("%s: undo = %v, want failure %t", name, err, c.fails)
		}
		_ = client.Close() // it holds connections only
		srv.Close()
	}
}
