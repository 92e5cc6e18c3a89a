package podmanrun

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

// oldPodman is a Podman that follows links out of volumes, on this machine. Its
// volumes are all at place, and the program of its containers is this test's.
type oldPodman struct {
	client *Client

	mu    sync.Mutex
	asked []string // the last word of each request that changes something
}

func newOldPodman(t *testing.T, place string) *oldPodman {
	t.Helper()
	o := new(oldPodman)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Libpod-API-Version", "4.3.1")
		w.Header().Set("Content-Type", "application/json")
		if r.Method == http.MethodPost {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.asked = append(o.asked, filepath.Base(r.URL.Path))
			return
		}
		_, _ = fmt.Fprintf(w, `{"Mountpoint":%q,"State":{"Pid":%d}}`, place, os.Getpid()) // the test fails by what it reads
	}))
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "p"))
	if err != nil {
		t.Fatal(err)
	}
	_ = srv.Listener.Close() // of the port that it does not use
	srv.Listener = listener
	srv.Start()
	t.Cleanup(srv.Close)
	o.client, err = Open(t.Context(), Config{Host: "unix://" + listener.Addr().String(), ConnectTimeout: time.Minute}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.client.Close() }) // it holds connections only
	return o
}

func (o *oldPodman) requests() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

// partUnit is the container of a service that has part s of volume vol at /a, and a
// volume of its own at /data.
func partUnit(t *testing.T, o *oldPodman) *unit {
	t.Helper()
	n := warmUnit(t, t.TempDir(), `  db:
    image: x
    volumes: [{type: volume, source: vol, target: /a, volume: {subpath: s}}, /data]
    healthcheck: {test: 'true'}
volumes: {vol: {}}
`)
	n.up.client = o.client
	if err := n.placeParts(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestAPartThatAnOldPodmanMountsByItsPathIsNoLessAPart(t *testing.T) {
	place := t.TempDir()
	if err := os.Mkdir(filepath.Join(place, "s"), 0o750); err != nil {
		t.Fatal(err)
	}
	n := partUnit(t, newOldPodman(t, place))
	for _, wish := range []warmWish{{on: true}, {on: true, volumes: []string{"vol"}}, {on: true, volumes: []string{"/a"}}} {
		if _, err := n.warmVolumes(wish, image("1")); err == nil || !strings.Contains(err.Error(), "only a part of volume /a is mounted") {
			t.Errorf("warmVolumes(%v) = %v, want the part refused", wish.volumes, err)
		}
	}
	key := func() string {
		t.Helper()
		volumes, err := n.warmVolumes(warmWish{on: true, volumes: []string{"/data"}}, image("1"))
		if err != nil {
			t.Fatal(err)
		}
		k, err := n.warmKey(t.Context(), volumes, image("1"))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	before := key()
	if err := os.WriteFile(filepath.Join(place, "s", "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if key() != before {
		t.Error("the key is another with another content of a volume that is not kept")
	}
}

func TestAServiceWhoseDataIsKeptStartsAgainOnlyWithWhatIsInItsVolume(t *testing.T) {
	place := t.TempDir()
	if err := os.Mkdir(filepath.Join(place, "s"), 0o750); err != nil {
		t.Fatal(err)
	}
	podman := newOldPodman(t, place)
	n := partUnit(t, podman)
	n.id, n.up.options.Warm.Own = "db", "tests"
	// What "its program" has at /a is not what is in the volume: there is nothing.
	w := &warmth{unit: n, store: warm.Store{Dir: t.TempDir(), Size: 1 << 20}, key: "k", carrier: folders(nil)}
	if err := w.keep(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "is not known to be in the volume") {
		t.Errorf("keep = %v, want the mount refused", err)
	}
	if asked := podman.requests(); slices.Contains(asked, "start") || !slices.Contains(asked, "init") {
		t.Errorf("Podman was asked to %q, want no start before the mounts are compared", asked)
	}
}

func TestAPartIsReachedOnlyWithinItsVolume(t *testing.T) {
	client := newOldPodman(t, "").client
	outside, place := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(place, "real", "ssl"), 0o750); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"inner": "real", "back": "real/../real/ssl", "out": outside, "climbs": "../" + filepath.Base(outside), "absolute": filepath.Join(place, "real"), "self": "/proc/self/root"} {
		if err := os.Symlink(to, filepath.Join(place, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(place, "unreadable"), nil, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(place, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(place, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }() // nobody connects
	const leads = "a link leads out of it"
	for name, want := range map[string]string{
		"real/ssl": "", "inner/ssl": "", "back": "", "unreadable": "", "pipe": "", "socket": "",
		"out": leads, "climbs": leads, "absolute": leads, "self": leads, "../" + filepath.Base(outside): leads, "missing": "it is not there",
	} {
		file, err := client.within(place, part{Volume: "data", Path: name})
		if err == nil {
			err = file.Close()
		}
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("part %s = %v, want %q", name, err, want)
		}
	}
	if _, err := client.within(filepath.Join(place, "missing"), part{Path: "a"}); len(hint.All(err)) != 1 {
		t.Errorf("a part of a volume that nobody sees = %v, want an error with a hint", err)
	}
}

func TestATargetBelowAnAbsoluteLinkOfTheImageIsFound(t *testing.T) {
	// What this process has at /proc is certainly mounted there.
	mounted, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = mounted.Close() }() // only looked at
	dir := t.TempDir()
	for name, to := range map[string]string{"run": "/", "far": "../../../../../../../../../../.."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string]string{
		"/proc": "", dir + "/run/proc": "", dir + "/far/proc/": "",
		dir + "/run": "it is another file", "/proc/self/root/proc": "too many levels",
	} {
		err := mountedIs(mounted, os.Getpid(), target)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("mountedIs(%s) = %v, want %q", target, err, want)
		}
	}
}
