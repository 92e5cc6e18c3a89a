package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

// composeProgram plays docker: it says what it was asked, except for the
// configuration, which it prints.
const composeProgram = `#!/bin/sh
case "$*" in
*"config --format json") echo '{"name":"shop","services":{"web":{"build":{"context":"'"$PWD"'/src"},"image":"team/web:1","volumes":[{"type":"bind","source":"'"$PWD"'/data"}]},"job":{"build":{"context":"."}},"db":{"image":"redis"}}}' ;;
"image inspect"*redis) echo '["docker.io/library/redis@sha256:1111111111111111111111111111111111111111111111111111111111111111"]' ;;
"image inspect"*) echo '[]' ;;
compose*version) ;;
*) echo "RUN $COMPOSE_COMPATIBILITY $COLOR $*" ;;
esac
`

// composeJob makes a job of a compose file and one step of DockerCompose.
func composeStepOf(action string, inputs ...string) job.Step {
	s := job.Step{
		ID: job.NewRecordID(), Name: "compose", DisplayName: "compose", Inputs: map[string]string{"action": action},
		Reference: job.TaskReference{ID: "6975E2D1-96D3-4AFC-8A41-498B5D34EA19", Name: "DockerCompose", Version: "1.1.0"},
	}
	for i := 0; i < len(inputs); i += 2 {
		s.Inputs[inputs[i]] = inputs[i+1]
	}
	return s
}

// Language §5.5.
func TestEachActionOfDockerComposeRunsItsCommands(t *testing.T) {
	tests := map[string]struct {
		step job.Step
		want []string // after "compose -f FILE -p project"; a leading "docker " is no compose command
	}{
		"build with tags": {
			composeStepOf("Build services", "arguments", "--pull 'a b'", "additionalImageTags", "v1\nv2", "includeLatestTag", "true"),
			[]string{
				"build --pull a b", "docker tag shop_job shop_job:v1", "docker tag shop_job shop_job:v2", "docker tag shop_job shop_job:latest",
				"docker tag team/web:1 team/web:v1", "docker tag team/web:1 team/web:v2", "docker tag team/web:1 team/web:latest",
			},
		},
		"push":        {composeStepOf("push SERVICES"), []string{"docker push shop_job", "docker push team/web:1"}},
		"up":          {composeStepOf("Run services"), []string{"up -d --build"}},
		"up attached": {composeStepOf("Run services", "detached", "false", "buildImages", "false", "arguments", "--wait"), []string{"up --abort-on-container-exit --wait"}},
		"run": {
			composeStepOf("Run a specific service", "serviceName", "web", "containerName", "c", "ports", "80:80\n81:81", "workDir", "/w", "entrypoint", "sh", "containerCommand", "ls -l"),
			[]string{"run -d --entrypoint sh --name c -p 80:80 -p 81:81 -T -w /w web ls -l"},
		},
		"run attached": {composeStepOf("Run a specific service", "serviceName", "web", "detached", "false"), []string{"run --rm -T web", "down"}},
		"any command":  {composeStepOf("Run a Docker Compose command", "dockerComposeCommand", "ps --all", "arguments", "web"), []string{"ps --all web"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			bin := t.TempDir()
			write(t, filepath.Join(bin, "docker"), composeProgram)
			if err := os.Chmod(filepath.Join(bin, "docker"), 0o700); err != nil {
				t.Fatal(err)
			}
			cfg.Path = []string{bin}
			test.step.Inputs["dockerComposeFileArgs"], test.step.Inputs["projectName"] = "COLOR=blue", "shop"
			m := message(script("make", "mkdir -p app; echo '{}' > app/docker-compose.yml"), test.step, script("out", `xargs cat <<<"$(compose.DockerComposeOutput)" | grep -c RUN`))
			rec, out := run(t, cfg, m)
			var got []string
			base := "compose -f " + filepath.Join(cfg.Work, "1", "s", "app", "docker-compose.yml") + " -p shop "
			for _, line := range rec.log(t, "compose") {
				if said, ok := strings.CutPrefix(line, "RUN true blue "); ok {
					if command, ok := strings.CutPrefix(said, base); ok {
						got = append(got, command)
					} else {
						got = append(got, "docker "+said)
					}
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" || out.Result != job.Succeeded {
				t.Errorf("job %s; commands (-want +got):\n%s\n%s", out.Result, diff, strings.Join(rec.log(t, "compose"), "\n"))
			}
		})
	}
}

func TestTheConfigurationIsWrittenForWhereItWillBeUsed(t *testing.T) {
	cfg := config(t)
	bin := t.TempDir()
	write(t, filepath.Join(bin, "docker"), composeProgram)
	if err := os.Chmod(filepath.Join(bin, "docker"), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Path = []string{bin}
	file := []string{"dockerComposeFile", "c.yml", "projectName", "shop"}
	digests := composeStepOf("Write service image digests", append(file, "imageDigestComposeFile", "digests.yml")...)
	digests.Name, digests.DisplayName, digests.ContinueOnError = "digests", "digests", true
	rec, _ := run(t, cfg, message(
		script("make", "echo '{}' > c.yml"), digests,
		composeStepOf("Combine configuration", append(file, "outputDockerComposeFile", "out/all.yml", "baseResolveDirectory", ".")...),
		script("show", "cat out/all.yml"),
	))
	if got := strings.Join(rec.output(t, "show"), "\n"); !strings.Contains(got, "source: ./data") || !strings.Contains(got, "context: ./src") || !strings.Contains(got, "image: redis") {
		t.Errorf("combined configuration:\n%s\nwant paths below its directory", got)
	}
	if i := rec.record(t, "digests").Issues; len(i) == 0 || !strings.Contains(i[len(i)-1].Message, "was never pushed") {
		t.Errorf("issues of a step that pins an image without a digest = %+v", i)
	}
}

func TestDockerComposeStepsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		step job.Step
		want string // in an issue; empty: the step succeeds
	}{
		"an unknown action":            {composeStepOf("Dance"), "Dance"},
		"no compose file":              {composeStepOf("Run services"), "compose file"},
		"no compose file, as expected": {composeStepOf("Run services", "nopIfNoDockerComposeFile", "true"), ""},
		"no docker":                    {composeStepOf("Run services", "dockerComposeFile", "c.yml"), "docker compose"},
		"no connection":                {composeStepOf("Run services", "containerregistrytype", "Container Registry", "dockerRegistryEndpoint", "nobody"), "dockerRegistryEndpoint"},
		"a host":                       {composeStepOf("Run services", "dockerHostEndpoint", "h"), "Docker host"},
		"a missing additional file": {
			composeStepOf("Run services", "dockerComposeFile", "c.yml", "additionalDockerComposeFiles", "d.yml", "requireAdditionalDockerComposeFiles", "true"), "additional",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.Environment = append(cfg.Environment, "PATH=/usr/bin:/bin")
			if name == "no docker" {
				cfg.Environment = append(cfg.Environment, "PATH=/nonexistent")
			}
			m := message(composeStepOf("x"))
			m.Steps = []job.Step{c.step}
			file := filepath.Join(cfg.Work, "1", "s", "c.yml")
			write(t, file, "{}")
			rec, _ := run(t, cfg, m)
			issues := rec.record(t, "compose").Issues
			switch {
			case c.want == "" && rec.record(t, "compose").Result != job.Succeeded:
				t.Errorf("issues = %+v, want none", issues)
			case c.want != "" && (len(issues) == 0 || !strings.Contains(issues[len(issues)-1].Message+strings.Join(rec.log(t, "compose"), "\n"), c.want)):
				t.Errorf("issues = %+v, want one about %q", issues, c.want)
			}
		})
	}
}
