package integration_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/buildkitconf"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/test/rig"
)

const megabyte = 1 << 20

// smallDisk starts a buildkitd on a volume of 160 MB that collects nothing by
// itself, as it does between two builds, and returns a builder on it.
func smallDisk(t *testing.T) (*rig.Buildkitd, *buildxsetup.Builder) {
	t.Helper()
	daemon := rig.NeedBuildkitd(t, rig.BuildkitdOptions{Disk: 160 * megabyte, Extra: "\n[worker.oci.labels]\n  disk = \"small\"\n"})
	b := needBuilder(t, buildxsetup.Config{Hosts: daemon.Addr(), Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()})
	return daemon, b
}

// buildOf builds an image of that many megabytes that nothing can compress. It
// lies twice on the disk of the builder, as context and as layer.
func buildOf(t *testing.T, b *buildxsetup.Builder, o imagebuild.Options, megabytes int) error {
	t.Helper()
	content := make([]byte, megabytes*megabyte)
	if _, err := rand.Read(content); err != nil {
		t.Fatal(err)
	}
	dir := writeTree(t, map[string]string{"Dockerfile": "FROM scratch\nCOPY content /\n", "content": string(content)})
	_, err := imagebuild.New(b, buildLog(t), o).Build(t.Context(), imagebuild.Request{Context: dir, Outputs: []imagebuild.Output{{Type: "cacheonly"}}}, imagebuild.Progress{})
	return err
}

func needGate(t *testing.T, c buildxsetup.GateConfig) imagebuild.Options {
	t.Helper()
	g := buildxsetup.NewGate(c, buildLog(t))
	t.Cleanup(g.Close)
	return imagebuild.Options{Gate: g.Admit, Watch: g.Watch, Full: g.Relieve}
}

// keepBuilding fills the disk with builds of 25 MB until one fails, and returns how
// many succeeded.
func keepBuilding(t *testing.T, b *buildxsetup.Builder, o imagebuild.Options, most int) (int, error) {
	t.Helper()
	for i := range most {
		if err := buildOf(t, b, o, 25); err != nil {
			return i, err
		}
	}
	return most, nil
}

func TestWithoutTheGateADiskFillsUp(t *testing.T) {
	_, b := smallDisk(t)
	built, err := keepBuilding(t, b, imagebuild.Options{}, 6)
	if err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Fatalf("after %d builds: %v, want a full disk", built, err)
	}
	if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, "builder prune") {
		t.Errorf("its hints are %q, want one that says how to free it", hints)
	}
}

func TestTheGateKeepsTheDiskFromFillingUp(t *testing.T) {
	daemon, b := smallDisk(t)
	v, err := b.Nodes[0].Volume(t.Context())
	if err != nil || v.Size < 150*megabyte || v.Size > 170*megabyte || v.Type != "tmpfs" {
		t.Fatalf("the disk of a buildkitd on this machine is %+v, %v", v, err)
	}
	o := needGate(t, buildxsetup.GateConfig{})
	if built, err := keepBuilding(t, b, o, 6); err != nil {
		log, _ := os.ReadFile(daemon.Log()) // shown as far as it is there
		t.Fatalf("after %d builds: %v (hints %q)\n%s", built, err, hint.All(err), log)
	}
}

func TestABuildThatFillsTheDiskIsStoppedAndMakesRoomForTheNext(t *testing.T) {
	_, b := smallDisk(t)
	o := needGate(t, buildxsetup.GateConfig{MinFree: 40 * megabyte})
	o.Gate = nil // no look before: as if the disk filled up since
	built, err := keepBuilding(t, b, o, 6)
	if err == nil {
		t.Fatal("the disk did not fill up")
	}
	if built < 1 || !buildxsetup.IsFull(err) {
		t.Errorf("after %d builds: %v, want it to be stopped for a full disk", built, err)
	}
	if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, "of cache were removed from node dockless0") {
		t.Errorf("its hints are %q, want what was removed", hints)
	}
	if err := buildOf(t, b, o, 15); err != nil {
		t.Errorf("the next build: %v", err)
	}
}

func TestADiskThatStaysFullIsRefusedWithAHint(t *testing.T) {
	daemon, b := smallDisk(t)
	filler := make([]byte, megabyte)
	f, err := os.Create(filepath.Join(daemon.Root(), "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(filler)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	err = buildOf(t, b, needGate(t, buildxsetup.GateConfig{}), 1)
	if !buildxsetup.IsFull(err) || !strings.Contains(err.Error(), "the disk of node dockless0 is full: ") || !strings.Contains(err.Error(), "by what is not build cache") {
		t.Errorf("building = %v, want a full disk and who fills it", err)
	}
	if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, "remove what else is on the node's disk") || !strings.Contains(hints, "DOCKLESS_BUILDER_MIN_FREE") {
		t.Errorf("the hints are %q", hints)
	}
	// The setting decides.
	if err := os.Truncate(f.Name(), 100*megabyte); err != nil {
		t.Fatal(err)
	}
	if err := buildOf(t, b, needGate(t, buildxsetup.GateConfig{MinFree: 100 * megabyte}), 1); !buildxsetup.IsFull(err) {
		t.Errorf("building with 60 MB free where 100 MB are asked for = %v", err)
	}
	if err := buildOf(t, b, needGate(t, buildxsetup.GateConfig{MinFree: 10 * megabyte}), 1); err != nil {
		t.Errorf("building with 60 MB free where 10 MB are asked for = %v", err)
	}
}

func TestTheGeneratedPolicyIsInForce(t *testing.T) {
	bin := rig.NeedBin(t, "buildkitd")
	state, err := os.MkdirTemp("", "gc") //nolint:usetesting // a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	for _, size := range []string{"20GB", "100GB"} {
		bytesOf, err := buildkitconf.ParseSize(size)
		if err != nil {
			t.Fatal(err)
		}
		addr := "unix://" + filepath.Join(state, size+".sock")
		text, err := buildkitconf.Generate(bytesOf, buildkitconf.Options{Root: filepath.Join(state, size), Addresses: []string{addr}, Snapshotter: "overlayfs"})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(state, size+".toml")
		if err := os.WriteFile(file, []byte(text+"\n[cdi]\n  disabled = true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cmd := exec.CommandContext(ctx, bin, "--config", file)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		var log bytes.Buffer
		cmd.Stderr = &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		b, err := buildxsetup.Ensure(ctx, buildxsetup.Config{Hosts: addr, Name: "dockless", Timeout: 20 * time.Second, DockerConfig: t.TempDir()}, buildLog(t))
		if err == nil {
			policy := b.Nodes[0].Workers[0].GC
			most, free := buildkitconf.Ceiling(policy)
			if len(policy) != 5 || most != bytesOf*3/4 || free != bytesOf*3/20 || !policy[4].All || policy[4].KeepDuration != 0 {
				t.Errorf("for %s buildkitd has the policy %+v", size, policy)
			}
			for _, f := range buildkitconf.LintRunning(policy, b.Nodes[0].Workers[0].Labels, buildkitconf.Volume{Size: bytesOf}) {
				t.Errorf("for %s: %s", size, f.Text)
			}
		} else {
			t.Errorf("for %s: %v\n%s", size, err, &log)
		}
		cancel()
		_ = cmd.Wait() // ended by a signal
	}
}

func TestDoctorAndPruneOnARealBuilder(t *testing.T) {
	daemon, b := smallDisk(t)
	if err := buildOf(t, b, imagebuild.Options{}, 10); err != nil {
		t.Fatal(err)
	}
	p, err := b.Prune(t.Context(), buildxsetup.PruneOptions{DryRun: true, Filters: []string{"type=source.local", "description~=context"}})
	if err != nil || len(p) != 1 || p[0].Bytes < 10*megabyte {
		t.Errorf("a dry run would prune %+v, %v, want the context", p, err)
	}
	would := len(p[0].Records)
	if p, err = b.Prune(t.Context(), buildxsetup.PruneOptions{Filters: []string{"type=source.local", "description~=context"}}); err != nil || len(p[0].Records) != would {
		t.Errorf("pruning removed %d records, %v; the dry run told of %d", len(p[0].Records), err, would)
	}
	s := b.Inspect(t.Context())[0]
	if s.Err != nil || s.Usage.Bytes < 10*megabyte || s.Volume.Size == 0 || s.Latency <= 0 || len(s.Usage.Types) == 0 {
		t.Errorf("Inspect() = %+v", s)
	}
	program := rig.NeedBin(t, "dockless")
	cmd := exec.CommandContext(t.Context(), program, "doctor", "--output", "json")
	cmd.Env = []string{"BUILDKIT_HOST=" + daemon.Addr(), "DOCKER_CONFIG=" + t.TempDir(), "HOME=" + t.TempDir()}
	out, err := cmd.Output()
	var got struct {
		Checks []struct{ Name, Status, Detail string }
	}
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil {
		t.Fatalf("doctor: %v, %v\n%s", err, jsonErr, out)
	}
	want := map[string]string{"node dockless0": "ok", "node dockless0 snapshotter": "ok", "node dockless0 disk": "ok", "node dockless0 cache": "ok"}
	for _, c := range got.Checks {
		if status, ok := want[c.Name]; ok && status == c.Status {
			delete(want, c.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("doctor says\n%s\nwant %v", out, want)
	}
}

func TestAnOwnBuildkitdGivesUpACacheThatWedgesIt(t *testing.T) {
	bin, runc := filepath.Dir(rig.NeedBin(t, "buildkitd")), filepath.Dir(rig.NeedBin(t, "runc"))
	t.Setenv("PATH", strings.Join([]string{bin, runc, os.Getenv("PATH")}, string(os.PathListSeparator)))
	state, err := os.MkdirTemp("", "own") //nolint:usetesting // a socket's path has at most 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(state, unix.MNT_DETACH), os.RemoveAll(state)); err != nil {
			t.Error(err)
		}
	})
	c := buildxsetup.Config{Name: "dockless", Timeout: 30 * time.Second, DockerConfig: t.TempDir(), StateDir: state}
	b, err := buildxsetup.Ensure(t.Context(), c, buildLog(t))
	if err != nil {
		t.Fatal(err)
	}
	if most, _ := buildkitconf.Ceiling(b.Nodes[0].Workers[0].GC); most != 80*megabyte {
		t.Errorf("its cache has a ceiling of %d bytes, want half of the disk", most)
	}
	_, full := keepBuilding(t, b, imagebuild.Options{}, 6)
	if err := b.Close(t.Context()); err != nil || full == nil {
		t.Fatalf("closing: %v; the disk filled up with %v", err, full)
	}
	second := needBuilder(t, c)
	if err := buildOf(t, second, imagebuild.Options{}, 25); err != nil {
		t.Errorf("building after a new start: %v", err)
	}
}
