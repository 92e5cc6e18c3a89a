package registryauth

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
)

// program puts a program on PATH.
func program(t *testing.T, name, script string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestWhatAHelperSays(t *testing.T) {
	for what, c := range map[string]struct {
		script, user, token, err string
	}{
		"a password":         {`read host; echo "{\"Username\":\"$1-$host\",\"Secret\":\"s\"}"`, "get-reg.example", "", ""},
		"an identity token":  {`echo '{"Username":"<token>","Secret":"s"}'`, "", "s", ""},
		"nothing":            {`echo 'credentials not found in native keychain'; exit 1`, "", "", ""},
		"an empty secret":    {`echo '{"Username":"","Secret":""}'`, "", "", ""},
		"a failure":          {`echo "the keyring is locked"; echo se-cret >&2; exit 3`, "", "", "docker-credential-x: exit status 3: the keyring is locked"},
		"a failure, secrets": {`echo '{"Secret":"se-cret"}'; exit 3`, "", "", "docker-credential-x: exit status 3"},
		"no JSON":            {`echo se-cret`, "", "", "docker-credential-x: its answer is no JSON"},
		"too much":           {`head -c 3000000 /dev/zero`, "", "", "docker-credential-x: its answer is no JSON"},
	} {
		t.Run(what, func(t *testing.T) {
			program(t, "docker-credential-x", c.script)
			got, err := askHelper(t.Context(), "x", "reg.example", time.Minute)
			if (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "se-cret")) {
				t.Errorf("error = %v, want %q", err, c.err)
			}
			if got.conf.Username != c.user || got.conf.IdentityToken != c.token {
				t.Errorf("answer = %+v, want user %q and token %q", got.conf, c.user, c.token)
			}
		})
	}
	if _, err := askHelper(t.Context(), "missing", "reg.example", time.Minute); err == nil || !strings.Contains(err.Error(), "docker-credential-missing is not on PATH") {
		t.Errorf("a helper that is not there: %v", err)
	}
}

func TestAHelperThatHangsEndsWithItsChildren(t *testing.T) {
	dir := program(t, "docker-credential-x", `sleep 600 & echo $! > "$(dirname "$0")/child"; wait`)
	began := time.Now()
	_, err := askHelper(t.Context(), "x", "reg.example", 300*time.Millisecond)
	if err == nil || !strings.Contains(err.Error(), "docker-credential-x: it took longer than 300ms") || len(hint.All(err)) != 1 {
		t.Errorf("error = %v, hints %q", err, hint.All(err))
	}
	if waited := time.Since(began); waited > time.Minute {
		t.Errorf("the build waited %s", waited)
	}
	text, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if state, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat"); err != nil || strings.Contains(string(state), ") Z ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("the helper's child %d still runs: %v", child, syscall.Kill(child, syscall.SIGKILL))
}

func TestAFailureStandsForAWhile(t *testing.T) {
	dir := program(t, "docker-credential-x", `echo run >> "$(dirname "$0")/runs"; exit 1`)
	a, err := Load(configDir(t, `{"credsStore":"x"}`))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := ask(t, a, "reg.example"); err == nil || !strings.Contains(err.Error(), "finding credentials for reg.example: asking the credential helper docker-credential-x") {
			t.Errorf("error = %v", err)
		}
	}
	if runs, err := os.ReadFile(filepath.Join(dir, "runs")); err != nil || string(runs) != "run\n" {
		t.Errorf("the helper ran %q (%v), want once", runs, err)
	}
}

func TestTheHelpersOfCloudsAreAskedThoughNoConfigurationNamesThem(t *testing.T) {
	dir := program(t, "docker-credential-ecr-login", `read host; echo "$AWS_ECR_DISABLE_CACHE" > "$(dirname "$0")/cache"; echo "{\"Username\":\"AWS\",\"Secret\":\"for $host\"}"`)
	program(t, "docker-credential-gcloud", `echo "no active account"; exit 1`)
	program(t, "docker-credential-gcr", `echo '{"Username":"_dcgcr_token","Secret":"g"}'`)
	cloud, _ := cloudOf(t, CloudOptions{HTTP: nobody}, "123456789012.dkr.ecr.*.amazonaws.com", "*.pkg.dev")
	a := with(t, nil, cloud)
	for host, want := range map[string]string{
		"123456789012.dkr.ecr.eu-west-1.amazonaws.com": "AWS:for 123456789012.dkr.ecr.eu-west-1.amazonaws.com",
		"210987654321.dkr.ecr.eu-west-1.amazonaws.com": ":",
		"public.ecr.aws":        ":",
		"europe-docker.pkg.dev": "_dcgcr_token:g",
	} {
		if got, err := ask(t, a, host); err != nil || got.Username+":"+got.Password != want {
			t.Errorf("%s is entered by %s:%s, %v, want %s", host, got.Username, got.Password, err, want)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "cache")); err != nil || string(text) != "true\n" {
		t.Errorf("the helper of AWS may keep tokens on disk: %q, %v", text, err)
	}
}
