package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/test/stage"
)

// withAgent starts an agent, waits until it can take a job, and stops it.
func withAgent(ctx context.Context, b *bench, name string, use func(*stage.Program) error) (err error) {
	a, err := b.stage.StartAgent(ctx, stage.AgentOptions{Name: name})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Stop(ctx)) }()
	if err := waitForSession(ctx, a); err != nil {
		return err
	}
	return use(a)
}

// sessionLine is what the agent logs once its session is open.
const sessionLine = `"msg":"session opened"`

// waitForSession reads the agent's log until its session is open.
func waitForSession(ctx context.Context, a *stage.Program) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("no open session within 30s"))
	defer cancel()
	for {
		content, err := os.ReadFile(a.Log)
		if err == nil && strings.Contains(string(content), sessionLine) {
			return nil
		}
		if err := retry.Wait(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("waiting for %s: %w; its log ends with:\n%s", a.Name, err, a.Tail())
		}
	}
}

// settle is how long an agent idles before it is looked at: two garbage
// collections are forced by the runtime within it.
const settle = 5 * time.Second

func idleMemoryRow(ctx context.Context, b *bench) (r result, err error) {
	err = withAgent(ctx, b, "idle-memory", func(a *stage.Program) error {
		if err := retry.Wait(ctx, settle); err != nil {
			return err
		}
		kib, err := a.StatusKiB("VmRSS")
		file, ferr := a.StatusKiB("RssFile")
		r = result{
			ours: fmt.Sprintf("%.1f MB, of which %.1f MB are the program's own file", kib*1024/1e6, file*1024/1e6),
			peer: "–", ratio: "–", met: kib*1024 <= 30e6,
		}
		return errors.Join(err, ferr)
	})
	return r, err
}

func idleCPURow(ctx context.Context, b *bench) (r result, err error) {
	err = withAgent(ctx, b, "idle-cpu", func(a *stage.Program) error {
		if err := retry.Wait(ctx, settle); err != nil {
			return err
		}
		window := time.Minute
		if b.quick {
			window = 5 * time.Second
		}
		before, err := cpuTime(a.Pid())
		if err != nil {
			return err
		}
		if err := retry.Wait(ctx, window); err != nil {
			return err
		}
		after, err := cpuTime(a.Pid())
		share := float64(after-before) / float64(window)
		r = result{ours: fmt.Sprintf("%.3f %%", 100*share), peer: "–", ratio: "–", met: share <= 0.001}
		return err
	})
	return r, err
}

// bootRow measures a restart: the key is there and the name registered, as in a
// pod that comes back to its volume. The first start makes the key, once.
func bootRow(ctx context.Context, b *bench) (result, error) {
	var samples []time.Duration
	for i := range b.times(30) + 1 {
		log := filepath.Join(b.stage.Dir, "boot", "agent.log")
		if err := os.Remove(log); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return result{}, err
		}
		start := time.Now()
		err := withAgent(ctx, b, "boot", func(*stage.Program) error {
			if i > 0 {
				samples = append(samples, time.Since(start))
			}
			return nil
		})
		if err != nil {
			return result{}, err
		}
	}
	m := median(samples)
	return result{ours: show(m), peer: "–", ratio: "–", met: m <= 100*time.Millisecond}, nil
}

// pickupRow: the script prints its own clock, which is the emulator's.
func pickupRow(ctx context.Context, b *bench) (r result, err error) {
	err = withAgent(ctx, b, "pickup", func(*stage.Program) error {
		var samples []time.Duration
		for range b.times(200) {
			jobs, err := b.stage.QueuePipeline(ctx, []byte("steps:\n- checkout: none\n- bash: date +now=%s.%N\n  name: clock\n"), "", nil)
			if err != nil {
				return err
			}
			status, report, err := b.stage.Wait(ctx, jobs[0].ID)
			if err != nil {
				return err
			}
			at, err := printedClock(report)
			if err != nil {
				return err
			}
			samples = append(samples, at.Sub(status.QueuedAt))
		}
		p50, p99 := median(samples), quantile(samples, 0.99)
		r = result{
			ours: fmt.Sprintf("p50 %s, p99 %s", show(p50), show(p99)), peer: "–", ratio: "–",
			met: p50 <= 50*time.Millisecond && p99 <= 200*time.Millisecond,
		}
		return nil
	})
	return r, err
}

// printedClock finds the now=… line of a report.
func printedClock(report job.Report) (time.Time, error) {
	for _, record := range report.Records {
		for _, line := range record.Log {
			text, ok := strings.CutPrefix(line, "now=")
			if !ok {
				continue
			}
			seconds, nanos, _ := strings.Cut(text, ".")
			s, err1 := strconv.ParseInt(seconds, 10, 64)
			n, err2 := strconv.ParseInt(nanos, 10, 64)
			return time.Unix(s, n), errors.Join(err1, err2)
		}
	}
	return time.Time{}, fmt.Errorf("no now= line in the report of a job that ended as %s", report.Result)
}

// cpuTime returns the processor time a process has used.
func cpuTime(pid int) (time.Duration, error) {
	// Nanoseconds on the run queue's own account; /proc/PID/stat counts in
	// hundredths of a second, too coarse for an idle agent.
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(tasks) == 0 {
		return 0, fmt.Errorf("process %d has no scheduling statistics", pid)
	}
	var total time.Duration
	for _, path := range tasks {
		content, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		first, _, _ := strings.Cut(string(content), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, err
		}
		total += time.Duration(n)
	}
	return total, nil
}
