package integration_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun"
)

func TestServicesAreStoppedStartedAndRestarted(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	s.stack("up", "-q").want(t, 0)
	defer s.down()
	port := strings.TrimSpace(s.stack("port", "web", "8080").want(t, 0).stdout)
	if page := stackFetch(t, "http://"+port+"/"); page != "hello\n" {
		t.Errorf("GET %s = %q", port, page)
	}
	s.stack("port", "web", "9").want(t, 1).wantError(t, "", "9/tcp", "not published")

	f := s.stack("restart", "-t", "1", "db").want(t, 0)
	if !strings.Contains(f.stderr, "db ") || !strings.Contains(f.stderr, "web ") {
		t.Errorf("web follows the restart of db, but was left alone:\n%s", f.stderr)
	}
	s.stack("pause", "noise").want(t, 0)
	if _, states := s.ids(); states["pair-noise-1"] != "paused" {
		t.Errorf("states after pause = %v", states)
	}
	s.stack("unpause").want(t, 0)
	s.stack("kill", "-s", "KILL", "noise").want(t, 0)
	s.stack("stop", "-t", "2").want(t, 0)
	if _, states := s.ids(); slices.ContainsFunc(slices.Collect(maps.Values(states)), func(state string) bool { return state != "exited" }) {
		t.Errorf("states after stop = %v", states)
	}
	started := s.stack("start").want(t, 0).stderr
	if db, web := strings.Index(started, "db "), strings.Index(started, "web "); db < 0 || web < db {
		t.Errorf("web was not started after db:\n%s", started)
	}
	if top := s.stack("top", "db").want(t, 0).stdout; !strings.Contains(top, "sleep 1000") {
		t.Errorf("top:\n%s", top)
	}
	if images := s.stack("images").want(t, 0).stdout; strings.Count(images, "busybox") != 3 {
		t.Errorf("images:\n%s", images)
	}
	if list := s.stack("ls").want(t, 0).stdout; !strings.Contains(list, "pair") || !strings.Contains(list, "running (3)") {
		t.Errorf("ls:\n%s", list)
	}
}

func TestAStartDoesWhatUpDoes(t *testing.T) {
	s := openStackCommands(t, `
name: order
services:
  db: {image: busybox, init: true, command: sleep 1000, healthcheck: {test: "test -f /tmp/ok", interval: 1s, retries: 60}, post_start: [{command: [touch, /tmp/ok]}]}
  migrate: {image: busybox, command: sh -c "sleep 1; date +%s >> /shared/done; exit $$(cat /shared/code 2>/dev/null || echo 0)", volumes: ["shared:/shared"], depends_on: {db: {condition: service_healthy}}}
  web: {image: busybox, init: true, command: sh -c "wc -l < /shared/done > /shared/seen; sleep 1000", volumes: ["shared:/shared"], depends_on: {migrate: {condition: service_completed_successfully}}}
volumes: {shared: {}}
`)
	s.stack("up", "-q", "-d").want(t, 0)
	defer s.down()
	// web is there before it has counted, and finds what it counted before.
	sees := func(what, want string) {
		t.Helper()
		eventually(t, what+" after "+want+" migrations", 20*time.Second, func() bool {
			return strings.TrimSpace(s.stack("exec", "web", "cat", "/shared/seen").want(t, 0).stdout) == want
		})
	}
	s.stack("exec", "db", "rm", "/tmp/ok").want(t, 0)
	s.stack("stop", "-t", "1").want(t, 0)
	s.stack("start").want(t, 0) // its hook makes db healthy
	sees("web was started", "2")
	s.stack("exec", "db", "rm", "/tmp/ok").want(t, 0)
	s.stack("restart", "-t", "1").want(t, 0)
	sees("web was restarted", "3")
	s.stack("exec", "web", "sh", "-c", "echo 4 > /shared/code").want(t, 0)
	s.stack("stop", "-t", "1", "web").want(t, 0)
	s.stack("start").want(t, 1).wantError(t, "", "migrate", "exit code 4")
	if _, states := s.ids(); states["order-web-1"] != "exited" {
		t.Errorf("web was started although migrate failed: %v", states)
	}
	// What runs is waited for as well.
	s.stack("exec", "db", "rm", "/tmp/ok").want(t, 0)
	r := s.begun("start", "db", "migrate")
	time.Sleep(time.Second)
	if _, states := s.ids(); states["order-migrate-1"] != "exited" {
		t.Errorf("migrate was started before db was healthy: %v", states)
	}
	s.stack("exec", "db", "touch", "/tmp/ok").want(t, 0)
	r.end(t).want(t, 0)
}

func TestUpMakesAnewOnlyWhatHasChanged(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	up := func(args ...string) map[string]string {
		t.Helper()
		s.stack(append([]string{"up", "-q"}, args...)...).want(t, 0)
		ids, _ := s.ids()
		return ids
	}
	defer s.down()
	changed := func(before, after map[string]string) []string {
		var names []string
		for name, id := range after {
			if before[name] != id {
				names = append(names, name)
			}
		}
		slices.Sort(names)
		return names
	}
	first := up()
	if again := changed(first, up()); len(again) != 0 {
		t.Errorf("made anew without a reason: %q", again)
	}
	s.env = []string{"GREETING=goodbye"}
	second := up()
	if diff := cmp.Diff([]string{"pair-web-1"}, changed(first, second)); diff != "" {
		t.Errorf("made anew after a change of web (-want +got):\n%s", diff)
	}
	s.env = nil
	if kept := changed(second, up("--no-recreate")); len(kept) != 0 {
		t.Errorf("made anew with --no-recreate: %q", kept)
	}
	third := up("--force-recreate", "--no-deps", "web")
	if diff := cmp.Diff([]string{"pair-web-1"}, changed(second, third)); diff != "" {
		t.Errorf("made anew with --force-recreate web (-want +got):\n%s", diff)
	}
	// web follows db, although nothing of its own has changed.
	f := s.stack("up", "--force-recreate", "db").want(t, 0)
	if strings.Contains(f.stderr, "web") {
		t.Errorf("up db touched web:\n%s", f.stderr)
	}
	s.stack("stop", "-t", "1", "db").want(t, 0)
	if f := s.stack("up").want(t, 0); !strings.Contains(f.stderr, "web          restarted") {
		t.Errorf("web was not restarted with db:\n%s", f.stderr)
	}
	scaled := up("--scale", "noise=3")
	if _, there := scaled["pair-noise-3"]; !there || scaled["pair-noise-1"] != third["pair-noise-1"] {
		t.Errorf("after --scale noise=3: %v, and before %v", scaled, third)
	}
	if fewer := up("--scale", "noise=1"); len(fewer) != 3 {
		t.Errorf("after --scale noise=1: %v", fewer)
	}
}

// Keys that become something else on their way to Podman do so each time alike.
func TestAStackWithManyKeysIsKeptAsItIs(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	dir := writeTree(t, map[string]string{"compose.yml": stackOfKeys, "plain.txt": "from-a-file"})
	up := func() (removed []string) {
		t.Helper()
		project, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Environment: map[string]string{"WORD": "s3cret"}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), NoWait: true, Progress: func(e podmanrun.Event) {
			if e.Kind == podmanrun.EventRemoved || e.Kind == podmanrun.EventCreated {
				removed = append(removed, e.Service+" "+string(e.Kind))
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		return removed
	}
	if made := up(); len(made) != 7 {
		t.Errorf("made by the first start: %q", made)
	}
	if again := up(); len(again) != 0 {
		t.Errorf("made or removed by the second: %q", again)
	}
	if err := client.Down(t.Context(), "keys", podmanrun.DownOptions{Volumes: true}); err != nil {
		t.Error(err)
	}
}
