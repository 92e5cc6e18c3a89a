//go:build linux

package cgroup

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The test program plays the programs of steps, too, when PLAY says which.
func TestMain(m *testing.M) {
	switch os.Getenv("PLAY") {
	case "": // the tests
		goleak.VerifyTestMain(m)
	case "agent": // one in a group of version 2, see unified_test.go
		playAgent()
	case "allocate": // argument: MiB
		n, _ := strconv.Atoi(os.Args[1])
		// Not by Go's own allocator: the race detector keeps a second memory for that.
		held, err := syscall.Mmap(-1, 0, n<<20, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
		if err != nil {
			panic(err)
		}
		touch(held)
		fmt.Println("held")
		if len(os.Args) > 2 { // until standard input ends
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		}
		runtime.KeepAlive(held)
	case "spin": // argument: milliseconds of CPU
		n, _ := strconv.Atoi(os.Args[1])
		for use := (syscall.Rusage{}); ; _ = syscall.Getrusage(syscall.RUSAGE_SELF, &use) {
			if time.Duration(use.Utime.Nano()+use.Stime.Nano()) > time.Duration(n)*time.Millisecond {
				return
			}
		}
	}
}

//go:norace
func touch(memory []byte) {
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
}

// play makes a command that plays a part.
func play(part string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...) // every part ends by itself
	cmd.Env = append(os.Environ(), "PLAY="+part)
	return cmd
}

// fill makes a command that has so many MiB and little else: dd fills its buffer.
func fill(t *testing.T, mib int) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "dd", "if=/dev/zero", "of=/dev/null", "count=1", fmt.Sprintf("bs=%dM", mib))
}

// groups returns a job on the machine that runs the test. Where that lets nobody
// make groups, the test is of the fallback, and grouped is false.
func groups(t *testing.T) (j *Job, grouped bool) {
	t.Helper()
	return groupsAt(t, Here())
}

func groupsAt(t *testing.T, h Host) (j *Job, grouped bool) {
	t.Helper()
	j = Open(h, "agent-"+strconv.Itoa(os.Getpid()), strings.ReplaceAll(t.Name(), "/", "_"))
	if j.Why() != nil {
		t.Logf("no groups can be made here, so this tests the fallback: %v", j.Why())
	}
	t.Cleanup(func() {
		if _, err := j.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return j, j.Why() == nil
}

// start starts cmd in g, from a thread that is thrown away when it could not be
// taken back, and returns what waits for it.
func start(t *testing.T, g *Group, cmd *exec.Cmd) (wait func() error) {
	t.Helper()
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		if syscall.Gettid() == os.Getpid() {
			var elsewhere sync.WaitGroup
			elsewhere.Go(func() { runtime.LockOSThread(); started <- g.Start(cmd) })
			elsewhere.Wait()
			runtime.UnlockOSThread()
			return
		}
		started <- g.Start(cmd)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	return func() error {
		err := cmd.Wait()
		g.Ended(cmd.ProcessState)
		return err
	}
}

// limited returns a host whose agent is in a group with a memory limit, which is
// made below this process's own. The process itself stays where it is.
func limited(t *testing.T, bytes int) (Host, bool) {
	t.Helper()
	memory, _, err := find(Here())
	if err != nil || memory.unified || read(memory.dir, "memory.use_hierarchy") != "1\n" {
		t.Logf("no memory groups of version 1 here: %v", err)
		return Host{}, false
	}
	group := filepath.Join(memory.dir, fmt.Sprintf("dockless-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no groups can be made here: %v", err)
		return Host{}, false
	}
	t.Cleanup(func() {
		if err := emptyWithin(t, group, memory.dir); err != nil {
			t.Error(err)
		}
	})
	if err := put(group, "memory.limit_in_bytes", strconv.Itoa(bytes)); err != nil {
		t.Fatal(err)
	}
	h := Host{Proc: t.TempDir(), Log: Here().Log}
	text := contents(t, "/proc/self/cgroup")
	write(t, filepath.Join(h.Proc, "cgroup"), strings.Replace(text, ":memory:"+memory.path, ":memory:"+memory.name(group), 1))
	write(t, filepath.Join(h.Proc, "mountinfo"), contents(t, "/proc/self/mountinfo"))
	return h, true
}

func emptyWithin(t *testing.T, group, to string) error {
	t.Helper()
	var err error
	for range 100 {
		if err = empty(context.WithoutCancel(t.Context()), group, to); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
