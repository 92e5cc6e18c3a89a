package integration_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/podmanrun"
)

// stackOfKeys uses keys that only show inside the containers. Each service says
// there whether it got what its file asks for, and ends with 0 if so.
const stackOfKeys = `
name: keys
services:
  base:
    image: busybox
    init: true
    command: sleep 1000
    hostname: basehost
    domainname: example.test
    networks: {fixed: {ipv4_address: 10.211.7.20}}
    volumes: ["shared:/shared", "/anonymous"]
    post_start: [{command: ["sh", "-c", "echo $$WHAT > /shared/started"], environment: {WHAT: hooked}}]
  joined:
    image: busybox
    network_mode: service:base
    pid: service:base
    volumes_from: ["base:ro"]
    command: sh -ec 'ip addr | grep -q 10.211.7.20; ps | grep -q "sleep 1000"; ls /anonymous; ! touch /shared/x 2>/dev/null'
    depends_on: [base]
  files:
    image: busybox
    user: "1000:1000"
    group_add: ["4242"]
    umask: 0o027
    configs: [{source: text, target: /etc/app/text.conf, uid: "1000", gid: "1000", mode: 0440}, plain]
    secrets: [word]
    command: sh -ec 'test "$$(cat /etc/app/text.conf)" = "hello there"; test "$$(stat -c %u:%g:%a /etc/app/text.conf)" = 1000:1000:440;
      test "$$(cat /plain)" = from-a-file; test "$$(cat /run/secrets/word)" = s3cret; id -G | grep -qw 4242; test "$$(umask)" = 0027'
  limits:
    image: busybox
    dns: [192.0.2.53]
    dns_search: [corp.example]
    dns_opt: ["ndots:3"]
    shm_size: 8m
    cpu_shares: 512
    ulimits: {nofile: {soft: 200, hard: 300}, nproc: 32768}
    networks: [default]
    links: ["base:the-base"]
    command: sh -ec 'grep -q "corp.example" /etc/resolv.conf; grep -q "ndots:3" /etc/resolv.conf; test "$$(ulimit -Sn)" = 200; df -k /dev/shm | grep -q 8192'
  part:
    image: busybox
    volumes: [{type: volume, source: shared, target: /part, volume: {subpath: inner}}]
    command: sh -ec 'test "$$(cat /part/file)" = inside'
    depends_on: {prepare: {condition: service_completed_successfully}}
  prepare:
    image: busybox
    volumes: ["shared:/shared"]
    command: sh -ec 'mkdir -p /shared/inner; echo inside > /shared/inner/file'
  again:
    image: busybox
    restart: on-failure:5
    volumes: ["shared:/shared"]
    command: sh -ec 'echo x >> /shared/tries; test "$$(wc -l < /shared/tries)" -ge 3'
networks:
  fixed: {ipam: {config: [{subnet: 10.211.7.0/24, gateway: 10.211.7.1, ip_range: 10.211.7.128/25}]}}
volumes: {shared: {}}
configs:
  text: {content: "hello there"}
  plain: {file: ./plain.txt}
secrets:
  word: {environment: WORD}
`

func TestTheKeysOfAComposeFileReachItsContainers(t *testing.T) {
	client := openStackClient(t)
	defer wantNoStackLeft(t, client)
	text := stackOfKeys
	if os.Getenv("DOCKLESS_TEST_PODMAN") != "" { // runs beside the same test on another Podman
		text = strings.ReplaceAll(text, "10.211.7.", "10.212.7.")
	}
	dir := writeTree(t, map[string]string{"compose.yml": text, "plain.txt": "from-a-file"})
	project, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Environment: map[string]string{"WORD": "s3cret"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Up(t.Context(), project, podmanrun.UpOptions{Owner: stackOwner(t), WaitTimeout: time.Minute, Progress: func(e podmanrun.Event) { t.Log(e) }})
	if err != nil {
		t.Fatal(err)
	}
	// What ends by itself has nobody who waits for it; so it is looked at.
	deadline := time.Now().Add(20 * time.Second)
	for {
		list, err := client.Ps(t.Context(), "keys")
		if err != nil {
			t.Fatal(err)
		}
		running := 0
		for _, c := range list {
			switch {
			case c.Service == "base":
			case c.State != "exited" || c.Service == "again" && c.ExitCode != 0: // Podman starts it again
				running++
			case c.ExitCode != 0:
				var lines []string
				err := client.Logs(t.Context(), "keys", podmanrun.LogsOptions{Services: []string{c.Service}}, func(_, line string) { lines = append(lines, line) })
				t.Errorf("service %s ended with exit code %d: %v %s", c.Service, c.ExitCode, err, strings.Join(lines, "; "))
			}
		}
		if running == 0 || t.Failed() || time.Now().After(deadline) {
			if running > 0 {
				t.Errorf("%d services have not ended: %+v", running, list)
			}
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := client.Down(t.Context(), "keys", podmanrun.DownOptions{Volumes: true}); err != nil {
		t.Error(err)
	}
}
