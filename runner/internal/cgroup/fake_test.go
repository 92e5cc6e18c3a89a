//go:build linux

package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fake makes a host out of plain files: it is read as a kernel's, but does not fill
// new groups with files.
func fake(t *testing.T, membership, mounts string, files map[string]string) Host {
	t.Helper()
	h := Host{Proc: t.TempDir(), Root: t.TempDir()}
	write(t, filepath.Join(h.Proc, "cgroup"), membership)
	write(t, filepath.Join(h.Proc, "mountinfo"), mounts)
	for path, text := range files {
		write(t, filepath.Join(h.Root, path), text)
	}
	return h
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func contents(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

const (
	v1Mounts = "35 31 0:32 ROOT /cg/memory rw - cgroup cgroup rw,memory\n36 31 0:33 ROOT /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
	v2Mount  = "41 31 0:38 / /cg rw - cgroup2 cgroup2 rw\n"
)

// A host is one line of what a real one shows.
func TestHostsOfEveryKindAreUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		membership, mounts string
		dirs               []string
		memory, cpu        string // directories below the root; empty: none
	}{
		"version 1":                            {"4:memory:/a\n2:cpu,cpuacct:/b\n", strings.ReplaceAll(v1Mounts, "ROOT", "/"), []string{"cg/memory/a", "cg/cpu/b"}, "cg/memory/a", "cg/cpu/b"},
		"a container of version 1":             {"4:memory:/docker/1\n2:cpu,cpuacct:/docker/1\n", strings.ReplaceAll(v1Mounts, "ROOT", "/docker/1"), []string{"cg/memory", "cg/cpu"}, "cg/memory", "cg/cpu"},
		"a container with a namespace":         {"4:memory:/\n2:cpu,cpuacct:/\n", strings.ReplaceAll(v1Mounts, "ROOT", "/"), []string{"cg/memory", "cg/cpu"}, "cg/memory", "cg/cpu"},
		"version 1 without CPU":                {"4:memory:/a\n", strings.ReplaceAll(v1Mounts, "ROOT", "/"), []string{"cg/memory/a"}, "cg/memory/a", ""},
		"a mount that shows another container": {"4:memory:/docker/1\n", strings.ReplaceAll(v1Mounts, "ROOT", "/docker/2"), []string{"cg/memory"}, "", ""},
		"outside of the namespace":             {"0::/../b\n", v2Mount, []string{"cg", "b"}, "", ""},
		"version 2":                            {"0::/a/b\n", v2Mount, []string{"cg/a/b"}, "cg/a/b", "cg/a/b"},
		"a container of version 2":             {"0::/\n", v2Mount, []string{"cg"}, "cg", "cg"},
		"both":                                 {"4:memory:/a\n2:cpu,cpuacct:/b\n0::/c\n", strings.ReplaceAll(v1Mounts, "ROOT", "/") + strings.ReplaceAll(v2Mount, "/cg", "/cg/unified"), []string{"cg/memory/a", "cg/cpu/b", "cg/unified/c"}, "cg/memory/a", "cg/cpu/b"},
		"both, memory in version 2":            {"2:cpu,cpuacct:/b\n0::/c\n", strings.ReplaceAll(v1Mounts, "ROOT", "/") + strings.ReplaceAll(v2Mount, "/cg", "/cg/unified"), []string{"cg/cpu/b", "cg/unified/c"}, "cg/unified/c", "cg/unified/c"},
		"no control groups":                    {"", "23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n", nil, "", ""},
		"two mounts, the second on top":        {"0::/a\n", v2Mount + "42 31 0:39 / /top rw - cgroup2 cgroup2 rw\n", []string{"cg/a", "top/a"}, "top/a", "top/a"},
	} {
		t.Run(name, func(t *testing.T) {
			h := fake(t, c.membership, c.mounts, nil)
			for _, dir := range c.dirs {
				if err := os.MkdirAll(filepath.Join(h.Root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			memory, cpu, err := find(h)
			if (err == nil) != (c.memory != "") {
				t.Errorf("find = %v", err)
			}
			for what, got := range map[string]*hierarchy{c.memory: memory, c.cpu: cpu} {
				if (got == nil) != (what == "") || got != nil && got.dir != filepath.Join(h.Root, what) {
					t.Errorf("found %+v, want it in %q", got, what)
				}
			}
		})
	}
}

// A pod as most are: version 2, its own group is all it sees, and read-only.
func TestAReadOnlyHostTellsOfKillsAndOfTheLimit(t *testing.T) {
	h := fake(t, "0::/\n", v2Mount, map[string]string{
		"cg/memory.events": "low 0\nmax 7\noom 1\noom_kill 4\n", "cg/memory.events.local": "oom 1\n", "cg/memory.max": "536870912\n", "cg/cgroup.type": "domain\n",
		"cg/cgroup.controllers": "cpu memory pids\n", "cg/cgroup.procs": strconv.Itoa(os.Getpid()) + "\n", "cg/cgroup.subtree_control": "",
	})
	readOnly(t, filepath.Join(h.Root, "cg"))
	j := Open(h, "agent", "job")
	if j.Why() == nil {
		t.Error("groups were made on a read-only mount")
	}
	g := j.Step("step")
	if err := g.Start(run(t, "true")); err != nil {
		t.Fatal(err)
	}
	if u := g.Usage(); u.Kills != 0 || !u.Counted {
		t.Errorf("usage before a kill = %+v, want 0 of those before not ours", u)
	}
	changeReadOnly(t, filepath.Join(h.Root, "cg"), map[string]string{"memory.events": "oom 2\noom_kill 6\n", "memory.events.local": "oom 2\n"})
	want := Usage{Kills: 2, Counted: true, Measure: Largest, Limit: Limit{Bytes: 512 << 20, Group: "/"}}
	if diff := cmp.Diff(want, g.Close()); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	if got := want.Limit.By(); got != "the container's memory limit" {
		t.Errorf("the limit was set by %q", got)
	}
	if _, err := j.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// A job that removes its own group takes the kernel's count along.
func TestKillsAreNotForgottenWithTheGroup(t *testing.T) {
	h := delegated(t, nil)
	j := Open(h, "agent", "job")
	g := j.Step("step")
	if len(g.dirs) == 0 {
		t.Fatalf("there is no group: %v", j.Why())
	}
	write(t, filepath.Join(g.dirs[0], "memory.events"), "oom 2\noom_kill 2\n")
	if got := g.Kills(); got != 2 {
		t.Fatalf("Kills = %d, want 2", got)
	}
	if err := os.RemoveAll(g.dirs[0]); err != nil {
		t.Fatal(err)
	}
	if got, u := g.Kills(), g.Usage(); got != 2 || u.Kills != 2 {
		t.Errorf("without the group Kills = %d, Usage = %+v, want the 2 there were", got, u)
	}
}

// readOnly makes dir one that nobody may write in, root neither.
func readOnly(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Chmod(dir, 0o755) })
		return
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mounting as root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatalf("mounting as root: %v", err)
	}
}

// changeReadOnly writes files in such a directory, as the kernel does.
func changeReadOnly(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if os.Geteuid() == 0 {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		write(t, filepath.Join(dir, name), text)
	}
}

func run(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	t.Cleanup(func() {
		if cmd.Process != nil {
			_ = cmd.Wait()
		}
	})
	return cmd
}

// delegated is a group of version 2 that is ours to divide.
func delegated(t *testing.T, change map[string]string) Host {
	t.Helper()
	files := map[string]string{
		"cg/d/cgroup.type": "domain\n", "cg/d/cgroup.controllers": "memory\n", "cg/d/cgroup.subtree_control": "",
		"cg/d/cgroup.procs": strconv.Itoa(os.Getpid()) + "\n", "cg/d/dockless-agent/cgroup.procs": "",
		"cg/d/dockless.agent.job/cgroup.subtree_control": "", "cg/d/memory.max": "max\n", "cg/memory.max": "max\n",
	}
	for name, text := range change {
		if files["cg/d/"+name] = text; text == "-" {
			delete(files, "cg/d/"+name)
		}
	}
	return fake(t, "0::/d\n", v2Mount, files)
}

func TestTheAgentMovesIntoALeafOfItsGroup(t *testing.T) {
	h := delegated(t, nil)
	j := Open(h, "agent", "job")
	if j.Why() != nil {
		t.Fatal(j.Why())
	}
	d := filepath.Join(h.Root, "cg/d")
	for file, want := range map[string]string{
		"cgroup.subtree_control": "+memory", "dockless-agent/cgroup.procs": strconv.Itoa(os.Getpid()), "dockless.agent.job/cgroup.subtree_control": "+memory",
	} {
		if got := contents(t, filepath.Join(d, file)); got != want {
			t.Errorf("%s = %q, want %q", file, got, want)
		}
	}
	g := j.Step("step-1")
	for file, text := range map[string]string{"memory.peak": "327155712\n", "cpu.stat": "usage_usec 4200000\nuser_usec 1\n", "memory.events": "oom_kill 0\n"} {
		write(t, filepath.Join(d, "dockless.agent.job/step-1", file), text)
	}
	if diff := cmp.Diff(Usage{Memory: 312 << 20, CPU: 4200 * time.Millisecond, Measure: Together}, g.Close()); diff != "" {
		t.Errorf("usage (-want +got):\n%s", diff)
	}
	// The next job of the same agent finds the agent in its leaf.
	write(t, filepath.Join(h.Proc, "cgroup"), "0::/d/dockless-agent\n")
	write(t, filepath.Join(d, "cgroup.subtree_control"), "memory\n")
	write(t, filepath.Join(d, name("agent", "next"), "cgroup.subtree_control"), "")
	if next := Open(h, "agent", "next"); next.Why() != nil || next.trees[0].group != filepath.Join(d, "dockless.agent.next") {
		t.Errorf("the next job: %v, %+v", next.Why(), next.trees)
	}
}

func TestAGroupThatIsNotOursAloneIsNotDivided(t *testing.T) {
	for name, c := range map[string]struct {
		change map[string]string
		want   string
	}{
		"another process":             {map[string]string{"cgroup.procs": strconv.Itoa(os.Getpid()) + "\n1\n"}, "process 1 is in"},
		"a process of another pod":    {map[string]string{"cgroup.procs": "0\n" + strconv.Itoa(os.Getpid())}, "process 0 is in"},
		"somebody's groups":           {map[string]string{"init.scope/cgroup.procs": ""}, "somebody else has divided"},
		"memory not delegated":        {map[string]string{"cgroup.controllers": "cpu pids\n"}, "the memory controller is not delegated"},
		"threads":                     {map[string]string{"cgroup.type": "threaded\n"}, "no group that can be divided"},
		"the machine's root":          {map[string]string{"cgroup.type": "-"}, "no group that can be divided"},
		"controllers not to be given": {map[string]string{"cgroup.subtree_control": "-"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			h := delegated(t, c.change)
			if why := Open(h, "agent", "job").Why(); why == nil || !strings.Contains(why.Error(), c.want) {
				t.Errorf("Why = %v, want %q", why, c.want)
			}
			if got := contents(t, filepath.Join(h.Root, "cg/d/dockless-agent/cgroup.procs")); got != "" {
				t.Errorf("the agent moved: %q", got)
			}
		})
	}
}

// Root may write the groups of every unit; systemd says which of them are ours.
func TestAUnitThatSystemdKeepsIsNotDivided(t *testing.T) {
	h := delegated(t, map[string]string{"agent.service/cgroup.type": "domain\n", "agent.service/cgroup.controllers": "memory\n"})
	write(t, filepath.Join(h.Proc, "cgroup"), "0::/d/agent.service\n")
	if why := Open(h, "agent", "job").Why(); why == nil || !strings.Contains(why.Error(), "Delegate=yes") {
		t.Errorf("Why = %v, want that the unit is not delegated", why)
	}
	dir := filepath.Join(h.Root, "cg/d/agent.service")
	if err := unix.Setxattr(dir, "user.delegate", []byte("1"), 0); err != nil {
		t.Logf("no attributes of users in %s, so only the refusal is tested: %v", dir, err)
		return
	}
	if !handedOver(dir) {
		t.Error("a delegated unit counts as kept")
	}
}

// Linux before 5.19 keeps no peak of a group.
func TestWithoutAPeakTheMemoryIsLookedAt(t *testing.T) {
	h := delegated(t, map[string]string{"dockless.agent.job/s/memory.current": "1000\n"})
	j := Open(h, "agent", "job")
	dir := filepath.Join(h.Root, "cg/d/dockless.agent.job/s")
	w := newWatch(j.memory, dir)
	if w == nil {
		t.Fatalf("nothing watches %s", dir)
	}
	write(t, filepath.Join(dir, "memory.current"), "5000000\n")
	deadline := time.Now().Add(5 * time.Second)
	for w.most.Load() != 5000000 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	write(t, filepath.Join(dir, "memory.current"), "2000\n")
	w.stop()
	if got, ok := w.peak(); got != 5000000 || !ok {
		t.Errorf("peak = %d, %v, want 5000000", got, ok)
	}
}

func TestTheKernelsLogNamesWhatWasEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	const format = "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=%s,task=%s,pid=7,uid=0\n"
	write(t, path, fmt.Sprintf(format, "/a/step-1", "earlier"))
	l := openKernelLog(path)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range [][2]string{{"/a/step-1", "node"}, {"/a/step-2", "other"}, {"/outer/a/step-1", "a,pid=1 b"}} {
		if _, err := fmt.Fprintf(f, format+"3,1,2,-;Memory cgroup out of memory: Killed process 7\n SUBSYSTEM=x\n", v[0], v[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what was read is remembered
		if diff := cmp.Diff([]string{"node", "a,pid=1 b"}, l.victims("/a/step-1")); diff != "" {
			t.Errorf("victims (-want +got):\n%s", diff)
		}
	}
	l.close()
	if got := openKernelLog(filepath.Join(t.TempDir(), "none")).victims("/a"); got != nil {
		t.Errorf("victims without a log = %q", got)
	}
}

func TestTheLimitThatWasHitIsNamedWithItsOwner(t *testing.T) {
	h := fake(t, "4:memory:/system.slice/agent.service\n", strings.ReplaceAll(v1Mounts, "ROOT", "/"), map[string]string{
		"cg/memory/memory.limit_in_bytes": "9223372036854771712\n", "cg/memory/memory.failcnt": "0\n",
		"cg/memory/system.slice/memory.limit_in_bytes": "1000\n", "cg/memory/system.slice/memory.failcnt": "3\n",
		"cg/memory/system.slice/agent.service/memory.limit_in_bytes": "2000\n", "cg/memory/system.slice/agent.service/memory.failcnt": "0\n",
		"cg/memory/system.slice/agent.service/memory.use_hierarchy": "0\n",
	})
	j := Open(h, "agent", "job")
	if why := j.Why(); why == nil || !strings.Contains(why.Error(), "do not hold") {
		t.Errorf("Why = %v, want that groups would escape the limit", why)
	}
	if got := j.memory.hit(j.bounds); got != (Limit{}) {
		t.Errorf("limit = %+v although none was run into", got)
	}
	write(t, filepath.Join(h.Root, "cg/memory/system.slice/memory.failcnt"), "4\n")
	if got, want := j.memory.hit(j.bounds), (Limit{1000, "/system.slice"}); got != want {
		t.Errorf("limit = %+v, want %+v", got, want)
	}
	if err := os.Remove(filepath.Join(h.Root, "cg/memory/system.slice/memory.failcnt")); err != nil {
		t.Fatal(err)
	}
	if got, want := j.memory.hit(j.bounds), (Limit{1000, "/system.slice"}); got != want {
		t.Errorf("limit = %+v where the kernel does not say which, want the smallest", got)
	}
	id := strings.Repeat("0123456789ab", 3)
	for group, want := range map[string]string{
		"/": "the container's memory limit", "/docker/" + id: "the container's memory limit",
		"/kubepods/burstable/pod" + id + "/" + id: "the container's memory limit", "/kubepods/burstable/pod" + id: "the pod's memory limit",
		"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + id + ".slice": "the pod's memory limit",
		"/system.slice/dockless.service": "the MemoryMax= of dockless.service", "/lab": `the memory limit of control group "/lab"`,
	} {
		if got := (Limit{1, group}).By(); got != want {
			t.Errorf("the limit of %s was set by %q, want %q", group, got, want)
		}
	}
}
