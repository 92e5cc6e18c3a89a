package integration_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/test/rig"
)

// engineUp brings a project up for a test's owner.
func engineUp(t *testing.T, client *podmanrun.Client, compose string, change func(*podmanrun.UpOptions)) (*podmanrun.Stack, error) {
	t.Helper()
	o := podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute}
	if change != nil {
		change(&o)
	}
	return client.Up(t.Context(), loadStack(t, compose), o)
}

func TestAServiceInWhoseNamespacesOthersLiveIsReplacedWithThem(t *testing.T) {
	client := openStackClient(t)
	compose := `
name: shared
services:
  base: {image: busybox, init: true, command: sleep %}
  net: {image: busybox, init: true, command: sleep 1000, network_mode: "service:base"}
  pid: {image: busybox, stop_grace_period: 0s, command: sleep 1000, pid: "service:base"}
`
	var ids []string
	for _, length := range []string{"1000", "1001"} {
		stack, err := engineUp(t, client, strings.ReplaceAll(compose, "%", length), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, service := range []string{"base", "net", "pid"} {
			ids = append(ids, stack.ContainerID(service))
		}
	}
	for i := range 3 {
		if ids[i] == ids[i+3] {
			t.Errorf("the container of service %d is the same, want another one", i)
		}
	}
	if err := client.Down(t.Context(), "shared", podmanrun.DownOptions{}); err != nil {
		t.Error(err)
	}
	wantNoStackLeft(t, client)
}

func TestWhatIsOfNoMatterHoldsNobodyUp(t *testing.T) {
	client := openStackClient(t)
	for name, compose := range map[string]string{
		// It would be unhealthy after a second, and ends well after three.
		"the health of a service that has to end": `
  once: {image: busybox, command: sleep 3, healthcheck: {test: "false", interval: 1s, retries: 1}}
  web: {image: busybox, init: true, command: sleep 1000, depends_on: {once: {condition: service_completed_successfully}}}
`,
		"a volume of a service that takes no part": `
  web: {image: busybox, init: true, command: sleep 1000}
  tool: {image: busybox, profiles: [tools], volumes: ["gone:/data"]}
volumes: {gone: {external: true}}
`,
		"an image that is mounted and not there yet": `
  web: {image: busybox, init: true, command: test -e /alpine/etc, volumes: [{type: image, source: debian, target: /alpine}]}
  all: {image: busybox, init: true, command: sleep 1000, depends_on: {web: {condition: service_completed_successfully}}}
`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := engineUp(t, client, "name: matter\nservices:"+compose, nil); err != nil {
				t.Error(err)
			}
			if err := client.Down(t.Context(), "matter", podmanrun.DownOptions{Volumes: true}); err != nil {
				t.Error(err)
			}
		})
	}
	wantNoStackLeft(t, client)
}

func TestAStackThatCanNeverBeUpIsNotWaitedFor(t *testing.T) {
	client := openStackClient(t)
	for name, c := range map[string]struct {
		compose, want string
		kind          podmanrun.FailureKind
	}{
		"a dependency that ends before it is healthy": {`
  init: {image: busybox, command: sleep 1, healthcheck: {test: "false", interval: 30s}}
  a: {image: busybox, init: true, command: sleep 1000, depends_on: {init: {condition: service_completed_successfully}}}
  b: {image: busybox, init: true, command: sleep 1000, depends_on: {init: {condition: service_healthy}}}
`, "it waits for init to be healthy, but init has ended before it was", podmanrun.FailureDependency},
		"a service that ends while its hooks run": {`
  a: {image: busybox, command: "sh -c 'echo gone; exit 7'", post_start: [{command: sh -c "sleep 1; true"}]}
`, "the container ended with exit code 7", podmanrun.FailureExited},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := engineUp(t, client, "name: never\nservices:"+c.compose, nil)
			failed, ok := errors.AsType[*podmanrun.ServiceError](err)
			if !ok || failed.Kind != c.kind || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Up = %v, want %q", err, c.want)
			}
			if took := time.Since(start); took > 30*time.Second {
				t.Errorf("it took %s to say so", took)
			}
		})
	}
	wantNoStackLeft(t, client)
}

func TestAContainerThatIsKeptWithoutTheHealthcheckOfItsServiceIsToldAndGoodEnough(t *testing.T) {
	client := openStackClient(t)
	compose := "name: kept\nservices:\n  a: {image: busybox, init: true, command: sleep 1000%}\n"
	if _, err := engineUp(t, client, strings.ReplaceAll(compose, "%", ""), nil); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	_, err := engineUp(t, client, strings.ReplaceAll(compose, "%", `, healthcheck: {test: "true", interval: 1s}`), func(o *podmanrun.UpOptions) {
		o.Recreate = podmanrun.RecreateNever
		o.Progress = func(e podmanrun.Event) {
			if e.Kind == podmanrun.EventWarning {
				warnings = append(warnings, e.Text)
			}
		}
	})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "has no healthcheck") {
		t.Errorf("Up = %v with warnings %q, want one about the healthcheck", err, warnings)
	}
}

// What two calls make of one project at the same time is each one's own to undo.
func TestAFailedStartTakesNothingFromAnotherOne(t *testing.T) {
	client := openStackClient(t)
	project := `
name: both
services:
  db: {image: busybox, init: true, command: sleep 1000}
`
	var other string
	started := false
	_, err := engineUp(t, client, project+`  bad: {image: busybox, init: true, command: sleep 1000, post_start: [{command: sh -c "sleep 3; exit 1"}]}
`, func(o *podmanrun.UpOptions) {
		o.Progress = func(e podmanrun.Event) {
			if started || e.Kind != podmanrun.EventStarted || e.Service != "bad" {
				return
			}
			started = true // while the hook runs
			code, name, err := client.Run(context.WithoutCancel(t.Context()), loadStack(t, project), podmanrun.RunOptions{
				UpOptions: podmanrun.UpOptions{Owner: stackOwner(t)}, Service: "db", Command: []string{"sleep", "1000"}, Detach: true, Keep: true, NoDeps: true,
			})
			if err != nil || code != 0 {
				t.Errorf("Run = %d, %v", code, err)
			}
			other = name
		}
	})
	if err == nil || strings.Contains(err.Error(), "removing network") {
		t.Errorf("Up with a failing hook = %v, want the hook and not what the other command uses", err)
	}
	list, err := client.Ps(t.Context(), "both")
	if err != nil {
		t.Fatal(err)
	}
	alive := false
	for _, c := range list {
		alive = alive || c.Name == other && c.State == "running"
	}
	if !alive || len(list) != 1 {
		t.Errorf("after the failed start there is %+v, want the container of the other command alone", list)
	}
}

func TestWhatAnotherJobHasUnderAFixedNameIsNotShared(t *testing.T) {
	client := openStackClient(t)
	compose := "name: %\nservices:\n  a: {image: busybox, init: true, command: sleep 1000, volumes: [\"data:/data\"], networks: [lan]}\n" +
		"volumes: {data: {name: fixed-data}}\nnetworks: {lan: {name: %-lan}}\n"
	if _, err := engineUp(t, client, strings.ReplaceAll(compose, "%", "first"), nil); err != nil {
		t.Fatal(err)
	}
	_, err := engineUp(t, client, strings.ReplaceAll(compose, "%", "second"), func(o *podmanrun.UpOptions) { o.Owner.Job = "another" })
	if want := "volume fixed-data is there and belongs to job " + stackOwner(t).Job + " of agent integration"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Up of another job = %v, want %q", err, want)
	}
	_, err = engineUp(t, client, strings.ReplaceAll(strings.Replace(compose, "-lan}", "-lan, internal: true}", 1), "%", "first"), nil)
	if want := "network first-lan is there and was made from another configuration"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Up with another network = %v, want %q", err, want)
	}
}

// The time for coming up begins when there is something to come up.
func TestTheTimeForPullsIsNotThatForComingUp(t *testing.T) {
	slow := imagesBehind(t, rig.RegistryOptions{Wrap: func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(5 * time.Second) // a pull asks at least three times
			next.ServeHTTP(w, r)
		})
	}})
	client := clientOf(t, rig.PodmanOptions{Insecure: []string{slow.Addr()}})
	start := time.Now()
	_, err := client.Up(t.Context(), oneService(t, slow.Addr()+"/library/busybox:latest"), podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: 10 * time.Second})
	if took := time.Since(start); err != nil || took < 10*time.Second {
		t.Errorf("Up = %v after %s, want nil after more than 10s", err, took)
	}
}
