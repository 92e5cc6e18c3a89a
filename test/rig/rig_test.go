package rig_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/dockless-ci/dockless/test/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnImageIsBuiltFromTheMirrorPushedAndRun(t *testing.T) {
	t.Parallel()
	mirror := rig.NeedImages(t)
	registry := rig.NeedRegistry(t, rig.RegistryOptions{})
	builder := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: mirror.Addr()})
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr(), Insecure: []string{registry.Addr()}})

	dir := t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), "FROM busybox\nRUN echo built >/proof\nCMD [\"cat\", \"/proof\"]\n")
	image, cache := registry.Addr()+"/team/proof:1", registry.Addr()+"/cache/proof:main"
	build := []string{
		"build", "--progress=plain", "--frontend=dockerfile.v0", "--local", "context=" + dir, "--local", "dockerfile=" + dir,
		"--output", "type=image,push=true,name=" + image,
		"--export-cache", "type=registry,mode=max,image-manifest=true,oci-mediatypes=true,compression=zstd,ref=" + cache,
		"--import-cache", "type=registry,ref=" + cache,
	}
	if _, err := builder.Buildctl(t.Context(), build...); err != nil {
		t.Fatalf("building the first time: %v", err)
	}
	if err := builder.Prune(t.Context()); err != nil {
		t.Fatalf("emptying the builder: %v", err)
	}
	log, err := builder.Buildctl(t.Context(), build...)
	if err != nil {
		t.Fatalf("building on an empty builder: %v", err)
	}
	if !strings.Contains(log, "CACHED") {
		t.Errorf("second build used no registry cache:\n%s", log)
	}
	if got, want := podman(t, engine, "run", "--rm", image), "built\n"; got != want {
		t.Errorf("output of the built image = %q, want %q", got, want)
	}
}

func TestMySQLIsReachedThroughAPublishedPortAndByName(t *testing.T) {
	t.Parallel()
	mirror := rig.NeedImages(t)
	engine := rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()})

	podman(t, engine, "network", "create", "shop")
	podman(t, engine, "run", "--detach", "--name=db", "--network=shop", "--publish=127.0.0.1::3306",
		"--env=MYSQL_ROOT_PASSWORD=it's \"secret\"", "--env=MYSQL_DATABASE=shop_1", "--env=MYSQL_USER=clerk", "--env=MYSQL_PASSWORD=pw", "mysql:8",
		"--default-authentication-plugin=mysql_native_password")
	query := []string{"run", "--rm", "--network=shop", "mysql:8", "mysql", "-hdb", "-uclerk", "-ppw", "shop_1", "-Ne", "SELECT 6*7"}
	eventually(t, func() error {
		out, err := engine.Command(t.Context(), query...).CombinedOutput()
		if err == nil && strings.TrimSpace(string(out)) != "42" {
			err = fmt.Errorf("answer %q", out)
		}
		return errors.Join(err, ifFailed(err, out))
	})
	port := strings.TrimSpace(podman(t, engine, "port", "db", "3306/tcp"))
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", port)
	if err != nil {
		t.Fatalf("connecting to the published port: %v", err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Errorf("closing the connection: %v", err)
		}
	})
	// The server speaks first: packet length, number 0, protocol version 10.
	greeting := make([]byte, 5)
	if _, err := conn.Read(greeting); err != nil || greeting[4] != 10 {
		t.Errorf("greeting = %v (%v), want protocol 10 in its fifth byte", greeting, err)
	}
}

func TestTwoPodmansShareNothing(t *testing.T) {
	t.Parallel()
	mirror := rig.NeedImages(t)
	engines := []*rig.Podman{
		rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()}),
		rig.NeedPodman(t, rig.PodmanOptions{Mirror: mirror.Addr()}),
	}
	// The same names at the same time, as two runs of one example have them.
	for _, engine := range engines {
		podman(t, engine, "network", "create", "net")
	}
	for _, engine := range engines {
		podman(t, engine, "run", "--detach", "--name=web", "--network=net", "busybox", "sleep", "1000")
	}
	for i, engine := range engines {
		own := podman(t, engine, "inspect", "--format={{.NetworkSettings.Networks.net.IPAddress}}", "web")
		if got := podman(t, engine, "run", "--rm", "--network=net", "busybox", "sh", "-c", "until nslookup -type=a web; do sleep 0.2; done"); !strings.Contains(got, strings.TrimSpace(own)) {
			t.Errorf("engine %d: web is not known as %s:\n%s", i, own, got)
		}
		if got := podman(t, engine, "ps", "--format={{.Names}}"); got != "web\n" {
			t.Errorf("engine %d: containers = %q, want only web", i, got)
		}
	}
	// What one takes down, the other still has.
	podman(t, engines[0], "rm", "--force", "--time=0", "web")
	podman(t, engines[0], "network", "rm", "net")
	podman(t, engines[1], "run", "--detach", "--name=db", "--network=net", "busybox", "sleep", "1000")
	addresses := podman(t, engines[1], "inspect", "--format={{.NetworkSettings.Networks.net.IPAddress}}", "web", "db")
	if both := strings.Fields(addresses); len(both) != 2 || both[0] == both[1] {
		t.Errorf("addresses of two containers = %q, want two different ones", both)
	}
	podman(t, engines[1], "run", "--rm", "--network=net", "busybox", "sh", "-c", "until ping -c1 web; do sleep 0.2; done")
}

func TestStoppingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	mirror := rig.NeedImages(t)
	builder, err := rig.StartBuildkitd(t.Context(), rig.BuildkitdOptions{Mirror: mirror.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := rig.StartPodman(t.Context(), rig.PodmanOptions{Mirror: mirror.Addr()})
	if err != nil {
		t.Fatal(errors.Join(err, builder.Stop(t.Context())))
	}
	podman(t, engine, "run", "--detach", "--publish=127.0.0.1::80", "busybox", "sleep", "1000")
	dirs := []string{filepath.Dir(builder.Log()), filepath.Dir(engine.Log())}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := errors.Join(engine.Stop(ended), builder.Stop(ended)); err != nil {
		t.Errorf("stopping: %v", err)
	}
	for _, dir := range dirs {
		nothingLeft(t, dir)
	}
}

// As after a Podman that was killed before it noted what it had made.
func TestNetworkNamespacesThatPodmanDoesNotKnowAreRemovedToo(t *testing.T) {
	t.Parallel()
	mirror := rig.NeedImages(t)
	engine, err := rig.StartPodman(t.Context(), rig.PodmanOptions{Mirror: mirror.Addr()})
	if err != nil {
		t.Fatal(err)
	}
	podman(t, engine, "run", "--detach", "--name=forgotten", "busybox", "sleep", "1000")
	namespace := strings.TrimSpace(podman(t, engine, "inspect", "--format={{.NetworkSettings.SandboxKey}}", "forgotten"))
	if _, err := os.Stat(namespace); err != nil {
		t.Errorf("the namespace of a container: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(filepath.Dir(engine.Log()), "graph", "libpod")); err != nil {
		t.Error(err)
	}
	if err := engine.Stop(t.Context()); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if _, err := os.Stat(namespace); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the namespace %s of a container that Podman has forgotten: %v, want that there is none", namespace, err)
	}
	rig.NeedPodman(t, rig.PodmanOptions{}) // removes the links
}

func TestWhatADeadRigLeftIsRemovedByTheNext(t *testing.T) {
	mirror := rig.NeedImages(t)
	// The test binary runs itself as the rig that dies.
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHelperThatIsKilled$", "-test.v")
	child.Env = append(os.Environ(), "RIG_DIE_WITH_MIRROR="+mirror.Addr())
	out, err := child.CombinedOutput()
	if err == nil {
		t.Fatalf("the helper survived:\n%s", out)
	}
	_, rest, found := strings.Cut(string(out), "private directory: ")
	dir, _, _ := strings.Cut(rest, "\n")
	if !found {
		t.Fatalf("the helper did not start:\n%s", out)
	}
	engine := rig.NeedPodman(t, rig.PodmanOptions{})
	nothingLeft(t, dir)
	if got := podman(t, engine, "ps", "--quiet"); got != "" {
		t.Errorf("containers of a fresh rig = %q, want none", got)
	}
}

// TestHelperThatIsKilled is no test: it starts a container and dies.
func TestHelperThatIsKilled(t *testing.T) {
	mirror, ok := os.LookupEnv("RIG_DIE_WITH_MIRROR")
	if !ok {
		return // run only as a child of the test above
	}
	engine, err := rig.StartPodman(t.Context(), rig.PodmanOptions{Mirror: mirror})
	if err != nil {
		t.Fatal(err)
	}
	podman(t, engine, "run", "--detach", "busybox", "sleep", "1000")
	fmt.Printf("private directory: %s\n", filepath.Dir(engine.Log()))
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Kill(); err != nil {
		t.Fatal(err)
	}
	select {}
}

func TestARegistryWithAPasswordLetsNobodyElseIn(t *testing.T) {
	t.Parallel()
	registry := rig.NeedRegistry(t, rig.RegistryOptions{User: "me", Password: "pw"})
	for _, test := range []struct {
		name, user, password string
		want                 int
	}{
		{"no credentials", "", "", http.StatusUnauthorized},
		{"wrong password", "me", "no", http.StatusUnauthorized},
		{"right password", "me", "pw", http.StatusOK},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, registry.URL()+"/v2/", nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.user != "" {
				req.SetBasicAuth(test.user, test.password)
			}
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil || resp.StatusCode != test.want {
				t.Errorf("status = %d (%v), want %d", resp.StatusCode, err, test.want)
			}
		})
	}
}

func TestAMissingProgramNamesTheSetup(t *testing.T) {
	t.Parallel()
	_, err := rig.Bin("no-such-program")
	if !errors.Is(err, rig.ErrMissing) || !strings.Contains(err.Error(), "hack/setup.sh") {
		t.Errorf("error = %v, want ErrMissing that names hack/setup.sh", err)
	}
}

// nothingLeft fails when something of a rig's directory is still there.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("directory %s is still there (%v)", dir, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("mounts of %s are still there:\n%s", dir, mounts)
	}
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range commands {
		if line, err := os.ReadFile(name); err == nil && strings.Contains(string(line), dir) {
			t.Errorf("process of %s is still there: %s: %q", dir, name, line)
		}
	}
}

// podman runs a command of the engine's Podman and returns its stdout.
func podman(t *testing.T, engine *rig.Podman, args ...string) string {
	t.Helper()
	cmd := engine.Command(t.Context(), args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
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

func ifFailed(err error, out []byte) error {
	if err == nil {
		return nil
	}
	return errors.New(string(out))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestABuildRunsProgramsOfAnotherArchitecture(t *testing.T) {
	platform := rig.NeedEmulator(t)
	t.Run("while a second test needs it too", func(t *testing.T) {
		if again := rig.NeedEmulator(t); again != platform {
			t.Errorf("NeedEmulator() = %s, then %s", platform, again)
		}
	})
	mirror := rig.NeedImages(t)
	builder := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: mirror.Addr()})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Dockerfile"), "FROM busybox\nRUN echo ran on $(uname -m)\n")
	log, err := builder.Buildctl(t.Context(), "build", "--progress=plain", "--frontend=dockerfile.v0", "--local", "context="+dir, "--local", "dockerfile="+dir, "--opt", "platform="+platform)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"linux/arm64": "ran on aarch64", "linux/amd64": "ran on x86_64"}[platform]
	if !strings.Contains(log, want) {
		t.Errorf("the build does not say %q:\n%s", want, log)
	}
}

func TestABuildkitdComesBackOnItsStateAfterItWasKilled(t *testing.T) {
	t.Parallel()
	builder := rig.NeedBuildkitd(t, rig.BuildkitdOptions{})
	before := builder.Addr()
	if err := errors.Join(builder.Kill(), builder.Restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, err := builder.Buildctl(t.Context(), "debug", "workers"); err != nil || builder.Addr() != before {
		t.Errorf("at %s after %s: %v", builder.Addr(), before, err)
	}
}
