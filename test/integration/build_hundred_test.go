package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/test/rig"
)

const (
	// hundred is how many builds one agent host has to bear at once.
	hundred = 100
	// heapPerBuild is far above what a build needs at its peak, a client of
	// BuildKit with its buffers, a session and an export: about half a MB.
	heapPerBuild = 2 << 20
	// buildsFor is how long all of them may take; two idle cores need a third.
	buildsFor = 4 * time.Minute
)

// exportCount counts the repositories below a prefix to which something is being
// sent: from the first request until the manifest is there.
type exportCount struct {
	prefix string

	mu    sync.Mutex
	going map[string]bool
	peak  int
	done  int
}

func (c *exportCount) see(r *http.Request) {
	name, _, blob := strings.Cut(r.URL.Path, "/blobs/")
	c.mu.Lock()
	defer c.mu.Unlock()
	if blob && isBlob(r) && strings.HasPrefix(name, c.prefix) {
		c.going[name] = true
		c.peak = max(c.peak, len(c.going))
	}
}

func (c *exportCount) end(r *http.Request) {
	name, _, _ := strings.Cut(r.URL.Path, "/manifests/")
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.going, name)
	c.done++
}

// buildGoroutines is how many goroutines builds have, of ours, BuildKit's and gRPC's.
func buildGoroutines() int {
	stacks := make([]byte, 16<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	count := 0
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		for _, part := range []string{"dockless/internal/imagebuild.", "github.com/moby/buildkit/", "google.golang.org/grpc"} {
			if strings.Contains(stack, part) {
				count++
				break
			}
		}
	}
	return count
}

// peakHeap samples the heap until stop, which returns its growth in bytes.
func peakHeap() (stop func() uint64) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	runtime.GC()
	before := heap()
	var peak atomic.Uint64
	ended, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ended:
				return
			case <-ticker.C:
				peak.Store(max(peak.Load(), heap()))
			}
		}
	}()
	return func() uint64 {
		close(ended)
		<-gone
		return peak.Load() - min(before, peak.Load())
	}
}

func TestAHundredBuildsAtOnceAllSucceedAndTheirExportsQueue(t *testing.T) {
	var g gate
	h := needCacheHost(t, rig.RegistryOptions{Wrap: g.wrap})
	h.build(t, h.request(t, "first", buildcache.ModeSync)) // the registry is known from here on
	exports := &exportCount{prefix: "/v2/cache/", going: make(map[string]bool)}
	g.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.UserAgent(), "go-containerregistry") {
			return false // the record of a build, which is no export and has no queue
		}
		exports.see(r)
		if isManifest(r) && strings.HasPrefix(r.URL.Path, exports.prefix) {
			time.Sleep(50 * time.Millisecond) // so that those overlap which may
			exports.end(r)
		}
		return false
	})
	requests := make([]imagebuild.Request, hundred)
	for i := range requests {
		requests[i] = imagebuild.Request{
			Context: writeTree(t, map[string]string{
				"Dockerfile": "FROM busybox\nCOPY file /\nRUN cat /file > /made\n", "file": fmt.Sprintf("of build %d\n", i),
			}),
			Tags: []string{fmt.Sprintf("%s/team/service%d:1", h.registry, i)}, Push: true,
			// As many exports as builds: one that is not made within its time is said not to be.
			Cache: buildcache.Policy{Repo: h.caches + "/cache", Branch: "main", Mode: buildcache.ModeSync, ExportTimeout: buildsFor},
		}
	}
	h.anew(t, imagebuild.Options{StateDir: h.state})
	empty := privateTemp(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), buildsFor, errTooLong)
	defer cancel()
	goroutines, grown := buildGoroutines(), peakHeap()
	start := time.Now()
	var all sync.WaitGroup
	for i, r := range requests {
		all.Go(func() {
			result, err := h.Build(ctx, r, imagebuild.Progress{})
			switch {
			case err != nil:
				t.Errorf("build %d: %v", i, err)
			case result.Export == nil || result.Export.Err != nil || result.Export.Skipped != "":
				t.Errorf("build %d: export = %+v, want it done", i, result.Export)
			}
		})
	}
	all.Wait()
	took, grew := time.Since(start), grown()
	if err := h.Close(ctx); err != nil {
		t.Error(err)
	}
	t.Logf("%d builds took %s; the heap grew by %.1f MB, %.2f MB for each; at most %d exports at a time",
		hundred, took.Round(time.Millisecond), float64(grew)/1e6, float64(grew)/1e6/hundred, exports.peak)
	if exports.peak == 0 || exports.peak > 3 || exports.done < hundred {
		t.Errorf("%d exports, %d at a time, want %d and at most three at a time", exports.done, exports.peak, hundred)
	}
	if grew > hundred*heapPerBuild {
		t.Errorf("the heap grew by %d bytes, more than %d for each build", grew, heapPerBuild)
	}
	for i := range requests {
		pushed(t, requests[i].Tags[0])
	}
	eventually(t, "the goroutines of the builds have ended", 20*time.Second, func() bool { return buildGoroutines() <= goroutines })
	if left := active(t, h.daemon); left != 0 {
		t.Errorf("%d builds are left", left)
	}
	wantUnlocked(t, h.state)
	empty()
}
