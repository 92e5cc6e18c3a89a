package integration_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
)

// stackOfParts is a volume that one service prepares, % being how, and of which two
// others get a part.
const stackOfParts = `
name: parts
services:
  prepare:
    image: busybox
    volumes: ["data:/data"]
    command: sh -ec '%'
  part:
    image: busybox
    init: true
    depends_on: {prepare: {condition: service_completed_successfully}}
    volumes: [{type: volume, source: data, target: /part, volume: {subpath: inner/ssl}}]
    command: sleep 1000
  heir:
    image: busybox
    init: true
    volumes_from: ["part:ro"]
    command: sleep 1000
volumes: {data: {}}
`

// stackExec returns what a shell's line prints in a service.
func stackExec(t *testing.T, client *podmanrun.Client, project, service, line string) string {
	t.Helper()
	var out bytes.Buffer
	_, err := client.Exec(t.Context(), project, podmanrun.ExecOptions{
		Service: service, Command: []string{"sh", "-c", line}, Streams: podmanrun.Streams{Out: &out, Err: &out},
	})
	if err != nil {
		t.Fatalf("running %q in service %s: %v", line, service, err)
	}
	return strings.TrimSpace(out.String())
}

func TestAStackGetsNoPartOfAVolumeThroughALinkOutOfIt(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	for name, prepare := range map[string]string{
		"a link at the end":            "mkdir /data/inner; ln -s /etc /data/inner/ssl",
		"a link on the way":            "ln -s /etc /data/inner",
		"a link that climbs":           "mkdir /data/inner; ln -s ../../../../../../../../../etc /data/inner/ssl",
		"a link to a file of the host": "mkdir /data/inner; ln -s /etc/passwd /data/inner/ssl",
	} {
		compose := strings.ReplaceAll(stackOfParts, "%", prepare)
		_, err := engineUp(t, client, compose, nil)
		if failed, ok := errors.AsType[*podmanrun.ServiceError](err); !ok || failed.Service != "part" {
			t.Errorf("with %s, starting the stack = %v, want service part to fail", name, err)
		}
		t.Logf("%s: %v", name, err)
		if err := client.Down(t.Context(), "parts", podmanrun.DownOptions{Volumes: true}); err != nil {
			t.Error(err)
		}
	}
}

func TestALinkThatStaysWithinAVolumeLeadsToAPartOfIt(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	compose := strings.ReplaceAll(stackOfParts, "%", "mkdir -p /data/real/ssl; echo inside > /data/real/ssl/file; ln -s real /data/inner")
	if _, err := engineUp(t, client, compose, nil); err != nil {
		t.Fatal(err)
	}
	for service, writes := range map[string]bool{"part": true, "heir": false} {
		if got := stackExec(t, client, "parts", service, "cat /part/file"); got != "inside" {
			t.Errorf("service %s reads %q, want what is in the part", service, got)
		}
		if got := stackExec(t, client, "parts", service, "touch /part/x 2>/dev/null && echo yes || echo no"); (got == "yes") != writes {
			t.Errorf("service %s can write = %s, want %t", service, got, writes)
		}
	}
	beside := "name: beside\nservices:\n  heir: {image: busybox, init: true, volumes_from: ['container:parts-part-1:ro'], command: sleep 1000}\n"
	if _, err := engineUp(t, client, beside, nil); err != nil {
		t.Errorf("starting what has the volumes of a container beside its project: %v", err)
	} else if got := stackExec(t, client, "beside", "heir", "cat /part/file; touch /part/x 2>/dev/null || echo no"); got != "inside\nno" {
		t.Errorf("another project's container has %q, want the part to read only", got)
	}
	if err := client.Down(t.Context(), "beside", podmanrun.DownOptions{Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
	if err := client.Restart(t.Context(), "parts", podmanrun.ServicesOptions{Services: []string{"part"}, Timeout: new(time.Duration)}); err != nil {
		t.Errorf("restarting the service with the part: %v", err)
	}
	if got := stackExec(t, client, "parts", "part", "cat /part/file"); got != "inside" {
		t.Errorf("after a restart the part has %q", got)
	}
	if err := client.Down(t.Context(), "parts", podmanrun.DownOptions{Volumes: true, Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
}

func TestAContainerThatIsStartedAgainFollowsNoLinkThatCameLater(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	compose := `
name: later
services:
  planter:
    image: busybox
    init: true
    volumes: ["data:/data"]
    command: sh -ec 'mkdir -p /data/inner; sleep 1000'
    healthcheck: {test: test -d /data/inner, interval: 1s}
  part:
    image: busybox
    init: true
    depends_on: {planter: {condition: service_healthy}}
    volumes: [{type: volume, source: data, target: /part, volume: {subpath: inner}}]
    command: sleep 1000
volumes: {data: {}}
`
	if _, err := engineUp(t, client, compose, nil); err != nil {
		t.Fatal(err)
	}
	stackExec(t, client, "later", "planter", "mv /data/inner /data/away; ln -s /etc /data/inner")
	o := podmanrun.ServicesOptions{Services: []string{"part"}, Timeout: new(time.Duration)}
	if err := client.Restart(t.Context(), "later", o); err == nil {
		t.Errorf("restarting the service succeeded, and its part has %s", stackExec(t, client, "later", "part", "ls /part"))
	}
	if err := client.Start(t.Context(), "later", o); err == nil {
		t.Error("starting the service succeeded")
	}
	stackExec(t, client, "later", "planter", "rm /data/inner; mv /data/away /data/inner; echo back > /data/inner/file")
	if err := client.Start(t.Context(), "later", o); err != nil {
		t.Fatalf("starting it without the link: %v", err)
	}
	if got := stackExec(t, client, "later", "part", "cat /part/file"); got != "back" {
		t.Errorf("the part has %q, want what is in it again", got)
	}
	if err := client.Down(t.Context(), "later", podmanrun.DownOptions{Volumes: true, Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
}

func TestAPartOfAVolumeIsMountedBelowALinkOfTheImage(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	// Debian's /var/run is a link to /run.
	compose := strings.ReplaceAll(stackOfParts, "%", "mkdir -p /data/inner/ssl; echo inside > /data/inner/ssl/file")
	compose = strings.Replace(compose, "  heir:", `  linked:
    image: debian
    init: true
    depends_on: {prepare: {condition: service_completed_successfully}}
    volumes: [{type: volume, source: data, target: /var/run/part, volume: {subpath: inner/ssl}}]
    command: sleep 1000
  heir:`, 1)
	if _, err := engineUp(t, client, compose, nil); err != nil {
		t.Fatal(err)
	}
	if got := stackExec(t, client, "parts", "linked", "cat /run/part/file"); got != "inside" {
		t.Errorf("the part has %q, want what is in the volume", got)
	}
	if err := client.Down(t.Context(), "parts", podmanrun.DownOptions{Volumes: true, Timeout: new(time.Duration)}); err != nil {
		t.Error(err)
	}
}
