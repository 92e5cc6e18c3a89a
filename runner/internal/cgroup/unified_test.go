//go:build linux

package cgroup

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// playAgent divides the group it is in, as an agent does, and starts a process. The
// controller is its argument: on a machine with both versions, version 2 has one
// that no other has, and the rules of the kernel are the same for each.
func playAgent() {
	proc, controller, crowded := os.Args[1], os.Args[2], len(os.Args) > 3
	fail := func(err error) { fmt.Println("error:", err); os.Exit(1) }
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		fail(err)
	}
	for line := range strings.Lines(string(own)) {
		if strings.HasPrefix(line, "0::") {
			err = os.WriteFile(filepath.Join(proc, "cgroup"), []byte(line), 0o600)
		}
	}
	if err != nil {
		fail(err)
	}
	if crowded {
		other := exec.Command("sleep", "60")
		if err := other.Start(); err != nil {
			fail(err)
		}
		defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	}
	j := open(Host{Proc: proc}, name("agent", "job"), controller)
	g := j.Step("step")
	cmd := exec.Command("bash", "-c", "cat /proc/self/cgroup")
	cmd.Stdout = os.Stdout
	if err := g.Start(cmd); err != nil {
		fail(err)
	}
	_ = cmd.Wait()
	g.Ended(cmd.ProcessState)
	for _, dir := range g.dirs {
		fmt.Println("controllers:", strings.TrimSpace(read(dir, "cgroup.controllers")))
	}
	u := g.Close()
	fmt.Println("measured:", u.CPU > 0, u.Memory > 0)
	_, err = j.Close(context.Background())
	now, _ := os.ReadFile("/proc/self/cgroup")
	fmt.Printf("agent: %s\nwhy: %v\nclose: %v\n", bytes.TrimSpace(now), j.Why(), err)
}

// The real rules of version 2, on a real hierarchy: of two groups made for the test,
// one holds an agent alone and one an agent with another process.
func TestTheKernelLetsTheAgentDivideItsGroup(t *testing.T) {
	mounts, err := mounted(Here())
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(mounts, func(m mount) bool { return m.unified && m.root == "/" })
	if at < 0 {
		t.Log("no hierarchy of version 2 here; the fake one in fake_test.go has to do")
		return
	}
	top := mounts[at].point
	enabled := strings.Fields(read(top, "cgroup.subtree_control"))
	controllers := strings.Fields(read(top, "cgroup.controllers"))
	i := slices.IndexFunc(controllers, func(c string) bool { return c == "memory" || c == "hugetlb" }) // no process beside groups, for both
	if i < 0 {
		t.Logf("version 2 has the controllers %q here; the fake one in fake_test.go has to do", controllers)
		return
	}
	controller := controllers[i]
	group := filepath.Join(top, fmt.Sprintf("dockless-test-%d", os.Getpid()))
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Logf("no groups can be made here, the fake one in fake_test.go has to do: %v", err)
		return
	}
	t.Cleanup(func() {
		if err := emptyWithin(t, group, ""); err != nil {
			t.Error(err)
		}
		if !slices.Contains(enabled, controller) {
			_ = put(top, "cgroup.subtree_control", "-"+controller)
		}
	})
	if !slices.Contains(enabled, controller) {
		if err := put(top, "cgroup.subtree_control", "+"+controller); err != nil {
			t.Logf("%s cannot be delegated here: %v", controller, err)
			return
		}
	}
	agent := func(args ...string) string {
		proc := t.TempDir()
		write(t, filepath.Join(proc, "mountinfo"), contents(t, "/proc/self/mountinfo"))
		dir, err := os.Open(group)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close() //nolint:errcheck // it is only read
		cmd := play("agent", append([]string{proc, controller}, args...)...)
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%v:\n%s", err, out)
		}
		return string(out)
	}
	here := "/" + filepath.Base(group)
	crowded := agent("crowded")
	for _, want := range []string{"0::" + here + "\n", "is in the agent's group", "measured: true true", "close: <nil>"} {
		if !strings.Contains(crowded, want) {
			t.Errorf("an agent with another process: no %q in\n%s", want, crowded)
		}
	}
	for try := range 2 { // the second agent finds what the first one left
		alone := agent()
		for _, want := range []string{"0::" + here + "/dockless.agent.job/step\n", "controllers: " + controller + "\n", "measured: true true", "0::" + here + "/" + Leaf, "why: <nil>", "close: <nil>"} {
			if !strings.Contains(alone, want) {
				t.Errorf("an agent that is alone, start %d: no %q in\n%s", try+1, want, alone)
			}
		}
		if err := put(group, "cgroup.subtree_control", "-"+controller); err != nil { // so that another can start there
			t.Error(err)
		}
	}
}
