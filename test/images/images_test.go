package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/test/rig"
)

func TestSourcesOfTheReleaseAreKeptAndOthersDropped(t *testing.T) {
	t.Parallel()
	stanzas := "# a comment\nTypes: deb deb-src\nURIs: http://a.example/debian http://b.example/debian\nSuites: bookworm bookworm-updates\n" +
		"Components: main contrib\nSigned-By: /k.gpg\n\nTypes: deb\nURIs: http://c.example\nSuites: nodistro\nComponents: main\n\n" +
		"Types: deb\nEnabled: no\nURIs: http://d.example\nSuites: bookworm\nComponents: main\n"
	want := []string{
		"deb http://a.example/debian bookworm main contrib", "deb http://a.example/debian bookworm-updates main contrib",
		"deb http://b.example/debian bookworm main contrib", "deb http://b.example/debian bookworm-updates main contrib",
	}
	if diff := cmp.Diff(want, stanzaSources(stanzas, "bookworm")); diff != "" {
		t.Errorf("stanzaSources (-want +got):\n%s", diff)
	}
	lines := "deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm-security main # why\n#deb http://x.example bookworm main\n" +
		"deb-src http://a.example bookworm main\ndeb https://cloud.example/apt cloud-sdk-bookworm main\n"
	want = []string{"deb http://a.example/debian bookworm-security main"}
	if diff := cmp.Diff(want, oneLineSources(lines, "bookworm")); diff != "" {
		t.Errorf("oneLineSources (-want +got):\n%s", diff)
	}
}

func TestEveryImageAnswersAsThePublicOne(t *testing.T) {
	mirror := rig.NeedImages(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})
	scripts := t.TempDir()
	for name, text := range map[string]string{
		"1.sql": "CREATE TABLE t (v int); INSERT INTO t VALUES (7);\n",
		"2.sh":  "echo script ran\n",
	} {
		if err := os.WriteFile(filepath.Join(scripts, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(scripts, "password"), []byte("from-file"), 0o644); err != nil {
		t.Fatal(err)
	}
	volume := "--volume=" + scripts + ":/docker-entrypoint-initdb.d:ro"

	t.Run("mysql with scripts and a password file", func(t *testing.T) {
		podman(t, engine, "run", "-d", "--name=my", volume, "-e", "MYSQL_ROOT_PASSWORD_FILE=/docker-entrypoint-initdb.d/password",
			"-e", "MYSQL_DATABASE=shop_1", "-e", "MYSQL_USER=clerk", "-e", "MYSQL_PASSWORD=it's", "mysql:8")
		showLog(t, engine, "my")
		await(t, engine, "7", "exec", "my", "mysql", "-h127.0.0.1", "-uclerk", "-pit's", "shop_1", "-Ne", "SELECT v FROM t")
		await(t, engine, "1", "exec", "my", "mysql", "-h127.0.0.1", "-uroot", "-pfrom-file", "-Ne", "SELECT 1")
		await(t, engine, "", "exec", "my", "healthcheck.sh", "--connect", "--innodb_initialized")
		if logs := podman(t, engine, "logs", "my"); !strings.Contains(logs, "script ran") {
			t.Errorf("the shell script did not run:\n%s", logs)
		}
		if out, err := attempt(t, engine, "exec", "my", "mysql", "-h127.0.0.1", "-uroot", "-Ne", "SELECT 1"); err == nil {
			t.Errorf("root is let in without a password: %s", out)
		}
		if got := podman(t, engine, "exec", "my", "stat", "-c", "%U", "/proc/1"); strings.TrimSpace(got) != "mysql" {
			t.Errorf("server runs as %q, want mysql", got)
		}
		podman(t, engine, "restart", "--time=20", "my")
		await(t, engine, "7", "exec", "my", "mysql", "-h127.0.0.1", "-uclerk", "-pit's", "shop_1", "-Ne", "SELECT v FROM t")
	})
	t.Run("mysql without a password says which variables it wants", func(t *testing.T) {
		out, err := attempt(t, engine, "run", "--rm", "mysql:8")
		if err == nil || !strings.Contains(out, "MYSQL_ALLOW_EMPTY_PASSWORD") {
			t.Errorf("answer = %v, %s", err, out)
		}
	})
	t.Run("postgres", func(t *testing.T) {
		podman(t, engine, "run", "-d", "--name=pg", volume, "-e", "POSTGRES_PASSWORD=pw", "-e", "POSTGRES_USER=clerk", "-e", "POSTGRES_DB=shop", "postgres:15")
		showLog(t, engine, "pg")
		await(t, engine, "7", "exec", "-e", "PGPASSWORD=pw", "pg", "psql", "-h127.0.0.1", "-Uclerk", "shop", "-Atc", "SELECT v FROM t")
	})
	t.Run("redis", func(t *testing.T) {
		podman(t, engine, "run", "-d", "--name=re", "redis:7", "--appendonly", "no")
		await(t, engine, "PONG", "exec", "re", "redis-cli", "ping")
		await(t, engine, "no", "exec", "re", "redis-cli", "--raw", "config", "get", "protected-mode")
	})
	t.Run("nginx", func(t *testing.T) {
		podman(t, engine, "run", "-d", "--name=ng", "--publish=127.0.0.1::80", "nginx:latest")
		url := "http://" + strings.TrimSpace(podman(t, engine, "port", "ng", "80/tcp"))
		eventually(t, func() error { return status(t, url) })
	})
	t.Run("php", func(t *testing.T) {
		podman(t, engine, "run", "-d", "--name=ph", "-e", "GREETING=hello", "php:8.2-fpm")
		showLog(t, engine, "ph")
		await(t, engine, "hello 0", "exec", "ph", "php", "-r", `$c = fsockopen("127.0.0.1", 9000, $e); echo getenv("GREETING"), " ", $e;`)
		await(t, engine, "mysqli", "exec", "ph", "php", "-m")
	})
	t.Run("golang", func(t *testing.T) {
		if got := podman(t, engine, "run", "--rm", "golang:1.26", "go", "version"); !strings.Contains(got, "go1.") {
			t.Errorf("go version = %q", got)
		}
		program := "printf 'package main\\nfunc main() { println(6*7) }\\n' >/tmp/m.go && CGO_ENABLED=0 go run /tmp/m.go 2>&1"
		if got := podman(t, engine, "run", "--rm", "--quiet", "golang:1.26", "sh", "-c", program); strings.TrimSpace(got) != "42" {
			t.Errorf("a program's output = %q, want 42", got)
		}
	})
	t.Run("busybox", func(t *testing.T) {
		if got := podman(t, engine, "run", "--rm", "--quiet", "busybox", "sh", "-c", "echo a | wc -l"); strings.TrimSpace(got) != "1" {
			t.Errorf("output = %q, want 1", got)
		}
	})
	t.Run("debian installs packages", func(t *testing.T) {
		podman(t, engine, "run", "--rm", "--network=host", "debian:bookworm-slim", "sh", "-c", "apt-get update -q -o Acquire::Retries=3 && apt-get install -q -y -o Acquire::Retries=3 --no-install-recommends hello && hello")
	})
}

// showLog shows a container's log if the test fails.
func showLog(t *testing.T, engine *rig.Podman, container string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			out, err := engine.Command(context.WithoutCancel(t.Context()), "logs", "--tail=30", container).CombinedOutput()
			t.Logf("log of %s (%v):\n%s", container, err, out)
		}
	})
}

// await runs a command until its output holds want, for up to a minute.
func await(t *testing.T, engine *rig.Podman, want string, args ...string) {
	t.Helper()
	eventually(t, func() error {
		out, err := attempt(t, engine, args...)
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("podman %s: output %q, want %q in it", strings.Join(args, " "), out, want)
		}
		return err
	})
}

// podman runs a command that must succeed.
func podman(t *testing.T, engine *rig.Podman, args ...string) string {
	t.Helper()
	out, err := attempt(t, engine, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func attempt(t *testing.T, engine *rig.Podman, args ...string) (string, error) {
	var out bytes.Buffer
	cmd := engine.Command(t.Context(), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("podman %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return out.String(), nil
}

func status(t *testing.T, url string) error {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", resp.Status)
	}
	return nil
}

// eventually calls check until it returns nil, for up to three minutes: a database on a busy disk.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within three minutes: %v", err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
