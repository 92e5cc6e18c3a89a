package integration_test

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun"
)

func TestAnAttachedUpShowsItsServicesAndStopsThem(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	r := s.begun("up", "--attach")
	eventually(t, "the services have spoken", time.Minute, func() bool {
		return strings.Contains(r.stdout.String(), "db   | db is up") && strings.Contains(r.stdout.String(), "web  | web is up")
	})
	r.signal(t, syscall.SIGINT)
	f := r.end(t).want(t, 130)
	if !strings.Contains(f.stdout, "web  | web goes\n") {
		t.Errorf("what web said when it was stopped is not shown:\n%s", f.stdout)
	}
	if strings.Contains(f.stdout, "noise") || strings.Contains(f.stdout, "\x1b") {
		t.Errorf("there are lines of a service with attach: false, or colours:\n%q", f.stdout)
	}
	before, states := s.ids()
	if diff := cmp.Diff(map[string]string{"pair-db-1": "exited", "pair-noise-1": "exited", "pair-web-1": "exited"}, states); diff != "" {
		t.Errorf("after Ctrl-C (-want +got):\n%s", diff)
	}
	// The next up starts what was stopped, with all that is in it.
	s.stack("up", "-q").want(t, 0)
	after, states := s.ids()
	if !maps.Equal(before, after) || states["pair-web-1"] != "running" {
		t.Errorf("containers before and after = %v and %v, %v; want the same, running", before, after, states)
	}
	s.down()
}

func TestASecondSignalKillsWhatDoesNotStop(t *testing.T) {
	s := openStackCommands(t, `
name: deaf
services:
  deaf: &deaf {image: busybox, stop_grace_period: 5m, command: ["sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]}
  again: {<<: *deaf, restart: always}
  hooked: {<<: *deaf, restart: unless-stopped, pre_stop: [{command: [sleep, "290"]}]}
`)
	r := s.begun("up", "--attach")
	eventually(t, "the services have spoken", time.Minute, func() bool { return strings.Count(r.stdout.String(), "| deaf") == 3 })
	r.signal(t, syscall.SIGINT)
	eventually(t, "it is being stopped", 10*time.Second, func() bool { return strings.Contains(r.stderr.String(), "stopping") })
	start := time.Now()
	r.signal(t, syscall.SIGINT)
	r.end(t).want(t, 130)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("killing took %s", took)
	}
	if _, states := s.ids(); len(states) != 3 || slices.ContainsFunc(slices.Collect(maps.Values(states)), func(state string) bool { return state != "exited" }) {
		t.Errorf("states = %v", states)
	}
	s.down()
}

func TestWhatIsPausedIsStopped(t *testing.T) {
	s := openStackCommands(t, pairOfServices)
	r := s.begun("up", "--attach")
	eventually(t, "the services have spoken", time.Minute, func() bool { return strings.Contains(r.stdout.String(), "web is up") })
	s.stack("pause", "web", "noise").want(t, 0)
	r.signal(t, syscall.SIGINT)
	if f := r.end(t).want(t, 130); !strings.Contains(f.stdout, "web goes") {
		t.Errorf("a paused service was not asked to stop:\n%s\n%s", f.stdout, f.stderr)
	}
	s.stack("start", "noise").want(t, 0)
	s.stack("pause", "noise").want(t, 0)
	s.stack("stop", "-t", "1", "noise").want(t, 0)
	if _, states := s.ids(); slices.ContainsFunc(slices.Collect(maps.Values(states)), func(state string) bool { return state != "exited" }) {
		t.Errorf("states = %v, want everything stopped", states)
	}
	s.down()
}

func TestUpEndsWithTheExitCodeOfOneService(t *testing.T) {
	s := openStackCommands(t, `
name: suite
services:
  db: {image: busybox, init: true, command: sh -c "touch /tmp/ok; sleep 1000", healthcheck: {test: "test -f /tmp/ok"}}
  migrate: {image: busybox, command: echo migrated, depends_on: {db: {condition: service_healthy}}}
  tests:
    image: busybox
    command: sh -c "sleep 2; echo testing; exit 3"
    depends_on: {migrate: {condition: service_completed_successfully}}
  crash: {image: busybox, profiles: [crash], command: sh -c "sleep 1; exit 9"}
`)
	for _, c := range []struct {
		args string
		code int
		says bool // the tests come to their end
	}{
		{"--exit-code-from tests", 3, true},
		{"--abort-on-container-exit", 3, true},
		{"--abort-on-container-exit --exit-code-from tests", 3, true},
		{"--abort-on-container-failure --exit-code-from tests", 3, true},
		{"--abort-on-container-failure --exit-code-from db crash db", 143, false},
		{"--abort-on-container-exit crash db", 9, false},
	} {
		t.Run(c.args, func(t *testing.T) {
			s.t = t
			f := s.stack(append([]string{"up", "-t", "5"}, strings.Fields(c.args)...)...).want(t, c.code)
			if says := strings.Contains(f.stdout, "| testing\n"); says != c.says {
				t.Errorf("the tests came to their end: %t, want %t\n%s", says, c.says, f.stdout)
			}
			if _, states := s.ids(); states["suite-db-1"] != "exited" {
				t.Errorf("states = %v, want everything stopped", states)
			}
			s.down()
		})
	}
}

// Podman answers 500 for a container whose removal is under way.
func TestAStackThatSomebodyElseTakesDownIsFollowedToItsEnd(t *testing.T) {
	client := openStackClient(t)
	for range 4 {
		stack, err := engineUp(t, client, `
name: watched
services:
  a: &one {image: busybox, init: true, command: sleep 1000, healthcheck: {test: "true", interval: 20ms}}
  b: *one
  c: *one
`, nil)
		if err != nil {
			t.Fatal(err)
		}
		var warnings []string
		ended := make(chan error, 1)
		go func() {
			ended <- stack.Follow(t.Context(), podmanrun.FollowOptions{Line: func(_, _ string) {}, Changed: func(e podmanrun.Event) {
				if e.Kind == podmanrun.EventWarning {
					warnings = append(warnings, e.Text)
				}
			}})
		}()
		if err := client.Down(t.Context(), "watched", podmanrun.DownOptions{}); err != nil {
			t.Errorf("Down = %v", err)
		}
		if err := <-ended; err != nil || len(warnings) > 0 {
			t.Errorf("Follow = %v with warnings %q, want neither: the stack has been taken down", err, warnings)
		}
	}
	wantNoStackLeft(t, client)
}
