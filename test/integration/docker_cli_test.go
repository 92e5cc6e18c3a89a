package integration_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// healthyStack is a compose file whose second service waits for the first to be
// healthy.
const healthyStack = `services:
  db:
    image: redis
    healthcheck: {test: ["CMD", "redis-cli", "ping"], interval: 20s, retries: 5}
    volumes: ["data:/data", "/anonymous"]
    ports: ["6379"]
  web:
    build: .
    image: stack-web
    command: ["sleep", "600"]
    stop_signal: SIGKILL
    depends_on: {db: {condition: service_healthy}}
volumes: {data: {}}
`

// bashSteps makes a job of scripts that end at the first command that fails.
func bashSteps(scripts ...[2]string) *job.Message {
	m := scriptMessage("", nil, nil)
	m.Steps = nil
	for _, s := range scripts {
		m.Steps = append(m.Steps, bashStep(s[0], "set -euo pipefail\n"+s[1]))
	}
	return m
}

// outcomeOf runs a job and returns its report; unless it succeeds, its log too.
func outcomeOf(t *testing.T, s testStage, m *job.Message) job.Report {
	t.Helper()
	j, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Fatalf("the job ended as %s, want succeeded", r.Result)
	}
	return r
}

func logOf(t *testing.T, r job.Report, step string) string {
	t.Helper()
	return strings.Join(record(t, r, step).Log, "\n")
}

// volumes lists all volumes of the stage's Podman, with and without labels.
func volumes(t *testing.T, s testStage) string {
	t.Helper()
	out, err := s.Podman.Command(t.Context(), "volume", "ls", "--quiet").Output()
	if err != nil {
		t.Fatalf("listing volumes: %v", err)
	}
	return strings.TrimSpace(string(out))
}

func TestTheDockerCommandWorksInScriptsAsWithADaemon(t *testing.T) {
	const user, password = "bobby", "pa55-word-of-the-registry"
	s := openStage(t, stage.Options{})
	locked := rig.NeedRegistry(t, rig.RegistryOptions{User: user, Password: password})
	startAgent(t, s, stage.AgentOptions{Name: "cli"})
	sources := writeTree(t, map[string]string{
		"Dockerfile": "FROM busybox\nRUN echo built > /proof\nCMD [\"cat\", \"/proof\"]\n", "compose.yml": healthyStack,
	})
	image := locked.Addr() + "/team/web:1"
	m := bashSteps(
		[2]string{"Build", "cp -r " + sources + `/. .
docker version
docker build -t web .
docker buildx build -t web:two .`},
		[2]string{"Run", `docker run --rm web
docker run --rm web:two
echo typed | docker run -i --rm busybox cat
docker run -d --name beside --label mine=1 -v kept:/kept -v /anonymous busybox sh -c 'echo hello; exec sleep 600'
docker ps --format '{{.Names}}'
docker exec beside sh -c 'echo from exec > /kept/file; cat /kept/file'
echo into exec | docker exec -i beside cat
docker cp beside:/kept/file copied; cat copied
docker logs beside
docker logs -f beside > followed & until grep hello followed; do sleep 0.1; done; kill $!; wait $! || true
docker run --name many busybox seq 1 30000 >/dev/null; docker logs -f many | wc -l; docker rm many
docker run --rm -v /var/run/docker.sock:/s busybox test -S /s
docker inspect -f '{{index .Config.Labels "io.dockless.agent"}}' beside
docker volume ls -q; docker network create lonely; docker network ls --format '{{.Name}}'`},
		[2]string{"Push", `echo ` + password + ` | docker login -u ` + user + ` --password-stdin ` + locked.Addr() + `
docker tag web ` + image + `
docker push ` + image + `
docker rmi ` + image + `
docker pull -q ` + image + `
docker commit beside committed
docker logout ` + locked.Addr()},
		[2]string{"Health", `docker run -d --name sick --health-cmd 'test -e /well' --health-interval 2s --health-retries 3 busybox sleep 600
(timeout 60 docker events --filter container=sick --filter event=health_status > seen &) ; sleep 0.5
until test "$(docker inspect -f '{{.State.Health.Status}}' sick)" = unhealthy; do sleep 0.2; done
docker exec sick touch /well
until docker ps --format '{{.Names}} {{.Status}}' | grep 'sick.*(healthy)'; do sleep 0.2; done
until grep -q 'health_status: healthy' seen; do sleep 0.2; done; cat seen`},
		[2]string{"Compose", `docker compose up -d --wait --build
docker compose ps --format '{{.Service}} {{.Health}}'
docker compose exec -T db redis-cli set key value
docker compose logs --no-color web
docker compose run --rm web echo ran
docker compose down`},
		[2]string{"Prune", `docker volume create --label x=1 pruned; docker volume create spared
docker volume prune -f --filter label=x; docker volume ls -q --filter dangling=true --filter name=spared
docker run --name ended busybox true
docker system prune -f --volumes
docker ps -a --format '{{.Names}}'; docker system df`},
	)
	r := outcomeOf(t, s, m)

	for step, wants := range map[string][]string{
		"Run":     {"built\nbuilt\n", "typed", "beside\nfrom exec\ninto exec", "hello\nhello", "\n30000\nmany\n", "\ncli\n", "kept", "bridge\nlonely"},
		"Push":    {"Login Succeeded", "1: digest: sha256:", image},
		"Health":  {"sick Up", "health_status: unhealthy", "health_status: healthy"},
		"Compose": {"db healthy", "web ", "OK", "ran"},
		"Prune":   {"Deleted Volumes:\npruned\n\nTotal reclaimed space: 0B\nspared\n", "Deleted Containers", "beside\n"},
	} {
		log := logOf(t, r, step)
		for _, want := range wants {
			if !strings.Contains(log, want) {
				t.Errorf("the log of %s lacks %q:\n%s", step, want, log)
			}
		}
	}
	pushed(t, image, remote.WithAuth(&authn.Basic{Username: user, Password: password}))
	if left := owned(t, s, "cli"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	if left := volumes(t, s); left != "" {
		t.Errorf("volumes left behind, also without labels: %q", left)
	}
	if log := logOf(t, outcomeOf(t, s, bashSteps([2]string{"After", "docker images -q web; cat $DOCKER_CONFIG/config.json"})), "After"); strings.Contains(log, locked.Addr()) {
		t.Errorf("the login of a script outlives its job:\n%s", log)
	}
}

func TestJobsOnOnePodmanDoNotTouchEachOthersContainers(t *testing.T) {
	s := openStage(t, stage.Options{NoBuildkitd: true, NoRegistry: true})
	startAgent(t, s, stage.AgentOptions{Name: "first"})
	go1 := s.Dir + "/first-is-up"
	over := s.Dir + "/second-is-over"
	m := bashSteps([2]string{"Hold", fmt.Sprintf(`docker run -d --name victim -v precious:/data busybox sleep 600
docker network create secluded
docker create --name idle busybox true
touch %s; until test -e %s; do sleep 0.2; done
docker ps -a --format '{{.Names}}'; docker volume ls -q; docker network ls --format '{{.Name}}'`, go1, over)})
	first, err := s.QueueMessage(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first job's containers run", 2*time.Minute, func() bool { return exists(go1) })
	startAgent(t, s, stage.AgentOptions{Name: "second"})
	attacks := map[string]string{
		"exec": "docker exec victim true", "stop": "docker stop victim", "remove": "docker rm victim", "inspect": "docker inspect victim", "logs": "docker logs victim",
		"commit": "docker commit victim stolen", "copy": "docker cp victim:/etc/passwd .", "volume": "docker run --rm -v precious:/x busybox true",
		"volumes from": "docker run --rm --volumes-from victim busybox true", "namespace": "docker run --rm --pid container:victim busybox true",
		"remove volume": "docker volume rm precious", "connect": "docker network connect secluded other", "remove network": "docker network rm secluded",
		"image": "docker rmi -f busybox", "podman": "podman --remote rm -f victim", "kube": "podman --remote kube play pod.yml",
	}
	script := `docker run -d --name other busybox sleep 600
docker ps -a --format '{{.Names}}'
printf 'apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: busybox}]}\n' > pod.yml
docker system prune -af --volumes
`
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		script += fmt.Sprintf("if %s; then echo '%s got through'; exit 1; fi\n", attacks[name], name)
	}
	r := outcomeOf(t, s, bashSteps([2]string{"Attack", script}))
	if log := logOf(t, r, "Attack"); strings.Contains(log, "\nvictim\n") || !strings.Contains(log, "\nother\n") {
		t.Errorf("the second job does not see its own containers alone:\n%s", log)
	}
	writeFile(t, s.Dir, "second-is-over", "")
	if r = finish(t, s, first); r.Result != job.Succeeded {
		dumpLog(t, r)
	}
	if log := logOf(t, r, "Hold"); !strings.Contains(log, "idle\nvictim") && !strings.Contains(log, "victim\nidle") || !strings.Contains(log, "precious") || !strings.Contains(log, "secluded") {
		t.Errorf("the first job lost something to the second:\n%s", log)
	}
}

func TestAnAgentKilledAmongDockerCommandsLeavesNothingAfterItsRestart(t *testing.T) {
	t.Parallel()
	s := openStage(t, stage.Options{
		NoBuildkitd: true, NoRegistry: true,
		EmulatorFlags: []string{"--lock", "10s", "--lock-grace", "1s", "--session-expiry", "3s", "--poll", "2s"},
	})
	a := startAgent(t, s, stage.AgentOptions{Name: "doomed"})
	up := s.Dir + "/up"
	m := bashSteps([2]string{"Start", `docker run -d -v named:/named -v /anonymous --restart always busybox sleep 600
docker run -d --network "$(docker network create here)" --health-cmd true --health-interval 1s busybox sleep 600
podman --remote run -d --pod new:together -v another:/x busybox sleep 600
touch ` + up + `; sleep 600`})
	if _, err := s.QueueMessage(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the containers run", 2*time.Minute, func() bool { return exists(up) })
	if err := a.Kill(); err != nil {
		t.Fatal(err)
	}
	if left := owned(t, s, "doomed"); len(left) < 6 {
		t.Errorf("left behind by the kill: %q, want three containers, a network and two volumes, so that the test shows something", left)
	}
	startAgent(t, s, stage.AgentOptions{Name: "doomed"})
	eventually(t, "the leftovers are gone", time.Minute, func() bool { return len(owned(t, s, "doomed")) == 0 })
	if left := volumes(t, s); left != "" {
		t.Errorf("volumes left behind, also without labels: %q", left)
	}
}
