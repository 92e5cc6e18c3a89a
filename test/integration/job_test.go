package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/stage"
)

func TestAStepFindsTheBuilderWithDockerBuildx(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{NoPodman: true})
	startAgent(t, s, stage.AgentOptions{})
	dir := filepath.Join(s.Dir, "context")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	writeFile(t, dir, "Dockerfile", "FROM busybox\nRUN echo built by buildx\n")
	r := finish(t, s, queue(t, s, `steps:
- checkout: none
- script: |
    set -e
    docker buildx ls
    docker buildx inspect | grep -E '^(Name|Driver):'
    docker buildx build --progress plain `+dir+`
  displayName: Use buildx
`, "", nil))
	log := strings.Join(record(t, r, "Use buildx").Log, "\n")
	if r.Result != job.Succeeded {
		t.Fatalf("the job ended as %s, want succeeded:\n%s", r.Result, log)
	}
	for _, want := range []string{"dockless*", "remote", s.Buildkitd.Addr(), "built by buildx"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

func TestTheServicesOfAJobAreReachableAndRemoved(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	startAgent(t, s, stage.AgentOptions{Name: "services"})
	r := finish(t, s, queue(t, s, `resources:
  containers:
  - container: cache
    image: redis:7
    ports: ["6379"]
    options: --health-cmd "redis-cli ping" --health-interval 1s
services:
  cache: cache
steps:
- checkout: none
- bash: |
    set -e
    exec 3<>"/dev/tcp/$DOCKLESS_CACHE_HOST/$DOCKLESS_CACHE_PORT_6379"
    printf 'PING\r\n' >&3
    head -c 5 <&3; echo
    echo "port $(agent.services.cache.ports.6379) is $DOCKLESS_CACHE_PORT_6379"
  displayName: Ping
`, "", nil))
	log := strings.Join(record(t, r, "Ping").Log, "\n")
	if r.Result != job.Succeeded || !strings.Contains(log, "+PONG") {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, want succeeded with +PONG", r.Result)
	}
	if left := owned(t, s, "services"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestAServiceThatDiesFailsTheJobAndSaysWhy(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	startAgent(t, s, stage.AgentOptions{Name: "dying"})
	r := finish(t, s, queue(t, s, `services:
  broken:
    image: mysql:8
    options: --health-cmd "mysqladmin ping" --health-interval 1s --health-retries 60
steps:
- checkout: none
- bash: echo never
  displayName: Never
`, "", nil))
	if r.Result != job.Failed {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, want failed", r.Result)
	}
	if got := record(t, r, "Never").Result; got != job.Skipped {
		t.Errorf("the step after the services = %s, want skipped", got)
	}
	init := record(t, r, "Initialize containers")
	text := strings.Join(init.Log, "\n")
	for _, want := range []string{"broken", "MYSQL_ROOT_PASSWORD"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log of %q does not name %s:\n%s", init.Name, want, text)
		}
	}
	if left := owned(t, s, "dying"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
