package integration_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

func TestTheDockerComposeTaskBuildsPushesRunsAndPins(t *testing.T) {
	const user, password = "bobby", "pa55-word-of-the-registry"
	s := openStage(t, stage.Options{})
	locked := rig.NeedRegistry(t, rig.RegistryOptions{User: user, Password: password})
	startAgent(t, s, stage.AgentOptions{Name: "compose"})
	sources := writeTree(t, map[string]string{
		"Dockerfile":               "FROM busybox\nARG COLOR=red\nRUN echo $COLOR > /color\n",
		"app/docker-compose.yml":   strings.Replace(strings.Replace(healthyStack, "image: stack-web", "image: team/web", 1), "build: .", "build: {context: .., args: {COLOR: \"${COLOR}\"}}", 1),
		"app/docker-compose.x.yml": "services: {web: {environment: {EXTRA: \"yes\"}}}\n",
	})
	step := func(action string, more map[string]string) job.Step {
		inputs := map[string]string{
			"action": action, "containerregistrytype": "Container Registry", "dockerRegistryEndpoint": "R", "projectName": "Shop Front",
			"additionalDockerComposeFiles": "docker-compose.x.yml\nmissing.yml", "dockerComposeFileArgs": "COLOR=blue\n", "additionalImageTags": "v1\nv2",
		}
		maps.Copy(inputs, more)
		return job.Step{
			Type: "task", ID: job.NewRecordID(), Name: strings.ReplaceAll(action, " ", ""), DisplayName: action, Inputs: inputs,
			Reference: job.TaskReference{ID: "6975e2d1-96d3-4afc-8a41-498b5d34ea19", Name: "DockerCompose", Version: "1.250.0"},
		}
	}
	m := bashSteps([2]string{"Copy", "cp -r " + sources + "/. ."})
	m.Resources.Endpoints = append(m.Resources.Endpoints, connection("R", "http://"+locked.Addr(), user, password))
	m.Steps = append(m.Steps,
		step("Build services", nil),
		step("Push services", nil),
		step("Run services", map[string]string{"arguments": "--wait"}),
		step("Run a Docker Compose command", map[string]string{"dockerComposeCommand": "exec -T web", "arguments": "sh -c 'cat /color; echo $EXTRA'"}),
		step("Run a specific service", map[string]string{"serviceName": "db", "containerCommand": "redis-cli --version", "detached": "false"}),
		step("Write service image digests", map[string]string{"imageDigestComposeFile": "digests.yml"}),
		step("Lock services", map[string]string{"outputDockerComposeFile": "locked.yml", "removeBuildOptions": "true", "baseResolveDirectory": "."}),
		step("Combine configuration", map[string]string{"outputDockerComposeFile": "out/combined.yml", "baseResolveDirectory": "."}),
		bashStep("Show", "cat digests.yml locked.yml; docker compose -f locked.yml config -q; grep context: out/combined.yml; xargs cat > /dev/null <<<\"$(Buildservices.DockerComposeOutput)\""),
	)
	r := outcomeOf(t, s, m)

	image := locked.Addr() + "/team/web"
	login := remote.WithAuth(&authn.Basic{Username: user, Password: password})
	digest, _ := pushed(t, image, login)
	for _, tag := range []string{":v1", ":v2"} {
		if other, _ := pushed(t, image+tag, login); other != digest {
			t.Errorf("tag %s has %s, want %s", tag, other, digest)
		}
	}
	for name, wants := range map[string][]string{
		"Run services":                 {"Healthy"},
		"Run a Docker Compose command": {"blue\nyes"},
		"Run a specific service":       {"redis-cli ", "compose -f", " down"},
		"Show":                         {image + "@" + digest, "redis@sha256:", "context: ."},
	} {
		log := logOf(t, r, name)
		for _, want := range wants {
			if !strings.Contains(log, want) {
				t.Errorf("the log of %q lacks %q:\n%s", name, want, log)
			}
		}
	}
	if left := owned(t, s, "compose"); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}
