package integration_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/test/rig"
)

// sleepy is a context whose step sleeps in the middle of a build, and uses a
// secret and a file.
func sleepy(t *testing.T) string {
	t.Helper()
	return writeTree(t, map[string]string{
		"Dockerfile": "FROM busybox\nCOPY file /\n" +
			"RUN --mount=type=secret,id=token,required=true wc -c < /run/secrets/token > /size; echo now sleeping; sleep 4\n" +
			"RUN --mount=type=secret,id=token,required=true cat /file /size > /both\n",
		"file": "text\n",
	})
}

// when calls f once, when a step has written text, and keeps what is shown.
func when(text string, f func()) (imagebuild.Progress, *lockedBuffer) {
	shown := &lockedBuffer{}
	once := sync.OnceFunc(f)
	return imagebuild.Progress{Mode: "plain", Out: writerFunc(func(b []byte) (int, error) {
		n, err := shown.Write(b)
		// The command that writes it is shown too.
		if bytes.Contains(b, []byte(text)) && !bytes.Contains(b, []byte("RUN")) {
			once()
		}
		return n, err
	})}, shown
}

// privateTemp makes the directory of temporary files the test's own from here on
// and returns how to check that nothing is left in it. Parts of the rig have
// theirs elsewhere when they were started before.
func privateTemp(t *testing.T) (empty func()) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	return func() {
		t.Helper()
		wantEmpty(t, dir)
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("left behind: %s", filepath.Join(dir, f.Name()))
	}
}

// needSleepyHost is a builder behind a line, with a registry for images and caches,
// and the request of a build there with secrets, caches and a push.
func needSleepyHost(t *testing.T) (*cacheHost, *line, imagebuild.Request) {
	t.Helper()
	images := rig.NeedImages(t)
	registry := rig.NeedRegistry(t, rig.RegistryOptions{})
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Mirror: images.Addr(), Insecure: []string{registry.Addr()}, TCP: true})
	l := needLine(t, daemon.TCPAddr())
	setup := needBuilder(t, buildxsetup.Config{Hosts: "tcp://" + l.addr, Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	h := &cacheHost{buildHost: &buildHost{setup: setup, daemon: daemon, registry: registry.Addr()}, caches: registry.Addr(), state: t.TempDir()}
	h.anew(t, imagebuild.Options{StateDir: h.state})
	r := h.request(t, "main", buildcache.ModeSync)
	r.Context, r.Tags, r.Push = sleepy(t), []string{h.registry + "/team/sleepy:1"}, true
	return h, l, r
}

// wantBuiltAgain checks a build that lost its node in the middle: it is pushed, its
// cache is exported, and the next builder finds it there.
func (h *cacheHost) wantBuiltAgain(t *testing.T, r imagebuild.Request, result *imagebuild.Result, err error, shown string) {
	t.Helper()
	if err != nil {
		t.Fatalf("Build() = %v, want it built once more\n%s", err, shown)
	}
	if result.Parts[0].Retried == "" {
		t.Errorf("parts = %+v, want one that was built again\n%s", result.Parts, shown)
	}
	if digest, _ := pushed(t, r.Tags[0]); digest != result.Digest.String() {
		t.Errorf("the registry has %s, want %s", digest, result.Digest)
	}
	if result.Export == nil || result.Export.Err != nil {
		t.Errorf("export = %+v, want it done", result.Export)
	}
	h.empty(t)
	h.anew(t, imagebuild.Options{})
	r.Cache.Mode = buildcache.ModeOff
	if next, shown := h.build(t, r); next.Stats.Cached != next.Stats.Steps {
		t.Errorf("stats = %+v, want all from the cache\n%s", next.Stats, shown)
	}
	eventually(t, "no build is left", 30*time.Second, func() bool { return active(t, h.daemon) == 0 })
}

func TestABuildThatPushesAndCachesOutlivesARestartOfItsOnlyBuildkitd(t *testing.T) {
	h, _, r := needSleepyHost(t)
	empty := privateTemp(t)
	restarted := make(chan error, 1)
	p, shown := when("now sleeping", func() {
		go func() {
			err := h.daemon.Kill()
			if err == nil {
				err = h.daemon.Restart(t.Context())
			}
			restarted <- err
		}()
	})
	result, err := h.Build(t.Context(), r, p)
	if err := <-restarted; err != nil {
		t.Fatal(err)
	}
	h.wantBuiltAgain(t, r, result, err, shown.String())
	empty()
}

func TestABuildWhoseConnectionIsCutForTwoSecondsIsBuiltOnceMore(t *testing.T) {
	h, l, r := needSleepyHost(t)
	empty := privateTemp(t)
	back := make(chan error, 1)
	p, shown := when("now sleeping", func() {
		go func() {
			l.cut()
			time.Sleep(2 * time.Second)
			back <- l.listen(t.Context())
		}()
	})
	result, err := h.Build(t.Context(), r, p)
	if err := <-back; err != nil {
		t.Fatal(err)
	}
	h.wantBuiltAgain(t, r, result, err, shown.String())
	empty()
}

func TestABuildWhoseNetworkVanishesDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	h, l, r := needSleepyHost(t)
	var at time.Time
	p, shown := when("now sleeping", func() {
		at = time.Now()
		l.silence()
	})
	given := make(chan time.Duration, 1)
	go func() {
		<-l.hungUp
		given <- time.Since(at)
		l.restore()
	}()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, errTooLong)
	defer cancel()
	result, err := h.Build(ctx, r, p)
	h.wantBuiltAgain(t, r, result, err, shown.String())
	took := <-given
	t.Logf("the silent connection was given up after %s", took)
	if took < 10*time.Second || took > 45*time.Second {
		t.Errorf("the silent connection was given up after %s, want about 30 s: not at once, and not minutes later", took)
	}
}

func TestAStepThatSaysNothingForLongIsNoLostNode(t *testing.T) {
	t.Parallel()
	h, _, r := needSleepyHost(t)
	r.Context = writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN sleep 50\n"})
	r.Secrets, r.Cache = nil, buildcache.Policy{}
	if result, shown := h.build(t, r); result.Parts[0].Retried != "" {
		t.Errorf("parts = %+v, want it built once\n%s", result.Parts, shown)
	}
}

// A node that accepts connections and answers nothing, as a buildkitd does that
// the kernel has stopped.
func TestANodeThatTakesConnectionsAndSaysNothingIsGivenUpInTime(t *testing.T) {
	t.Parallel()
	h, l, r := needSleepyHost(t)
	l.silence()
	start := time.Now()
	_, err := h.Build(t.Context(), r, imagebuild.Progress{})
	if _, ok := errors.AsType[*buildxsetup.UnreachableError](err); !ok || !strings.Contains(err.Error(), l.addr) {
		t.Errorf("Build() = %v, want the node that does not answer", err)
	}
	if took := time.Since(start); took > 90*time.Second {
		t.Errorf("Build() took %s", took)
	}
}
