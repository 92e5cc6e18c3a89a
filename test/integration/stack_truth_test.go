package integration_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

// upTruth brings up a project named truth whose service db is written as given, and
// which two others wait for, and wants it to fail and to leave nothing.
func upTruth(t *testing.T, client *podmanrun.Client, db, rest string) *podmanrun.ServiceError {
	t.Helper()
	if !strings.Contains(db, "image:") {
		db = "image: busybox, " + db
	}
	project := loadStack(t, fmt.Sprintf(`
name: truth
services:
  db: {%s}
  api: {image: busybox, init: true, command: sleep 1000, depends_on: [db]}
  web: {image: busybox, init: true, command: sleep 1000, depends_on: [api]}
%s
`, db, rest))
	_, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: 30 * time.Second})
	failed, ok := errors.AsType[*podmanrun.ServiceError](err)
	if !ok {
		t.Fatalf("Up = %v, want a *ServiceError", err)
	}
	wantNoStackLeft(t, client)
	return failed
}

func TestEveryFailureOfAStackIsToldForWhatItIs(t *testing.T) {
	client := openStackClient(t)
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }() // it was only there
	own := taken.Addr().(*net.TCPAddr).Port
	hold := loadStack(t, `
name: hold
services:
  web: {image: busybox, init: true, container_name: taken-name, command: sleep 1000, ports: ["127.0.0.1::80"]}
networks: {default: {ipam: {config: [{subnet: 10.77.5.0/24}]}}}
`)
	held, err := client.Up(t.Context(), hold, podmanrun.UpOptions{Owner: podmanrun.Owner{Agent: "other", Job: "j-1"}, WaitTimeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if _, err := client.RemoveOwned(context.WithoutCancel(t.Context()), podmanrun.Owner{Agent: "other"}); err != nil {
			t.Error(err)
		}
	}()
	port := held.Environment()["DOCKLESS_WEB_PORT_80"]
	holder := `container taken-name \(service web, project hold, job j-1, agent other\)`
	for name, c := range map[string]struct {
		db, rest string
		kind     podmanrun.FailureKind
		want     string // pattern
		logs     string // last line
		health   string
		hint     string
		from     string // the service that is blamed; db when empty
	}{
		"exit code": {
			db:   `command: 'sh -c "echo starting; sleep 0.3; echo boom >&2; exit 3"', healthcheck: {test: "false", interval: 5s}`,
			kind: podmanrun.FailureExited, want: `the container ended with exit code 3 before it was healthy`, logs: "boom",
		},
		"a signal": {
			db:   `init: true, command: ["sh", "-c", "sleep 0.3; kill -11 $$$$"], healthcheck: {test: "false", interval: 5s}`,
			kind: podmanrun.FailureExited, want: `the container ended with exit code 139 \(killed by SIGSEGV, an invalid memory access\) before`,
		},
		"killed": {
			db:   `init: true, command: ["sh", "-c", "sleep 0.3; kill -9 $$$$"], healthcheck: {test: "false", interval: 5s}`,
			kind: podmanrun.FailureExited, want: `the container ended with exit code 137 \(killed by SIGKILL\).*: by the kernel when the machine or the pod had no more memory, or by somebody`,
		},
		"a program in a script": {
			db:   `command: ["sh", "-c", "sleep 0.3; nosuchprogram"], healthcheck: {test: "false", interval: 5s}`,
			kind: podmanrun.FailureExited, want: `the container ended with exit code 127 \(a program was not found\)`, logs: "nosuchprogram: not found",
		},
		"memory": {
			db:   `command: ["sh", "-c", "sleep 0.3; exec tail /dev/zero"], mem_limit: 16m, memswap_limit: 16m, healthcheck: {test: "false", interval: 5s}`,
			kind: podmanrun.FailureOutOfMemory, want: `out of memory.* its limit (is|of) 16MiB; the container ended with exit code 137`,
		},
		"unhealthy": {
			db:   `init: true, command: sleep 1000, healthcheck: {test: "echo not yet; false", interval: 1s, retries: 2}`,
			kind: podmanrun.FailureUnhealthy, want: `unhealthy: the healthcheck failed for \d+s, \d+ times in a row; the last one said: not yet`, health: "not yet",
		},
		"a check that cannot be run": {
			db:   `init: true, command: sleep 1000, healthcheck: {test: [CMD, nosuchcheck], interval: 1s, retries: 1}`,
			kind: podmanrun.FailureUnhealthy, want: `unhealthy: the healthcheck failed for .*nosuchcheck.*not found`, health: "nosuchcheck",
		},
		"a check that hangs": {
			db:   `init: true, command: sleep 1000, healthcheck: {test: "sleep 20", timeout: 500ms, interval: 1s, retries: 1}`,
			kind: podmanrun.FailureUnhealthy, want: `unhealthy: .*taking longer than its timeout of 500ms`,
		},
		"no such image": {
			db: `image: "nobody/has-this:1"`, kind: podmanrun.FailureRegistryUnreachable,
			want: `pulling docker.io/nobody/has-this:1: docker.io cannot be reached \(.*no such host\); mirror 127.0.0.1:\d+ does not have the image \(.*manifest unknown`,
			hint: "registries.conf",
		},
		"nobody answers": {
			db: `image: "127.0.0.1:1/x/y:1"`, kind: podmanrun.FailureRegistryUnreachable,
			want: `pulling 127.0.0.1:1/x/y:1: 127.0.0.1:1 cannot be reached \(.*connection refused\)`,
		},
		"an image that must not be pulled": {
			db: `image: "x/y:1", pull_policy: never`, kind: podmanrun.FailureImageMissing, want: `image x/y:1 is not in Podman's storage`,
		},
		"a port of a container": {
			db:   `command: sleep 1000, ports: ["127.0.0.1:` + port + `:80"]`,
			kind: podmanrun.FailurePortTaken, want: `port ` + port + `/tcp of 127.0.0.1 is taken by ` + holder, hint: "Podman choose a free one",
		},
		"a port on every address": {
			db:   `command: sleep 1000, ports: ["` + port + `:80"]`,
			kind: podmanrun.FailurePortTaken, want: `port ` + port + `/tcp of every address is taken by ` + holder,
		},
		"a port of a process": {
			db:   fmt.Sprintf(`command: sleep 1000, ports: ["127.0.0.1:%d:80"]`, own),
			kind: podmanrun.FailurePortTaken, want: fmt.Sprintf(`port %d/tcp of 127.0.0.1 is taken by process %d \(.*\) of this machine`, own, os.Getpid()),
		},
		"one port twice": {
			db:   `command: sleep 1000, ports: ["127.0.0.1:39874:80", "127.0.0.1:39874:81"]`,
			kind: podmanrun.FailurePortTaken, want: `port 39874/tcp of 127.0.0.1 is taken by service db itself, which publishes it 2 times`,
		},
		"an address of nobody": {
			db:   `command: sleep 1000, ports: ["192.0.2.1:39872:80"]`,
			kind: podmanrun.FailureNotPermitted, want: `port 39872/tcp cannot be published at 192.0.2.1`,
		},
		"a name": {
			db: `command: sleep 1000, container_name: taken-name`, kind: podmanrun.FailureNameTaken,
			want: `the name taken-name is taken by ` + holder, hint: "container_name",
		},
		"a subnet": {
			db: `command: sleep 1000`, rest: "networks: {default: {ipam: {config: [{subnet: 10.77.5.0/25}]}}}",
			kind: podmanrun.FailureSubnetTaken, hint: "ipam", from: "api",
			want: `network default: the subnet 10.77.5.0/25 overlaps 10.77.5.0/24 of network hold_default \(project hold, job j-1, agent other\)`,
		},
		"a platform": {
			db: `image: busybox, platform: linux/arm64, command: sleep 1000`, kind: podmanrun.FailurePlatform,
			want: `image busybox is linux/arm64, this Podman runs linux/amd64 `, hint: "emulator",
		},
		"a bind mount": {
			db:   `command: sleep 1000, volumes: [{type: bind, source: /nosuch/dir, target: /x, bind: {create_host_path: false}}]`,
			kind: podmanrun.FailureMountMissing, want: `the source /nosuch/dir of a bind mount does not exist`,
		},
		"a device": {
			db: `command: sleep 1000, devices: ["/dev/nosuch:/dev/nosuch"]`, kind: podmanrun.FailureDeviceMissing,
			want: `Podman's machine has no device /dev/nosuch`,
		},
		"a GPU": {
			db: `command: sleep 1000, devices: ["nvidia.com/gpu=all"]`, kind: podmanrun.FailureDeviceMissing,
			want: `Podman's machine has no CDI device nvidia.com/gpu=all`, hint: "/etc/cdi",
		},
		"limits": {
			db: `command: sleep 1000, ulimits: {nofile: {soft: 100000000, hard: 100000000}}`, kind: podmanrun.FailureNotPermitted,
			want: `Podman may not raise the limits of processes`, hint: "set ulimits nofile and nproc",
		},
		"a program": {
			db: `command: nosuchprogram`, kind: podmanrun.FailureCommandMissing, want: `the image has no program nosuchprogram`, hint: "entrypoint",
		},
		"a program by its path": {
			db: `command: /nosuch/program`, kind: podmanrun.FailureCommandMissing, want: `the image has no program /nosuch/program`,
		},
		"a file that is no program": {
			db: `command: /etc/passwd`, kind: podmanrun.FailureNotPermitted, want: `/etc/passwd is there, but cannot be executed`,
		},
		"a user": {
			db: `command: sleep 1000, user: nosuchuser`, kind: podmanrun.FailureOther, want: `the image has no user nosuchuser`,
		},
		"a runtime": {
			db: `command: sleep 1000, runtime: nosuch`, kind: podmanrun.FailureUnsupported,
			want: `runtime: nosuch: Podman's API knows no such thing in any release`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			failed := upTruth(t, client, c.db, c.rest)
			if failed.Kind != c.kind {
				t.Errorf("the kind of %q is %s, want %s", failed, failed.Kind, c.kind)
			}
			want := "^service " + cmp.Or(c.from, "db") + ": " + c.want
			if text := failed.Error(); !regexp.MustCompile(want).MatchString(text) || strings.Contains(text, "\n") {
				t.Errorf("Up = %q, want one line that matches %q", text, want)
			}
			if last := failed.Logs; c.logs != "" && (len(last) == 0 || !strings.Contains(last[len(last)-1], c.logs)) {
				t.Errorf("the last lines are %q, want the last to have %q", last, c.logs)
			}
			if !strings.Contains(failed.Health, c.health) {
				t.Errorf("the last healthcheck said %q, want %q", failed.Health, c.health)
			}
			if hints := strings.Join(hint.All(failed), "\n"); !strings.Contains(hints, c.hint) {
				t.Errorf("the hints are %q, want one with %q", hints, c.hint)
			}
		})
	}
}

func TestAStackNamesWhatItsPodmanIsTooOldForBeforeItStarts(t *testing.T) {
	client := openStackClient(t)
	for name, c := range map[string]struct{ key, want string }{
		"a part of an image": {`volumes: [{type: image, source: busybox, target: /b, image: {subpath: bin}}]`, "a volume of type image with a subpath needs Podman 5.1 or later"},
	} {
		t.Run(name, func(t *testing.T) {
			project := loadStack(t, "name: versions\nservices:\n  a: {image: busybox, init: true, command: sleep 1000, "+c.key+"}\n")
			told := 0
			_, err := client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute, Progress: func(podmanrun.Event) { told++ }})
			major, _, _ := strings.Cut(client.Version(), ".")
			if major >= "5" {
				if err != nil {
					t.Errorf("Up on Podman %s = %v", client.Version(), err)
				}
				if err := client.Down(t.Context(), "versions", podmanrun.DownOptions{}); err != nil {
					t.Error(err)
				}
				return
			}
			failed, ok := errors.AsType[*podmanrun.ServiceError](err)
			if !ok || failed.Kind != podmanrun.FailureUnsupported || !strings.Contains(err.Error(), c.want+", and Podman "+client.Version()+" there would ignore it") {
				t.Errorf("Up = %v, want %q", err, c.want)
			}
			if told > 0 {
				t.Errorf("%d things happened before the error", told)
			}
		})
	}
	wantNoStackLeft(t, client)
}
