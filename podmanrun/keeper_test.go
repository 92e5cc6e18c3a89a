package podmanrun_test

import (
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
)

func TestAKeeperTakesThePlaceOfTheImagesProgram(t *testing.T) {
	s := podmanrun.Service{
		Image: "postgres:16", Command: []string{"postgres"},
		Options: "--user postgres --entrypoint /x --health-cmd true --init --tty --stop-signal INT -m 64m",
		Keeper: &podmanrun.Keeper{
			Entrypoint: []string{"/a", "b"}, User: "1:2",
			Mounts: []podmanrun.Mount{{Source: "/host:with:colons", Target: "/inside", ReadOnly: true}},
		},
	}
	got := yamlOf(t, s)
	for _, want := range []string{
		"entrypoint:\n      - /a\n      - b\n", "user: \"1:2\"\n", "disable: true\n", "init: false\n", "stop_signal: SIGTERM\n",
		"mem_limit: \"67108864\"\n", "source: /host:with:colons\n        target: /inside\n        read_only: true\n", "- label=disable\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the project lacks %q:\n%s", want, got)
		}
	}
	for _, gone := range []string{"- postgres", "tty: true", "create_host_path: true"} {
		if strings.Contains(got, gone) {
			t.Errorf("the project still has %q:\n%s", gone, got)
		}
	}
	p, err := podmanrun.Services("job", map[string]podmanrun.Service{"db": s})
	if err != nil {
		t.Fatal(err)
	}
	if w := strings.Join(p.Warnings(), "\n"); !strings.Contains(w, "--user") || !strings.Contains(w, "--entrypoint") {
		t.Errorf("warnings = %q, want one for each option that is ignored", w)
	}
}

// infoServer answers as a Podman with these maps of users.
func infoServer(t *testing.T, maps string) *podmanrun.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "4.3.1")
		if strings.HasSuffix(r.URL.Path, "/info") {
			_ = json.NewEncoder(w).Encode(map[string]any{"host": map[string]any{"idMappings": json.RawMessage(maps)}})
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	c, err := podmanrun.Open(t.Context(), podmanrun.Config{Host: "unix://" + socket, ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestUsersAreFoundInTheMapsOfPodman(t *testing.T) {
	for name, c := range map[string]struct {
		maps           string
		uid, gid, root int
		ok             bool
	}{
		"Podman of root":                  {`{}`, 10001, 10002, 0, true},
		"of the same user":                {`{"uidmap":[{"container_id":0,"host_id":10001,"size":1}],"gidmap":[{"container_id":0,"host_id":10002,"size":1}]}`, 0, 0, 10001, true},
		"of another user":                 {`{"uidmap":[{"container_id":0,"host_id":1000,"size":1},{"container_id":1,"host_id":1,"size":999},{"container_id":1000,"host_id":1001,"size":64535}],"gidmap":[{"container_id":0,"host_id":10002,"size":1}]}`, 10000, 0, 1000, true},
		"of another user, without others": {`{"uidmap":[{"container_id":0,"host_id":1000,"size":1}],"gidmap":[{"container_id":0,"host_id":1000,"size":1}]}`, 10001, 0, 1000, false},
	} {
		t.Run(name, func(t *testing.T) {
			users, err := infoServer(t, c.maps).Users(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			uid, gid, ok := users.Inside(10001, 10002)
			if ok != c.ok || ok && (uid != c.uid || gid != c.gid) || users.Root() != c.root {
				t.Errorf("10001:10002 is %d:%d (%t), root is %d; want %d:%d (%t), %d", uid, gid, ok, users.Root(), c.uid, c.gid, c.ok, c.root)
			}
		})
	}
}
