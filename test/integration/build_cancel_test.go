package integration_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/wholefile"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// freed waits until a buildkitd has no build, nor any step of one.
func freed(t *testing.T, d *rig.Buildkitd, process []string) {
	t.Helper()
	eventually(t, "buildkitd has no build", 30*time.Second, func() bool { return active(t, d) == 0 })
	eventually(t, "the step has gone", 30*time.Second, func() bool { return !runs(process...) })
}

// wantUnlocked checks that nobody holds a lock of what builds learn, and that
// nothing half-written lies beside it.
func wantUnlocked(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if strings.HasPrefix(d.Name(), wholefile.Unfinished) {
			t.Errorf("left behind: %s", path)
		}
		lock := flock.New(path, flock.SetFlag(os.O_RDONLY))
		defer func() { _ = lock.Close() }() // only tried
		if free, err := lock.TryLock(); errors.Is(err, os.ErrNotExist) {
			return nil // whoever had it removed it
		} else if err != nil || !free {
			t.Errorf("%s is locked: %v", path, err)
		}
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}

// age makes everything in a directory an hour old.
func age(t *testing.T, dir string) {
	t.Helper()
	old := time.Now().Add(-time.Hour)
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Fatalf("%s holds %v, %v, want what the killed build was writing", dir, files, err)
	}
	if err := os.Chtimes(filepath.Join(dir, files[0].Name()), old, old); err != nil {
		t.Fatal(err)
	}
}

func TestEverySignalThatEndsABuildEndsItsSolve(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true})
	step, process := sleeper()
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox AS a\n" + step + "FROM a\n"})
	for name, test := range map[string]struct {
		signal syscall.Signal
		code   int
		within time.Duration
	}{
		"SIGINT":  {syscall.SIGINT, 130, 10 * time.Second},
		"SIGTERM": {syscall.SIGTERM, 130, 10 * time.Second},
		"SIGKILL": {syscall.SIGKILL, -1, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			tmp, state := t.TempDir(), t.TempDir()
			out := filepath.Join(t.TempDir(), "out")
			var at time.Time
			running := func() bool {
				at = time.Now()
				return runs(process...)
			}
			// A directory for the parts of the image is made on this machine.
			f := s.interrupted(t, test.signal, "the step runs", running, "typed", "",
				[]string{"TMPDIR=" + tmp, "XDG_STATE_HOME=" + state, "BUILD_TOKEN=" + tokenValue},
				"build", dir, "--progress", "plain", "-t", s.Registry.Addr()+"/team/ended:1", "--push", "--secret", "id=token,env=BUILD_TOKEN",
				"--provenance", "mode=min", "-o", "type=docker,dest="+out).want(t, test.code)
			if took := time.Since(at); took > test.within {
				t.Errorf("it ended %s after the signal", took)
			}
			if test.code > 0 {
				f.wantError(t, "", "signal")
			}
			freed(t, s.Buildkitd, process)
			wantUnlocked(t, state)
			if test.signal == syscall.SIGKILL { // the next build removes what this one could not
				age(t, tmp)
				next := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\n"})
				s.typed(t, "typed", "", []string{"TMPDIR=" + tmp, "XDG_STATE_HOME=" + state}, "build", next, "--progress", "plain",
					"-t", "next:1", "--provenance", "mode=min", "-o", "type=docker,dest="+out).want(t, 0)
			}
			wantEmpty(t, tmp)
			if s.registryHas(t, "team/ended") {
				t.Error("an interrupted build was pushed")
			}
		})
	}
}

func TestCancellingAPushLeavesNoSolve(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	for name, path := range map[string]string{"of the image": "/v2/team/", "of the cache": "/v2/cache/"} {
		t.Run(name, func(t *testing.T) {
			empty := privateTemp(t)
			pushing, over := make(chan struct{}, 100), make(chan struct{})
			t.Cleanup(func() { close(over) })
			g.set(func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, path) && r.Method != http.MethodGet && r.Method != http.MethodHead {
					pushing <- struct{}{}
					select {
					case <-over:
					case <-r.Context().Done():
					}
				}
				return false
			})
			r := h.request(t, "main", buildcache.ModeSync)
			r.Tags, r.Push, r.BuildArgs = []string{h.registry + "/team/half:1"}, true, map[string]string{"COLOR": name}
			stopped := errors.New("told to stop")
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			done := make(chan error, 1)
			go func() {
				_, err := h.Build(ctx, r, imagebuild.Progress{})
				done <- err
			}()
			select {
			case <-pushing:
			case err := <-done:
				t.Fatalf("Build() = %v before it pushed", err)
			}
			at := time.Now()
			cancel(stopped)
			if err := <-done; !errors.Is(err, stopped) {
				t.Errorf("Build() = %v, want the cause of the context", err)
			}
			if took := time.Since(at); took > 10*time.Second {
				t.Errorf("Build() returned %s after it was told to stop", took)
			}
			eventually(t, "buildkitd has no build", 30*time.Second, func() bool { return active(t, h.daemon) == 0 })
			wantUnlocked(t, h.state)
			empty()
		})
	}
}

func TestCancellingAJobEndsTheBuildOfItsDockerTask(t *testing.T) {
	s := openStage(t, stage.Options{NoPodman: true})
	startAgent(t, s, stage.AgentOptions{Name: "canceled"})
	step, process := sleeper()
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\n" + step})
	pipeline := "steps:\n- checkout: none\n- bash: cp -r " + dir + "/. .\n- task: Docker@2\n  displayName: Build\n  inputs:\n" +
		"    command: build\n    repository: stopped\n    Dockerfile: Dockerfile\n- bash: echo never\n  displayName: After\n"
	j := queue(t, s, pipeline, "", nil)
	eventually(t, "the build's step runs", time.Minute, func() bool { return runs(process...) })
	at := time.Now()
	if err := s.Cancel(t.Context(), j.ID); err != nil {
		t.Fatal(err)
	}
	r := finish(t, s, j)
	if took := time.Since(at); took > 30*time.Second {
		t.Errorf("the job ended %s after its cancellation", took)
	}
	build := record(t, r, "Build")
	if r.Result != job.Canceled || build.Result != job.Canceled {
		dumpLog(t, r)
		t.Errorf("the job ended as %s, the build as %s, want both canceled", r.Result, build.Result)
	}
	if after := record(t, r, "After").Result; after != job.Skipped && after != job.Canceled {
		t.Errorf("the step after the build ended as %s", after)
	}
	freed(t, s.Buildkitd, process)
	if s.registryHas(t, "cache/stopped") {
		t.Error("a canceled build exported its cache")
	}
	wantUnlocked(t, filepath.Join(s.Dir, "canceled"))
	// The agent takes the next job, and the builder its build.
	next := writeTree(t, map[string]string{"Dockerfile": "FROM busybox\nRUN echo alive\n"})
	if r := finish(t, s, queue(t, s, strings.ReplaceAll(pipeline, dir, next), "", nil)); r.Result != job.Succeeded {
		dumpLog(t, r)
		t.Errorf("the build after it ended as %s, want succeeded", r.Result)
	}
}
