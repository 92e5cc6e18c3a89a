//go:build linux

package cgroup

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestThePeakOfAProgramIsMeasured(t *testing.T) {
	j, grouped := groups(t)
	g := j.Step("step")
	if err := start(t, g, fill(t, 100))(); err != nil {
		t.Fatal(err)
	}
	u := g.Close()
	if u.Memory < 90<<20 || u.Memory > 110<<20 || u.CPU <= 0 || u.Kills != 0 {
		t.Errorf("usage of a program with 100 MiB = %d MiB, %+v", u.Memory>>20, u)
	}
	if (u.Measure == Together) != grouped {
		t.Errorf("the figure is of kind %d, grouped %v", u.Measure, grouped)
	}
}

// Two grandchildren hold 60 MiB each at the same time.
func TestGrandchildrenCountTogether(t *testing.T) {
	j, grouped := groups(t)
	g := j.Step("step")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `exec 3<&0; "$0" 60 hold <&3 & "$0" 60 hold <&3 & wait`, os.Args[0])
	cmd.Env = append(os.Environ(), "PLAY=allocate")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	wait := start(t, g, cmd)
	lines := bufio.NewScanner(out)
	for range 2 {
		if !lines.Scan() {
			t.Fatal("a grandchild said nothing")
		}
	}
	_ = in.Close()
	if err := wait(); err != nil {
		t.Fatal(err)
	}
	u := g.Close()
	if least := map[bool]uint64{true: 115 << 20, false: 55 << 20}[grouped]; u.Memory < least || u.Memory > 220<<20 {
		t.Errorf("usage of two grandchildren with 60 MiB each = %d MiB, %+v", u.Memory>>20, u)
	}
}

func TestTheTimeOfAllProcessesIsCounted(t *testing.T) {
	j, _ := groups(t)
	g := j.Step("step")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `"$0" 150 & "$0" 150 & wait`, os.Args[0])
	cmd.Env = append(os.Environ(), "PLAY=spin")
	if err := start(t, g, cmd)(); err != nil {
		t.Fatal(err)
	}
	if u := g.Close(); u.CPU < 300*time.Millisecond || u.CPU > time.Second {
		t.Errorf("CPU of two processes with 150 ms each = %v", u.CPU)
	}
}

// A small process was as large as the agent until its program was loaded.
func TestAProcessSmallerThanTheAgentIsAtMostThatLarge(t *testing.T) {
	g := (*Job)(nil).Step("step")
	if err := start(t, g, exec.CommandContext(t.Context(), "true"))(); err != nil {
		t.Fatal(err)
	}
	if u := g.Close(); u.Measure != AtMost || u.Memory == 0 || u.Counted {
		t.Errorf("usage of true = %+v, want a bound", u)
	}
}

// No child may start outside, whatever the other threads do meanwhile.
func TestFiftyConcurrentStartsEndInTheirGroups(t *testing.T) {
	j, grouped := groups(t)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			g := j.Step(fmt.Sprintf("step-%d", i))
			cmd := exec.CommandContext(t.Context(), "bash", "-c", "cat /proc/self/cgroup")
			var out bytes.Buffer
			cmd.Stdout = &out
			if err := start(t, g, cmd)(); err != nil {
				t.Error(err)
			}
			if got := strings.Count(out.String(), fmt.Sprintf("/step-%d\n", i)); got != len(j.trees) {
				t.Errorf("step %d: in %d groups of %d:\n%s", i, got, len(j.trees), out.String())
			}
			if u := g.Close(); grouped && u.Measure != Together {
				t.Errorf("step %d: %+v", i, u)
			}
		})
	}
	all.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if text, _ := os.ReadFile(task); strings.Contains(string(text), "/step-") { // an error: it has ended
			t.Errorf("a thread of the agent stayed in a group of a step:\n%s", text)
		}
	}
}

func TestLackOfMemoryIsToldWithItsLimit(t *testing.T) {
	const limit = 64 << 20
	h, ok := limited(t, limit)
	if !ok {
		t.Log("so this tests that a SIGKILL without lack of memory is none")
		h = Here()
	}
	j, _ := groupsAt(t, h)
	g := j.Step("step")
	if !ok {
		if err := start(t, g, exec.CommandContext(t.Context(), "bash", "-c", "kill -9 $$"))(); err == nil || g.Close().Kills != 0 {
			t.Errorf("%v, kills %d", err, g.Close().Kills)
		}
		return
	}
	// The grandchild is killed, its parent goes on.
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `"$0" 200; echo "code $?"`, os.Args[0])
	cmd.Env = append(os.Environ(), "PLAY=allocate")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := start(t, g, cmd)(); err != nil || out.String() != "code 137\n" {
		t.Fatalf("output %q, error %v", out.String(), err)
	}
	u := g.Close()
	if u.Kills != 1 || !u.Counted || u.Limit.Bytes != limit || !strings.HasSuffix(u.Limit.Group, fmt.Sprintf("/dockless-test-%d", os.Getpid())) {
		t.Errorf("usage = %+v, want one kill by the limit of the group above", u)
	}
	switch program := filepath.Base(os.Args[0]); {
	case len(u.Victims) == 0: // the kernel writes ten such entries in five seconds at most
		t.Log("the kernel's log cannot be read here, or left this out: no name is known")
	case len(u.Victims) != 1 || !strings.HasPrefix(program, u.Victims[0]):
		t.Errorf("victims = %q, want %q", u.Victims, program)
	}
	if u.Memory < limit*9/10 || u.Memory > limit+1<<20 { // the kernel charges some of its own beyond it
		t.Errorf("peak = %d MiB, want the limit", u.Memory>>20)
	}
	// The next step starts from nothing.
	next := j.Step("next")
	if err := start(t, next, exec.CommandContext(t.Context(), "true"))(); err != nil {
		t.Fatal(err)
	}
	if u := next.Close(); u.Kills != 0 || u.Memory > 20<<20 {
		t.Errorf("usage of the next step = %+v", u)
	}
}

// A pod as most are, with the counters of a real kernel: the groups are mounted
// read-only.
func TestAReadOnlyMountTellsOfRealKills(t *testing.T) {
	const limit = 64 << 20
	h, ok := limited(t, limit)
	if !ok {
		t.Log("so this is tested with files only, in fake_test.go")
		return
	}
	memory, _, err := find(h)
	if err != nil {
		t.Fatal(err)
	}
	shown := t.TempDir()
	if err := unix.Mount(memory.top, shown, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mounting as root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(shown, unix.MNT_DETACH) })
	if err := unix.Mount("", shown, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("mounting as root: %v", err)
	}
	write(t, filepath.Join(h.Proc, "mountinfo"), "35 31 0:32 / "+shown+" ro - cgroup cgroup rw,memory\n")
	j, grouped := groupsAt(t, h)
	if grouped {
		t.Fatal("groups were made on a read-only mount")
	}
	g := j.Step("step")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `echo $$ >"$1" && "$0" 200; echo "code $?"`, os.Args[0], filepath.Join(memory.dir, "cgroup.procs"))
	cmd.Env = append(os.Environ(), "PLAY=allocate")
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := start(t, g, cmd)(); err != nil || out.String() != "code 137\n" {
		t.Fatalf("output %q, error %v", out.String(), err)
	}
	if u := g.Close(); u.Kills != 1 || u.Measure == Together || u.Limit.Bytes != limit || u.Memory < limit/2 {
		t.Errorf("usage = %+v, want a kill by the limit of the agent's own group", u)
	}
}

// A server that a step starts is there for the next step, and outlives the job when
// that is wished; a kill of it is told at the end.
func TestWhatLivesOnKeepsItsGroupUntilTheJobsEnd(t *testing.T) {
	h, ok := limited(t, 64<<20)
	if !ok {
		h = Here()
	}
	j, grouped := groupsAt(t, h)
	first := j.Step("first")
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `sleep 60 & echo $!; ( read -r go <begin; "$0" 200; read -r go <end ) >/dev/null & `, os.Args[0])
	cmd.Env, cmd.Dir = append(os.Environ(), "PLAY=allocate"), t.TempDir()
	pipes := []string{filepath.Join(cmd.Dir, "begin"), filepath.Join(cmd.Dir, "end")}
	for _, pipe := range pipes {
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = out
	if err := start(t, first, cmd)(); err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(contents(t, out.Name())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if u := first.Close(); u.Kills != 0 {
		t.Errorf("usage = %+v", u)
	}
	if grouped && len(j.kept) != 1 {
		t.Errorf("%d groups were kept, want that of the sleep", len(j.kept))
	}
	for _, pipe := range pipes { // each is written when it is read
		if err := os.WriteFile(pipe, []byte("go\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	late, err := j.Close(t.Context())
	if err != nil {
		t.Error(err)
	}
	if ok && (len(late) != 1 || late[0].Step != "first" || late[0].Kills != 1 || late[0].Limit.Bytes != 64<<20) {
		t.Errorf("late kills = %+v, want that of the step's server", late)
	}
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the process that lives on: %v", err)
	}
	if text := contents(t, fmt.Sprintf("/proc/%d/cgroup", pid)); strings.Contains(text, "dockless.") {
		t.Errorf("it is in a group of the job still:\n%s", text)
	}
}

// A group that was taken away, or refuses, costs the accounting and nothing else.
func TestALostGroupCostsNoProcess(t *testing.T) {
	j, grouped := groups(t)
	g := j.Step("step")
	for _, dir := range g.dirs {
		if err := syscall.Rmdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	// More than these tests themselves have: less is told as a bound.
	if err := start(t, g, fill(t, 200))(); err != nil {
		t.Fatal(err)
	}
	if u := g.Close(); u.Measure != Largest || u.Memory < 195<<20 || u.Memory > 220<<20 {
		t.Errorf("grouped %v: usage = %+v, want that of the process", grouped, u)
	}
	if err := g.Start(exec.CommandContext(t.Context(), "/nonexistent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// What a job makes below its own group goes with it.
func TestGroupsOfTheJobsOwnMakingAreRemoved(t *testing.T) {
	j, grouped := groups(t)
	if !grouped {
		return // groupsAt has said why; there is nothing that could stay
	}
	g := j.Step("step")
	if err := os.MkdirAll(filepath.Join(g.dirs[0], "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	g.Close()
	group := j.trees[0].group
	if _, err := j.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(group); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the group of the job: %v", err)
	}
}

func TestTheNextStartRemovesWhatADeadJobLeft(t *testing.T) {
	mine, grouped := groups(t)
	theirs := Open(Here(), "another", t.Name())
	t.Cleanup(func() { _, _ = theirs.Close(context.WithoutCancel(t.Context())) })
	mine.Step("step-1")
	theirs.Step("step-1")
	agent := "agent-" + strconv.Itoa(os.Getpid())
	busy := Open(Here(), agent, "busy")
	t.Cleanup(func() { _, _ = busy.Close(context.WithoutCancel(t.Context())) })
	g := busy.Step("step")
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	wait := start(t, g, cmd)
	defer func() { _ = cmd.Process.Kill(); _ = wait() }()
	RemoveLeftovers(t.Context(), Here(), agent, t.Name())
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	RemoveLeftovers(short, Here(), agent, "busy")
	left := func(j *Job) (n int) {
		for _, tree := range j.trees {
			if _, err := os.Stat(tree.group); err == nil {
				n++
			}
		}
		return n
	}
	if got, want := []int{left(mine), left(theirs), left(busy)}, []int{0, len(theirs.trees), len(busy.trees)}; !slices.Equal(got, want) {
		t.Errorf("grouped %v: groups left of the dead job, of another agent, of a job with a process = %v, want %v", grouped, got, want)
	}
}

// A process may start in a group or beside one; the difference is what it costs.
func BenchmarkStart(b *testing.B) {
	for name, j := range map[string]*Job{"grouped": Open(Here(), "bench", strconv.Itoa(os.Getpid())), "plain": nil} {
		b.Run(name, func(b *testing.B) {
			if j.Why() != nil && j != nil {
				b.Fatal(j.Why())
			}
			done := make(chan error)
			go func() {
				runtime.LockOSThread()
				var err error
				for n := 0; b.Loop() && err == nil; n++ {
					g := j.Step(fmt.Sprintf("step-%d", n))
					cmd := exec.CommandContext(b.Context(), "true")
					if err = g.Start(cmd); err == nil {
						err = cmd.Wait()
						g.Ended(cmd.ProcessState)
					}
					_ = g.Kills()
					g.Close()
				}
				done <- err
			}()
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		})
		if _, err := j.Close(b.Context()); err != nil {
			b.Error(err)
		}
	}
}
