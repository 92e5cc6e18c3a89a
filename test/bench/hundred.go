package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/test/rig"
)

const (
	// mostMB is what one of a hundred builds may take: as many fit beside a
	// buildkitd on a machine with 16 GB.
	mostMB = 100
	// mostExports is what imagebuild lets go to one registry at a time.
	mostExports = 3
)

// crowd is what became of many builds at once.
type crowd struct {
	took   time.Duration
	failed int
	rss    float64 // peak of the sum, MB
	err    error   // of one that failed
	warned string  // what one said: that its cache had no turn in time, for example
}

// hundredRow builds a hundred images at once, each by a process of its own.
func hundredRow(ctx context.Context, b *bench) (_ result, err error) {
	n := b.times(100)
	dirs, err := b.hundredContexts(n)
	if err != nil {
		return result{}, err
	}
	counted := &exportsSeen{going: make(map[string]bool)}
	caches, err := rig.StartRegistry(ctx, rig.RegistryOptions{Wrap: counted.wrap})
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, caches.Stop(ctx)) }()
	binary, err := rig.Bin("dockless")
	if err != nil {
		return result{}, err
	}
	env := append(append(os.Environ(), b.stage.AgentEnv("hundred")...), "DOCKLESS_CACHE_REPO="+caches.Addr()+"/cache",
		"XDG_STATE_HOME="+filepath.Join(b.stage.Dir, "hundred", "home"))
	if err := b.stage.Buildkitd.Prune(ctx); err != nil {
		return result{}, err
	}
	ours := atOnce(ctx, n, func(i int) *exec.Cmd {
		cmd := exec.CommandContext(ctx, binary, "build", dirs[i], "-t", fmt.Sprintf("service%d:1", i), "--progress", "plain")
		cmd.Env = env
		return cmd
	})
	if err := b.stage.Buildkitd.Prune(ctx); err != nil {
		return result{}, err
	}
	peer := atOnce(ctx, n, func(i int) *exec.Cmd {
		return b.stage.Buildkitd.BuildctlCommand(ctx, "build", "--progress", "plain", "--frontend", "dockerfile.v0",
			"--local", "context="+dirs[i], "--local", "dockerfile="+dirs[i])
	})
	if ours.err != nil {
		fmt.Printf("  one of ours: %v\n", ours.err)
	}
	if ours.warned != "" {
		fmt.Printf("  one of ours warned: %s\n", ours.warned)
	}
	if peer.err != nil {
		fmt.Printf("  one of the peer's: %v\n", peer.err)
	}
	peak, done := counted.result()
	return result{
		ours: fmt.Sprintf("%s, %d failed, %.0f MB each at the peak, %d caches exported, %d at a time",
			show(ours.took), ours.failed, ours.rss/float64(n), done, peak),
		peer:  fmt.Sprintf("%s, %d failed, %.0f MB each", show(peer.took), peer.failed, peer.rss/float64(n)),
		ratio: fmt.Sprintf("%.2f ×", float64(ours.took)/float64(peer.took)),
		met:   ours.failed == 0 && ours.rss/float64(n) <= mostMB && peak <= mostExports,
	}, nil
}

// hundredContexts makes n small contexts, each with a step of its own.
func (b *bench) hundredContexts(n int) ([]string, error) {
	dirs := make([]string, n)
	for i := range dirs {
		dirs[i] = filepath.Join(b.stage.Dir, "bench-hundred", strconv.Itoa(i))
		err := errors.Join(os.MkdirAll(dirs[i], 0o750),
			os.WriteFile(filepath.Join(dirs[i], "Dockerfile"), []byte("FROM busybox\nCOPY file /\nRUN cat /file > /made\n"), 0o600),
			os.WriteFile(filepath.Join(dirs[i], "file"), []byte(dirs[i]), 0o600))
		if err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// atOnce starts n programs and waits for all, looking at their memory meanwhile.
func atOnce(ctx context.Context, n int, command func(int) *exec.Cmd) crowd {
	var (
		mu   sync.Mutex
		out  crowd
		pids = make(map[int]bool)
		all  sync.WaitGroup
	)
	start := time.Now()
	for i := range n {
		all.Go(func() {
			cmd := command(i)
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			err := cmd.Start()
			if err == nil {
				mu.Lock()
				pids[cmd.Process.Pid] = true
				mu.Unlock()
				err = cmd.Wait()
			}
			mu.Lock()
			defer mu.Unlock()
			if cmd.Process != nil {
				delete(pids, cmd.Process.Pid)
			}
			for line := range strings.Lines(said.String()) {
				if strings.Contains(line, "level=WARN") || strings.Contains(line, "warning: ") {
					out.warned = strings.TrimSpace(line)
				}
			}
			if err != nil {
				out.failed++
				out.err = fmt.Errorf("%w: %s", err, said.Bytes())
			}
		})
	}
	looking, enough := context.WithCancel(ctx)
	var looked sync.WaitGroup
	looked.Go(func() {
		for retry.Wait(looking, 50*time.Millisecond) == nil {
			sum := 0.0
			mu.Lock()
			for pid := range pids {
				sum += residentMB(pid)
			}
			out.rss = max(out.rss, sum)
			mu.Unlock()
		}
	})
	all.Wait()
	out.took = time.Since(start)
	enough()
	looked.Wait()
	return out
}

// residentMB is the resident memory of a process, zero when it has gone.
func residentMB(pid int) float64 {
	var kib float64
	_, _ = fmt.Sscanf(firstField(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), "%f", &kib) // zero says gone well enough
	return kib * 1024 / 1e6
}

// exportsSeen counts the caches that are on their way to a registry: from the
// first request of BuildKit that writes until the manifest is there. The record of
// a build, some kilobytes beside its cache, is ours to send and waits for nobody.
type exportsSeen struct {
	mu         sync.Mutex
	going      map[string]bool
	peak, done int
}

func (e *exportsSeen) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.UserAgent(), "buildkit/") {
			next.ServeHTTP(w, r)
			return
		}
		name, _, blob := strings.Cut(r.URL.Path, "/blobs/")
		if blob && r.Method != http.MethodGet {
			e.mu.Lock()
			e.going[name] = true
			e.peak = max(e.peak, len(e.going))
			e.mu.Unlock()
		}
		next.ServeHTTP(w, r)
		if name, _, manifest := strings.Cut(r.URL.Path, "/manifests/"); manifest && r.Method == http.MethodPut {
			e.mu.Lock()
			delete(e.going, name)
			e.done++
			e.mu.Unlock()
		}
	})
}

func (e *exportsSeen) result() (peak, done int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peak, e.done
}
