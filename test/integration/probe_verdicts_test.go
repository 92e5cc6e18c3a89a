package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/retry"
	"github.com/dockless-ci/dockless/test/rig"
	"github.com/dockless-ci/dockless/test/stage"
)

// verdictsPage is made of what the probe said in this test.
const verdictsPage = "docs/probe-verdicts.md"

// holdFor is how long the agent has to stay alive with what must not kill it: longer
// than any slot may be silent.
const holdFor = 2*time.Minute + 10*time.Second

// stall is what a machine that is busy with other tests may take on top of what a slot may
// be silent. Nobody waits for it but a test that fails.
const stall = time.Minute

// broken is something that is wrong for real, and what the exec probe says of it.
type broken struct {
	what        string // for people
	page        string
	slot        string // the only one that is asked about; empty: all
	live, ready string // what the lines contain

	breaks func() error
	within time.Duration // the lines are there; zero: they are there for holdFor
	mends  func() error  // nil: it is not to be mended

	gotLive, gotReady string
}

// asks runs the probe as the kubelet would.
func (b *broken) asks(ctx context.Context, binary, question string) (string, error) {
	args := []string{question, "--file", b.page}
	if b.slot != "" {
		args = append(args, "--slot", b.slot)
	}
	cmd := exec.CommandContext(ctx, binary, args...)
	out, err := cmd.Output()
	line := strings.TrimSpace(string(out))
	if cmd.ProcessState == nil {
		return "", err
	}
	if yes := strings.HasPrefix(line, question+": "); yes != (cmd.ProcessState.ExitCode() == 0) {
		return line, fmt.Errorf("%s: exit code %d with %q", b.what, cmd.ProcessState.ExitCode(), line)
	}
	return line, nil
}

// play breaks it, waits for what the probe has to say, mends it and waits until the
// probe takes that back.
func (b *broken) play(ctx context.Context, binary string, say func(format string, args ...any)) error {
	if b.breaks != nil {
		if err := b.breaks(); err != nil {
			return fmt.Errorf("%s: %w", b.what, err)
		}
	}
	began := time.Now()
	for {
		live, err := b.asks(ctx, binary, "live")
		if err != nil {
			return err
		}
		ready, err := b.asks(ctx, binary, "ready")
		if err != nil {
			return err
		}
		since := time.Since(began)
		matches := strings.Contains(live, b.live) && strings.Contains(ready, b.ready)
		if matches {
			b.gotLive, b.gotReady = live, ready
		}
		switch {
		case matches && (b.within > 0 || since >= holdFor):
			say("%s: after %s %q and %q", b.what, since.Round(time.Second), live, ready)
			return b.mend(ctx, binary, since)
		case !matches && b.within == 0, since > b.within && b.within > 0:
			return fmt.Errorf("%s: after %s the probe says %q and %q, want %q and %q", b.what, since.Round(time.Second), live, ready, b.live, b.ready)
		case !strings.HasPrefix(live, "live: ") && strings.HasPrefix(b.live, "live: "):
			return fmt.Errorf("%s: after %s the probe says %q, and the agent was to stay alive", b.what, since.Round(time.Second), live)
		}
		if err := retry.Wait(ctx, time.Second); err != nil {
			return err
		}
	}
}

func (b *broken) mend(ctx context.Context, binary string, took time.Duration) error {
	if b.mends == nil {
		return nil
	}
	if err := b.mends(); err != nil {
		return fmt.Errorf("%s: %w", b.what, err)
	}
	question := "ready"
	if strings.HasPrefix(b.live, "not live: ") {
		question = "live"
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*stall, errTooLong)
	defer cancel()
	for line := ""; ; {
		if err := retry.Wait(ctx, 500*time.Millisecond); err != nil {
			return fmt.Errorf("%s (%s): it was mended, and the probe says %q: %w", b.what, took.Round(time.Second), line, err)
		}
		var err error
		if line, err = b.asks(ctx, binary, question); err != nil {
			return err
		}
		if strings.HasPrefix(line, question+": ") {
			return nil
		}
	}
}

// soaker keeps a program's log in a pipe that it can leave full.
type soaker struct {
	read, write int // the pipe, opened for each, neither ever waits
	mu          sync.Mutex
	held        bool
	done        chan struct{} // closed by close
	reading     sync.WaitGroup
}

// newSoaker makes the pipe for the log of an agent that is not there yet, and reads it
// until the test ends.
func newSoaker(t *testing.T, on testStage, agent string) *soaker {
	t.Helper()
	s := &soaker{done: make(chan struct{})}
	path := filepath.Join(on.Dir, agent, "agent.log")
	err := os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = unix.Mkfifo(path, 0o600)
	}
	if err == nil {
		s.read, err = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if err == nil {
		s.write, err = unix.Open(path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.reading.Go(s.drain)
	t.Cleanup(func() {
		_ = os.Remove(path) // whoever wants to show the end of the log must not wait for one
		close(s.done)
		s.reading.Wait()
		_, _ = unix.Close(s.read), unix.Close(s.write)
	})
	return s
}

func (s *soaker) drain() {
	buffer := make([]byte, 64<<10)
	for {
		select {
		case <-s.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
		s.mu.Lock()
		for !s.held {
			if n, err := unix.Read(s.read, buffer); n <= 0 || err != nil {
				break
			}
		}
		s.mu.Unlock()
	}
}

// hold leaves the pipe full, so that the next line of the log waits.
func (s *soaker) hold() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = true
	for filler := make([]byte, 4096); len(filler) > 0; filler = filler[:len(filler)/2] {
		for {
			if _, err := unix.Write(s.write, filler); errors.Is(err, unix.EAGAIN) {
				break
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// release has the pipe read again.
func (s *soaker) release() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = false
	return nil
}

// after returns what does f when it is called for the n-th time: when all that hangs on
// one thing was seen to hang.
func after(n int32, f func() error) func() error {
	var left atomic.Int32
	left.Store(n)
	return func() error {
		if left.Add(-1) > 0 {
			return nil
		}
		return f()
	}
}

// freezer is a control group whose processes cannot even be killed while it is frozen,
// as one that waits for a disk that is gone.
type freezer struct{ dir string }

func needFreezer(t *testing.T) freezer {
	t.Helper()
	f := freezer{filepath.Join("/sys/fs/cgroup/freezer", fmt.Sprintf("dockless-test-%d", os.Getpid()))}
	if err := os.Mkdir(f.dir, 0o755); err != nil {
		t.Fatalf("making a control group that can be frozen: %v; the test needs root and the freezer of cgroup version 1", err)
	}
	t.Cleanup(func() {
		_ = f.set("THAWED")
		eventually(t, "the processes of the freezer have ended", 30*time.Second, func() bool { return os.Remove(f.dir) == nil })
	})
	return f
}

func (f freezer) set(state string) error {
	return os.WriteFile(filepath.Join(f.dir, "freezer.state"), []byte(state), 0o644)
}

// freeze takes the process whose id is in a file.
func (f freezer) freeze(file string) error {
	pid, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(filepath.Join(f.dir, "cgroup.procs"), pid, 0o644)
	}
	if err == nil {
		err = f.set("FROZEN")
	}
	return err
}

// fillDisk leaves less than builds need on a volume of 160 MB: a twentieth.
func fillDisk(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(dir, "full"))
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(file.Fd()), 0, 0, int64(s.Bavail)*s.Bsize-4*megabyte), file.Close())
}

// endless is a pipeline whose step writes its process id to a file and goes on until it
// is killed, which is after some minutes, if any.
func endless(file string, minutes int) string {
	return fmt.Sprintf(`steps:
- checkout: none
- bash: |
    trap '' INT TERM
    echo $$ > %s
    while :; do echo busy; sleep 1; done
  timeoutInMinutes: %d
`, file, minutes)
}

// Everything that can hang or break, each for real in an agent of its own and all at the
// same time: what the exec probe says within the age that the slot allows itself, and
// that it takes it back.
func TestWhatIsBrokenAndWhatTheProbeSaysOfIt(t *testing.T) {
	t.Parallel()
	binary := rig.NeedBin(t, "dockless-probe")
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{})
	small := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Disk: 160 * megabyte})
	containers := rig.NeedPodman(t, rig.PodmanOptions{})
	// Those whose watches get stuck.
	stuckDaemon, stuckContainers := rig.NeedBuildkitd(t, rig.BuildkitdOptions{}), rig.NeedPodman(t, rig.PodmanOptions{})
	cold := needFreezer(t)
	t.Cleanup(func() { // before they are told to end
		for _, pid := range []int{daemon.Pid(), containers.Pid(), stuckDaemon.Pid(), stuckContainers.Pid()} {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	})

	polled := bare
	polled.EmulatorFlags = []string{"--poll", "5s"} // so that faults are met soon
	plain := openStage(t, polled)
	agent := func(s testStage, name string, env ...string) *stage.Program {
		a, err := s.StartAgent(t.Context(), stage.AgentOptions{Name: name, Env: append(append([]string{}, alone...), env...)})
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(a.Log); err == nil && info.Mode().IsRegular() {
			rig.KeepLog(t, "agent", a.Log)
		}
		t.Cleanup(func() { _ = a.Kill() }) // with its job, for which a drain would wait
		return a
	}
	page := func(s testStage, name string) string { return filepath.Join(s.Dir, name, "probe") }
	faulty := func(faults ...string) (s testStage, breaks, mends func() error) {
		s = openStage(t, polled)
		agent(s, "faulty")
		return s, func() error {
			var errs []error
			for _, f := range faults {
				errs = append(errs, s.Fail(t.Context(), f))
			}
			return errors.Join(errs...)
		}, func() error { return s.Heal(t.Context()) }
	}
	stops := func(pid int, s syscall.Signal) func() error { return func() error { return syscall.Kill(pid, s) } }

	// Agents that wait for jobs.
	agent(plain, "well")
	silent, silentBreaks, _ := faulty(`{"match":"GET /messages","kind":"delay","value":"1h","count":1}`)
	refused, refusedBreaks, refusedMends := faulty(`{"match":"GET /messages","kind":"status","value":{"code":503}}`)
	expired, expiredBreaks, expiredMends := faulty(`{"match":"POST /sessions$","kind":"status","value":{"code":503}}`, `{"match":"GET /messages","kind":"expire-session","count":1}`)
	agent(plain, "builder", "BUILDKIT_HOST="+daemon.Addr())
	agent(plain, "podman", "CONTAINER_HOST="+containers.Addr())
	agent(plain, "disk", "BUILDKIT_HOST="+small.Addr())
	stopped := agent(plain, "stopped", "BUILDKIT_HOST="+daemon.Addr())
	killed := agent(plain, "killed")

	// Agents with jobs. Each of those has an emulator, so that the job is its own.
	renewals, renewalsBreaks, renewalsMends := faulty(`{"match":"PATCH /jobrequests/","kind":"delay","value":"1h"}`)
	reports, reportsBreaks, reportsMends := faulty(`{"match":"* /(records|logs|feed)","kind":"delay","value":"1h"}`)
	hangs, _, _ := faulty()
	frozen, _, _ := faulty()
	logged, drained := openStage(t, polled), openStage(t, polled)
	log := newSoaker(t, logged, "logged")
	agent(logged, "logged", "LOG_LEVEL=debug")
	watchLog := newSoaker(t, plain, "watching")
	agent(plain, "watching", "BUILDKIT_HOST="+stuckDaemon.Addr(), "CONTAINER_HOST="+stuckContainers.Addr())
	leaving := agent(drained, "drained", "DOCKLESS_DRAIN_TIMEOUT=10m")
	for _, s := range []testStage{renewals, reports, hangs, logged, drained, frozen} {
		started, minutes := filepath.Join(s.Dir, "started"), 0
		if s == frozen {
			minutes = 1
		}
		queue(t, s, endless(started, minutes), "", nil)
		eventually(t, "the step runs", 2*stall, func() bool { return exists(started) })
	}

	unclog := after(3, log.release)
	unclogWatches := after(2, func() error {
		return errors.Join(watchLog.release(), syscall.Kill(stuckDaemon.Pid(), syscall.SIGCONT), syscall.Kill(stuckContainers.Pid(), syscall.SIGCONT))
	})
	const answered = "ready: "
	rows := []*broken{
		{what: "nothing", page: page(plain, "well"), live: "live: ", ready: answered},
		{
			what: "the server takes a poll and does not answer it", page: page(silent, "faulty"), breaks: silentBreaks,
			live: "live: ", ready: "not ready: slot poll is live (server does not answer)", within: 100*time.Second + stall, mends: func() error { return nil },
		},
		{
			what: "the server answers polls with 503", page: page(refused, "faulty"), breaks: refusedBreaks, mends: refusedMends,
			live: "live: ", ready: "not ready: slot poll is live (server does not answer)", within: stall,
		},
		{
			what: "the session is lost and none can be opened", page: page(expired, "faulty"), breaks: expiredBreaks, mends: expiredMends,
			live: "live: ", ready: "not ready: slot poll is live (no session)", within: stall,
		},
		{what: "the server takes a renewal of a job's lock and does not answer it", page: page(renewals, "faulty"), breaks: renewalsBreaks, mends: renewalsMends, live: "live: ", ready: answered},
		{what: "the server takes the report of a job and does not answer it", page: page(reports, "faulty"), breaks: reportsBreaks, mends: reportsMends, live: "live: ", ready: answered},
		{what: "a step hangs", page: page(hangs, "faulty"), live: "live: ", ready: answered},
		{
			what: "a step does not end when its time is over, for not even SIGKILL ends it", page: page(frozen, "faulty"),
			breaks: func() error { return cold.freeze(filepath.Join(frozen.Dir, "started")) }, mends: func() error { return cold.set("THAWED") },
			live: "not live: slot step: last beat", ready: "not ready: slot step: last beat", within: time.Minute + 90*time.Second + stall, // of the step, and of the slot
		},
		{
			what: "buildkitd is stopped", page: page(plain, "builder"), breaks: stops(daemon.Pid(), syscall.SIGSTOP), mends: stops(daemon.Pid(), syscall.SIGCONT),
			live: "live: ", ready: "not ready: slot builder is live (builder does not answer)", within: 25*time.Second + stall,
		},
		{
			what: "the Podman service is stopped", page: page(plain, "podman"), breaks: stops(containers.Pid(), syscall.SIGSTOP), mends: stops(containers.Pid(), syscall.SIGCONT),
			live: "live: ", ready: "not ready: slot podman is live (container service does not answer)", within: 25*time.Second + stall,
		},
		{
			what: "the builder's disk has less room than a build needs", page: page(plain, "disk"), breaks: func() error { return fillDisk(small.Root()) },
			mends: func() error { return os.Remove(filepath.Join(small.Root(), "full")) },
			live:  "live: ", ready: "not ready: slot builder is live (disk full)", within: 25*time.Second + stall,
		},
		{
			what: "the message loop is stuck: its log goes to a pipe that nobody reads", page: page(logged, "logged"), slot: "poll", breaks: log.hold, mends: unclog,
			live: "not live: slot poll: last beat", ready: "not ready: slot poll: last beat", within: 2*time.Minute + stall,
		},
		{
			what: "the renewal of a job's lock is stuck, as above", page: page(logged, "logged"), slot: "lock", mends: unclog,
			live: "not live: slot lock: last beat", ready: "not ready: slot lock: last beat", within: time.Minute + 90*time.Second + stall,
		},
		{
			what: "the report of a job is stuck, as above", page: page(logged, "logged"), slot: "report", mends: unclog,
			live: "not live: slot report: last beat", ready: "not ready: slot report: last beat", within: 2*time.Minute + 10*time.Second + stall, // its loops beat together, every ten seconds
		},
		{
			what: "the watch over BuildKit is stuck: buildkitd is stopped, and the log that is to say so goes to a pipe that nobody reads", page: page(plain, "watching"), slot: "builder",
			breaks: func() error {
				return errors.Join(watchLog.hold(), syscall.Kill(stuckDaemon.Pid(), syscall.SIGSTOP), syscall.Kill(stuckContainers.Pid(), syscall.SIGSTOP))
			}, mends: unclogWatches,
			live: "not live: slot builder: last beat", ready: "not ready: slot builder: last beat", within: 25*time.Second + 45*time.Second + stall,
		},
		{
			what: "the watch over Podman is stuck, as above", page: page(plain, "watching"), slot: "podman", mends: unclogWatches,
			live: "not live: slot podman: last beat", ready: "not ready: slot podman: last beat", within: 25*time.Second + 45*time.Second + stall,
		},
		{
			what: "the agent is stopped", page: page(plain, "stopped"), breaks: stops(stopped.Pid(), syscall.SIGSTOP), mends: stops(stopped.Pid(), syscall.SIGCONT),
			live: "not live: slot builder: last beat", ready: "not ready: slot builder: last beat", within: 45*time.Second + stall,
		},
		{
			what: "the agent was told to stop, and its job goes on", page: page(drained, "drained"), breaks: stops(leaving.Pid(), syscall.SIGTERM),
			live: "live: ", ready: "not ready: slot poll is draining (told to)", within: stall,
		},
		{
			what: "the agent was killed", page: page(plain, "killed"), breaks: killed.Kill,
			live: "not live: slot poll: process", ready: "not ready: slot poll: process", within: stall,
		},
	}
	for _, b := range rows {
		eventually(t, b.page+" is ready", 2*stall, func() bool {
			line, err := b.asks(t.Context(), binary, "ready")
			return err == nil && strings.HasPrefix(line, answered)
		})
	}
	g, ctx := errgroup.WithContext(t.Context())
	for _, b := range rows {
		g.Go(func() error { return b.play(ctx, binary, t.Logf) })
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	compareVerdicts(t, rows)
}

const verdictsIntro = `# What the probe says

<!-- Made by test/integration, TestWhatIsBrokenAndWhatTheProbeSaysOfIt, with -update. Edit that. -->

Each row was broken for real, in an agent of its own, and the two lines are what ` + "`dockless-probe live`" + ` and
` + "`dockless-probe ready`" + ` printed then; what could be mended was, and the probe took it back. Rows that name a slot in
the line were asked about that slot where others stood still as well. [Decision 46](decisions/0046-what-beats.md) says what
each slot means, and what a loop may take before it counts as stuck.

The disk of a builder is seen through a local socket only (` + "`unix://`" + `). One elsewhere, as that of ` + "`deploy/base`" + ` (` + "`tcp://`" + `), can
be full while the agent is ready: its buildkitd is asked to make room, and the build that finds none says so.

| what is broken | live | ready |
|---|---|---|
`

// told is all of a line that depends on when it was asked.
var told = regexp.MustCompile(`(last beat|process|poll|lock|step|report|builder|podman) [0-9][0-9a-z.]*( of [0-9][0-9a-z.]*)?`)

// compareVerdicts compares what the probe said with the page, or writes it.
func compareVerdicts(t *testing.T, rows []*broken) {
	t.Helper()
	var b strings.Builder
	b.WriteString(verdictsIntro)
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | `%s` | `%s` |\n", r.what, r.gotLive, r.gotReady)
	}
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, verdictsPage)
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, got := told.ReplaceAllString(string(page), "$1 N"), told.ReplaceAllString(b.String(), "$1 N")
	if want != got {
		t.Errorf("%s is not what the probe says; rewrite it with -update:\n%s", verdictsPage, b.String())
	}
}
