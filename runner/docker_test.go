package runner_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

func dockerStep(name, command string, pairs ...string) job.Step {
	s := job.Step{ID: job.NewRecordID(), Name: name, DisplayName: name, Reference: docker, Inputs: map[string]string{"command": command}}
	for i := 0; i < len(pairs); i += 2 {
		s.Inputs[pairs[i]] = pairs[i+1]
	}
	return s
}

// registries gives m two connections.
func registries(m *job.Message) *job.Message {
	for id, host := range map[string]string{"one": "one.example.com", "hub": "https://index.docker.io/v1/"} {
		m.Resources.Endpoints = append(m.Resources.Endpoints, job.Endpoint{
			ID: id, Name: id, Type: "dockerregistry",
			Authorization: job.Authorization{Scheme: "UsernamePassword", Parameters: map[string]string{"registry": host, "username": "bobby-" + id, "password": "pa55word!-" + id}},
		})
	}
	return m
}

func TestALoginLastsUntilTheLogout(t *testing.T) {
	cfg := config(t)
	cfg.DockerConfig = t.TempDir()
	write(t, filepath.Join(cfg.DockerConfig, "config.json"), `{"auths":{"old.example.com":{"auth":"eDp5"}},"credsStore":"none"}`)
	write(t, filepath.Join(cfg.DockerConfig, "buildx", "current"), "{}")
	show := `stat -c %a "$DOCKER_CONFIG/config.json"; tr ',{' '\n\n' < "$DOCKER_CONFIG/config.json" | grep -o '"[^"]*":$' | sort; grep -c credsStore "$DOCKER_CONFIG/config.json"; ls "$DOCKER_CONFIG"`
	m := registries(message(
		dockerStep("login", "login", "containerRegistry", "one"), dockerStep("again", "login", "containerRegistry", "hub"),
		script("in", show+`; test "$(grep -c `+base64.StdEncoding.EncodeToString([]byte("bobby-one:pa55word!-one"))+` "$DOCKER_CONFIG/config.json")" = 1 && echo right`),
		dockerStep("out", "logout", "containerRegistry", "one"),
		script("still", show),
		dockerStep("all", "logout"),
		script("gone", `echo "$DOCKER_CONFIG"; ls "$AGENT_TEMPDIRECTORY" | grep -c Docker`, func(s *job.Step) { s.ContinueOnError = true }),
	))
	rec, _ := run(t, cfg, m)
	for step, want := range map[string][]string{
		"in":    {"600", `"auths":`, `"https://index.docker.io/v1/":`, `"old.example.com":`, `"one.example.com":`, "0", "buildx", "config.json", "right"},
		"still": {"600", `"auths":`, `"https://index.docker.io/v1/":`, `"old.example.com":`, "0", "buildx", "config.json"},
	} {
		got := strings.Join(rec.output(t, step), "\n")
		// The addresses of registries are parameters of connections, so they are masked.
		wanted := strings.NewReplacer("https://index.docker.io/v1/", "***", "one.example.com", "***").Replace(strings.Join(want, "\n"))
		if diff := cmp.Diff(wanted, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step, diff)
		}
	}
	if got := rec.output(t, "gone")[:2]; got[0] != filepath.Join(cfg.Work, "_temp", "docker") || got[1] != "0" {
		t.Errorf("after the logout DOCKER_CONFIG is %s with %s directories left", got[0], got[1])
	}
}

// The agent would run it, and it could read what the agent hides from steps. The
// docker program, which is a step's, may.
func TestACredentialHelperOfTheJobDoesNotRun(t *testing.T) {
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	cfg := config(t)
	cfg.DockerConfig = t.TempDir()
	m := of("refs/heads/main", nil,
		script("plant", `d=`+dir+`; printf '#!/bin/sh\n[ $PPID != %s ] || : > %s\n' `+strconv.Itoa(os.Getpid())+` "$d/ran" > "$d/docker-credential-evil"; chmod +x "$d/docker-credential-evil"
printf '{"credsStore":"evil","credHelpers":{"127.0.0.1:1":"evil"}}' > "$DOCKER_CONFIG/config.json"`),
		cacheStep(), dockerStep("push", "push", "repository", "127.0.0.1:1/web", "tags", "1"),
	)
	cfg.CacheRepo, cfg.CacheSize = "127.0.0.1:1/cache", "1MiB"
	rec, _ := run(t, cfg, m)
	if _, err := os.Stat(ran); !os.IsNotExist(err) {
		t.Errorf("the job's helper ran (%v): %q", err, rec.log(t, "Cache"))
	}
}

func TestOtherDockerCommandsGoToTheProgram(t *testing.T) {
	cfg := config(t)
	bin := t.TempDir()
	program := filepath.Join(bin, "docker")
	write(t, program, "#!/bin/sh\nfor a in \"$@\"; do echo \"<$a>\"; done; test -s \"$DOCKER_CONFIG/config.json\" && echo config; echo '##vso[task.complete result=Failed]'; test \"$1\" != fail")
	if err := os.Chmod(program, 0o700); err != nil {
		t.Fatal(err)
	}
	cfg.Path = []string{bin}
	m := registries(message(
		dockerStep("info", "image ls", "arguments", `--format "{{ .ID }}"`, "containerRegistry", "one"),
		script("output", `cat "$(info.DockerOutput)"; stat -c %a "$(info.DockerOutput)"`),
		dockerStep("start", "start", "container", "db"),
		dockerStep("push", "push", "repository", "web", "tags", "1"),
		dockerStep("fail", "fail"),
	))
	m.Variables["agent.containerMapping"] = job.Variable{Value: `{"db":{"id":"abc123"}}`}
	rec, _ := run(t, cfg, m)
	for step, want := range map[string]string{"info": "<image>\n<ls>\n<--format>\n<{{ .ID }}>\nconfig", "start": "<start>\n<abc123>", "push": "<push>\n<web:1>"} {
		if got := strings.Join(rec.log(t, step), "\n"); !strings.Contains(got, want) || rec.record(t, step).Result != job.Succeeded {
			t.Errorf("%s: %s, want succeeded with\n%s\ngot\n%s", step, rec.record(t, step).Result, want, got)
		}
	}
	want := []string{"<image>", "<ls>", "<--format>", "<{{ .ID }}>", "config", "**vso[task.complete result=Failed]", "600"}
	if diff := cmp.Diff(want, rec.output(t, "output")); diff != "" {
		t.Errorf("the file that DockerOutput names (-want +got):\n%s", diff)
	}
	if got := rec.record(t, "fail").Issues; len(got) != 1 || got[0].Message != "docker exited with code '1'." {
		t.Errorf("issues of the failing command = %+v", got)
	}
	if left, err := os.ReadDir(filepath.Join(cfg.Work, "_temp")); err != nil || len(left) != 0 {
		t.Errorf("left in the temp directory: %v, %v", left, err)
	}
}

func TestDockerStepsThatCannotBe(t *testing.T) {
	for name, c := range map[string]struct {
		step job.Step
		want string
	}{
		"no builder":    {dockerStep("s", "build", "repository", "x"), "no builder"},
		"no connection": {dockerStep("s", "push", "containerRegistry", "nobody"), "service connection"},
		"empty login":   {dockerStep("s", "login"), "containerRegistry"},
		"no program":    {dockerStep("s", "version"), "docker"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.Environment = []string{"PATH=/nonexistent"}
			rec, out := run(t, cfg, message(c.step))
			if i := rec.record(t, "s").Issues; out.Result != job.Failed || len(i) != 1 || !strings.Contains(i[0].Message, c.want) {
				t.Errorf("job %s, issues %+v, want one about %q", out.Result, i, c.want)
			}
		})
	}
}

// Protocol §8.6.
func TestTheBuildOfAForkNamesNoConnectionInAnotherWay(t *testing.T) {
	for name, step := range map[string]job.Step{
		"a blank behind the name": dockerStep("login", "login", "containerRegistry ", "one"),
		"in another case":         dockerStep("login", "login", "CONTAINERREGISTRY", "one"),
		"twice":                   dockerStep("login", "login", "containerRegistry", "", "containerRegistry ", "one"),
		"by a variable":           dockerStep("login", "login", "containerRegistry", "$(later)"),
	} {
		t.Run(name, func(t *testing.T) {
			m := registries(message(
				script("mine", `printf '##vso[task.setvariable variable=%s]%s\n' build.isFork false system.restrictSecrets false later one`), step))
			m.Variables = map[string]job.Variable{"system.restrictSecrets": {Value: "true"}, "build.isFork": {Value: "True"}, "later": {}}
			rec, _ := run(t, config(t), m)
			if got := rec.record(t, "login"); got.Result != job.Skipped || !strings.Contains(got.ResultCode, "containerRegistry") {
				t.Errorf("step with a connection: %s (%s), want it skipped", got.Result, got.ResultCode)
			}
		})
	}
}

// Protocol §8.6.
func TestTheBuildOfAForkUsesNoConnections(t *testing.T) {
	for name, c := range map[string]struct {
		restrict, fork string
		want           job.Result
	}{
		"fork":               {"true", "True", job.Skipped},
		"fork that may":      {"false", "True", job.Succeeded},
		"build of ourselves": {"true", "False", job.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			m := registries(message(dockerStep("login", "login", "containerRegistry", "one"), dockerStep("plain", "logout")))
			m.Variables["system.restrictSecrets"] = job.Variable{Value: c.restrict}
			m.Variables["build.isFork"] = job.Variable{Value: c.fork}
			rec, out := run(t, config(t), m)
			if got := rec.record(t, "login"); got.Result != c.want || strings.Contains(got.ResultCode, "containerRegistry") != (c.want == job.Skipped) {
				t.Errorf("step with a connection: %s (%s), want %s", got.Result, got.ResultCode, c.want)
			}
			if got := rec.record(t, "plain").Result; got != job.Succeeded || out.Result != job.Succeeded {
				t.Errorf("step without: %s, job %s", got, out.Result)
			}
		})
	}
}
