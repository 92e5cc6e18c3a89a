package integration_test

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

// warmRig is a Podman and a place for what is kept.
type warmRig struct {
	engine *rig.Podman
	client *podmanrun.Client
	dir    string
}

func newWarmRig(t *testing.T) *warmRig {
	t.Helper()
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: rig.NeedImages(t).Addr()})
	return openWarmRig(t, engine, engine.Addr())
}

func openWarmRig(t *testing.T, engine *rig.Podman, addr string) *warmRig {
	t.Helper()
	w := &warmRig{engine: engine, dir: t.TempDir()}
	var err error
	w.client, err = podmanrun.Open(t.Context(), podmanrun.Config{
		Host: addr, Program: "podman", ConnectTimeout: time.Minute, WarmDir: w.dir, WarmSize: "2GiB",
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.client.Close(); err != nil {
			t.Errorf("closing the client: %v", err)
		}
	})
	return w
}

// start brings a project up and returns what happened to its services, and how long
// it took.
func (w *warmRig) start(t *testing.T, project *podmanrun.Project) (*podmanrun.Stack, string, time.Duration) {
	t.Helper()
	var events []string
	began := time.Now()
	stack, err := w.client.Up(t.Context(), project, podmanrun.UpOptions{
		Owner: stackOwner(t), WaitTimeout: 3 * time.Minute, Warm: podmanrun.WarmScopes{Own: "tests"},
		Progress: func(e podmanrun.Event) {
			if e.Kind != podmanrun.EventPulling && e.Kind != podmanrun.EventPulled {
				events = append(events, string(e.Kind))
			}
			t.Log(time.Since(began).Round(time.Millisecond), e)
		},
	})
	took := time.Since(began)
	if err != nil {
		t.Fatalf("%v\n%s", err, stackDetails(err))
	}
	return stack, strings.Join(events, " "), took
}

func (w *warmRig) stop(t *testing.T, project *podmanrun.Project, volumes bool) {
	t.Helper()
	if err := w.client.Down(t.Context(), project.Name(), podmanrun.DownOptions{Volumes: volumes}); err != nil {
		t.Fatal(err)
	}
}

// run runs a command in a service and returns its output.
func (w *warmRig) run(t *testing.T, stack *podmanrun.Stack, service string, command ...string) string {
	t.Helper()
	out, err := w.engine.Command(t.Context(), append([]string{"exec", stack.ContainerID(service)}, command...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", command, err, out)
	}
	return strings.TrimSpace(string(out))
}

const (
	coldEvents = "created started keeping healthy"
	warmEvents = "created warm started healthy"
)

// mysqlProject is a database with init scripts in a folder.
func mysqlProject(t *testing.T, name, dir string) *podmanrun.Project {
	t.Helper()
	return loadStack(t, `
name: `+name+`
services:
  db:
    image: mysql:8
    stop_grace_period: 1m # one that is killed is not kept
    environment: {MYSQL_ROOT_PASSWORD: example, MYSQL_DATABASE: shop}
    volumes: ["`+dir+`:/docker-entrypoint-initdb.d:ro"]
    healthcheck: {test: mysqladmin ping -h 127.0.0.1 -uroot -pexample, interval: 1s, retries: 120}
    x-dockless: {warm: true}
`)
}

func TestAWarmDatabaseStartsWithTheDataOfItsInitScripts(t *testing.T) {
	w, scripts := newWarmRig(t), t.TempDir()
	script := func(value string) {
		t.Helper()
		text := "CREATE TABLE shop.goods (name TEXT); INSERT INTO shop.goods VALUES ('" + value + "');\n"
		if err := os.WriteFile(filepath.Join(scripts, "goods.sql"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	script("tea")
	project := mysqlProject(t, "warmdb", scripts)
	query := []string{"mysql", "-h127.0.0.1", "-uroot", "-pexample", "-Ne", "SELECT name FROM shop.goods"}
	var cold, warm time.Duration // the last and the shortest, when the image is there
	for _, step := range []struct {
		about, value, events string
	}{
		{"the first start", "tea", coldEvents},
		{"the second start", "tea", warmEvents},
		{"with another script", "coffee", coldEvents},
		{"the first script again", "tea", warmEvents},
	} {
		script(step.value)
		stack, events, took := w.start(t, project)
		t.Logf("%s took %s", step.about, took)
		if step.events == coldEvents {
			cold = took
		} else {
			warm = min(took, cmp.Or(warm, took))
		}
		if events != step.events {
			t.Errorf("%s: events %q, want %q", step.about, events, step.events)
		}
		if got := w.run(t, stack, "db", query...); !strings.HasSuffix(got, step.value) {
			t.Errorf("%s: the table holds %q, want %q", step.about, got, step.value)
		}
		// What a test writes must not be there the next time.
		w.run(t, stack, "db", "mysql", "-h127.0.0.1", "-uroot", "-pexample", "-e", "INSERT INTO shop.goods VALUES ('of a test')")
		w.stop(t, project, false)
	}
	if warm > cold/2 {
		t.Errorf("the warm start took %s, want at most half of the cold one's %s", warm, cold)
	}
	wantNoStackLeft(t, w.client)
	list, err := w.client.Fixtures(t.Context())
	if err != nil || len(list) != 2 || list[0].Hits != 2 || list[0].Service != "db" {
		t.Errorf("Fixtures = %+v, %v; want two, the first with two hits", list, err)
	}
}

// counterStack has a service whose first start takes a second and leaves a file.
const counterStack = `
services:
  db:
    image: busybox
    init: true
    command: ["sh", "-c", "test -f /data/made || { sleep 1; mkdir -p /data/sub; date +%s%N >/data/sub/made; chown 7:8 /data/sub/made; ln -s sub/made /data/made; } ; touch /tmp/ok; exec sleep 1000"]
    stop_signal: SIGTERM
    healthcheck: {test: "test -f /tmp/ok && test -s /data/made", interval: 1s, retries: 5}
    volumes: [VOLUME]
    x-dockless: {warm: true}
`

func TestAFixtureThatIsOfNoUseIsRemoved(t *testing.T) {
	w := newWarmRig(t)
	project := loadStack(t, "name: poisoned"+strings.ReplaceAll(counterStack, "VOLUME", "/data"))
	_, events, _ := w.start(t, project)
	if events != coldEvents {
		t.Errorf("the first start: events %q, want %q", events, coldEvents)
	}
	w.stop(t, project, false)
	for about, spoil := range map[string]string{
		"a file is gone":      "rm",
		"its content is gone": "truncate -s0",
	} {
		files, err := filepath.Glob(filepath.Join(w.dir, "tests", "*", "0", "sub", "made"))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: kept are %q, %v; want one file", about, files, err)
		}
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", spoil+" "+files[0]).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		_, events, _ = w.start(t, project)
		if !strings.Contains(events, "warning created started keeping healthy") {
			t.Errorf("%s: events %q, want a warning and a cold start", about, events)
		}
		w.stop(t, project, false)
		if _, events, _ = w.start(t, project); events != warmEvents {
			t.Errorf("%s: the next start: events %q, want %q", about, events, warmEvents)
		}
		w.stop(t, project, false)
	}
	wantNoStackLeft(t, w.client)
}

func TestANamedVolumeIsWarmUnlessItWasThere(t *testing.T) {
	w := newWarmRig(t)
	project := loadStack(t, "name: named"+strings.ReplaceAll(counterStack, "VOLUME", "'data:/data'")+"volumes: {data: {}}\n")
	first, events, _ := w.start(t, project)
	made := w.run(t, first, "db", "cat", "/data/made")
	if events != coldEvents {
		t.Errorf("the first start: events %q, want %q", events, coldEvents)
	}
	w.stop(t, project, false)
	if _, events, _ := w.start(t, project); events != "created started healthy" {
		t.Errorf("with a volume that is there: events %q, want an ordinary start", events)
	}
	w.stop(t, project, true)
	again, events, _ := w.start(t, project)
	if got := w.run(t, again, "db", "cat", "/data/made"); got != made || events != warmEvents {
		t.Errorf("the file was made at %s, events %q; want that of the first start, %s, and %q", got, events, made, warmEvents)
	}
	if got := w.run(t, again, "db", "stat", "-c", "%u:%g", "/data/sub/made"); got != "7:8" {
		t.Errorf("the file belongs to %s, want 7:8", got)
	}
	w.stop(t, project, true)
	wantNoStackLeft(t, w.client)
}

func TestSeveralStacksAtOnceShareOneFixture(t *testing.T) {
	w := newWarmRig(t)
	const stacks = 4
	projects := make([]*podmanrun.Project, stacks)
	for i := range projects {
		projects[i] = loadStack(t, "name: at-once-"+string(rune('a'+i))+strings.ReplaceAll(counterStack, "VOLUME", "/data"))
	}
	round := func() (events []string) {
		events = make([]string, stacks)
		var all sync.WaitGroup
		for i, p := range projects {
			all.Go(func() {
				_, err := w.client.Up(t.Context(), p, podmanrun.UpOptions{
					Owner: stackOwner(t), WaitTimeout: time.Minute, Warm: podmanrun.WarmScopes{Own: "tests"},
					Progress: func(e podmanrun.Event) { events[i] += string(e.Kind) + " " },
				})
				if err != nil {
					t.Errorf("%s: %v", p.Name(), err)
				}
			})
		}
		all.Wait()
		for _, p := range projects {
			w.stop(t, p, false)
		}
		return events
	}
	kept := 0
	for _, events := range round() {
		kept += strings.Count(events, "keeping")
	}
	list, err := w.client.Fixtures(t.Context())
	if err != nil || len(list) != 1 || kept != 1 {
		t.Errorf("kept %d times, Fixtures = %+v, %v; want one", kept, list, err)
	}
	for i, events := range round() {
		if !strings.Contains(events, "warm started healthy") {
			t.Errorf("stack %d of the second round: %s, want a warm start", i, events)
		}
	}
	wantNoStackLeft(t, w.client)
}

// newFarWarmRig is a Podman that is reached over the network, as one on another
// machine: its volumes are out of reach.
func newFarWarmRig(t *testing.T) *warmRig {
	t.Helper()
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: rig.NeedImages(t).Addr()})
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := &http.Server{ReadHeaderTimeout: time.Minute, Handler: &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "d"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(engine.Addr(), "unix://"))
		}},
		FlushInterval: -1,
	}}
	served := make(chan error, 1)
	go func() { served <- proxy.Serve(listener) }()
	t.Cleanup(func() {
		_ = proxy.Close() // its connections are the test's own
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the proxy ended with %v", err)
		}
	})
	return openWarmRig(t, engine, "tcp://"+listener.Addr().String())
}

func TestAPodmanOutOfReachIsWarmThroughItsAPI(t *testing.T) {
	w := newFarWarmRig(t)
	project := loadStack(t, "name: far"+strings.ReplaceAll(counterStack, "VOLUME", "/data")+`
  sql:
    image: mysql:8
    stop_grace_period: 1m # one that is killed is not kept
    environment: {MYSQL_ROOT_PASSWORD: example, MYSQL_DATABASE: shop}
    healthcheck: {test: mysql -h127.0.0.1 -uroot -pexample shop -e 'SELECT 1', interval: 1s, retries: 120}
    x-dockless: {warm: true}
`)
	first, events, took := w.start(t, project)
	if !strings.HasPrefix(w.client.Version(), "5.") {
		if strings.Contains(events, "keeping") || strings.Count(events, "warning") != 2 {
			t.Errorf("events %q, want two warnings and nothing kept, because this Podman hands out no volumes", events)
		}
		w.stop(t, project, false)
		wantNoStackLeft(t, w.client)
		return
	}
	made := w.run(t, first, "db", "cat", "/data/made")
	owners := w.run(t, first, "sql", "stat", "-c", "%U %a %n", "/var/lib/mysql/ibdata1", "/var/lib/mysql/mysql")
	w.stop(t, project, false)
	t.Logf("the first start took %s", took)
	again, events, took := w.start(t, project)
	t.Logf("the second start took %s", took)
	if strings.Count(events, "warm") != 2 || strings.Contains(events, "keeping") || strings.Contains(events, "warning") {
		t.Errorf("events %q, want two warm starts", events)
	}
	if got := w.run(t, again, "db", "cat", "/data/made"); got != made {
		t.Errorf("the file was made at %s, want that of the first start, %s", got, made)
	}
	if got := w.run(t, again, "db", "stat", "-c", "%u:%g", "/data/sub/made"); got != "7:8" {
		t.Errorf("the file belongs to %s, want 7:8", got)
	}
	if got := w.run(t, again, "sql", "stat", "-c", "%U %a %n", "/var/lib/mysql/ibdata1", "/var/lib/mysql/mysql"); got != owners {
		t.Errorf("the database's files are %q, want %q", got, owners)
	}
	w.stop(t, project, false)
	wantNoStackLeft(t, w.client)
}
