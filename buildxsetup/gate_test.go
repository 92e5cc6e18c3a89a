package buildxsetup_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/buildxsetup"
)

// The fake buildkitd of these tests listens on this machine, but its process is
// not called buildkitd: its disk is one that cannot be seen. test/integration has
// those that can.

// elsewhere returns a node whose buildkitd removes what f says it uses.
func elsewhere(t *testing.T, f *fakeBuildkitd) buildxsetup.Node {
	t.Helper()
	return buildxsetup.Node{Name: "n0", Endpoint: startFake(t, f, filepath.Join(t.TempDir(), "s"))}
}

func gateIn(t *testing.T, dir string) *buildxsetup.Gate {
	t.Helper()
	g := buildxsetup.NewGate(buildxsetup.GateConfig{Dir: dir}, slog.New(slog.DiscardHandler))
	t.Cleanup(g.Close)
	return g
}

func admit(t *testing.T, g *buildxsetup.Gate, n buildxsetup.Node) {
	t.Helper()
	if err := g.Admit(t.Context(), n); err != nil {
		t.Fatalf("Admit() = %v", err)
	}
}

// asked takes the requests of one making of room.
func asked(t *testing.T, f *fakeBuildkitd) (last *controlapi.PruneRequest) {
	t.Helper()
	const stages = 3
	for range stages {
		select {
		case last = <-f.pruned:
		case <-time.After(time.Minute):
			t.Fatal("the node was not asked to make room")
		}
	}
	return last
}

func TestANodeElsewhereMakesRoomBesideTheBuild(t *testing.T) {
	f := &fakeBuildkitd{pruned: make(chan *controlapi.PruneRequest)} // each request waits for the test
	n := elsewhere(t, f)
	dir := t.TempDir()
	g := gateIn(t, dir)
	admit(t, g, n) // returns although nobody takes the request
	req := asked(t, f)
	if req.MinFreeSpace <= 0 || req.MaxUsedSpace < 1<<60 {
		t.Errorf("the node is asked with %+v, want a free space alone", req)
	}
	awaitFile(t, dir)
	admit(t, g, n) // nothing had to go, and that is fresh: no question
	admit(t, gateIn(t, dir), n)
	select {
	case req := <-f.pruned:
		t.Errorf("the node was asked again at once: %+v", req)
	case <-time.After(50 * time.Millisecond):
	}
}

// awaitFile waits until the gate has kept what it learnt.
func awaitFile(t *testing.T, dir string) {
	t.Helper()
	for range 500 {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) == 1 && strings.HasSuffix(entries[0].Name(), ".json") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the gate kept nothing")
}

func TestABuildWaitsForRoomWhereTheLastOneNeededIt(t *testing.T) {
	f := &fakeBuildkitd{usage: []*controlapi.UsageRecord{{ID: "a", Size: 100}}, pruned: make(chan *controlapi.PruneRequest, 3)}
	n := elsewhere(t, f)
	dir := t.TempDir()
	g := gateIn(t, dir)
	admit(t, g, n)
	asked(t, f)
	awaitFile(t, dir)
	later := gateIn(t, dir)
	admit(t, later, n)
	if len(f.pruned) != 3 {
		t.Errorf("the next process's build started after %d questions, want it to wait for all 3", len(f.pruned))
	}
}

func TestADiskThatCannotBeSeenHasRoom(t *testing.T) {
	n := elsewhere(t, &fakeBuildkitd{})
	var none *buildxsetup.Gate
	for name, g := range map[string]*buildxsetup.Gate{"a gate": gateIn(t, t.TempDir()), "no gate": none} {
		if err := g.Room(t.Context(), n); err != nil {
			t.Errorf("%s: Room() = %v, want nil", name, err)
		}
	}
}

func TestTheGateHoldsUpNoBuildOfADeadNode(t *testing.T) {
	g := gateIn(t, "")
	start := time.Now()
	admit(t, g, buildxsetup.Node{Name: "n0", Endpoint: "tcp://127.0.0.1:1"})
	g.Close()
	g.Close()
	admit(t, g, buildxsetup.Node{Name: "n0", Endpoint: "tcp://127.0.0.1:1"}) // after its end it asks nobody
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestClosingTheGateEndsAQuestionThatHangs(t *testing.T) {
	f := &fakeBuildkitd{pruned: make(chan *controlapi.PruneRequest)} // nobody takes it
	n := elsewhere(t, f)
	g := gateIn(t, "")
	admit(t, g, n)
	closed := make(chan struct{})
	go func() { defer close(closed); g.Close() }()
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("Close waits for a node that does not answer")
	}
	go func() { // the fake's handler, so that its server can stop
		for range f.pruned {
			continue
		}
	}()
	t.Cleanup(func() { close(f.pruned) })
}

func TestRelievingANodeSaysWhatWent(t *testing.T) {
	f := &fakeBuildkitd{usage: []*controlapi.UsageRecord{{ID: "a", Size: 1 << 20}}}
	n := elsewhere(t, f)
	if got, roomy := gateIn(t, "").Relieve(t.Context(), n, true); got != "3MB of cache were removed from node n0: try again" || roomy {
		t.Errorf("Relieve() = %q, %t", got, roomy)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, _ := gateIn(t, "").Relieve(ctx, n, true); !strings.HasPrefix(got, "no room could be made on node n0: ") {
		t.Errorf("Relieve() of a canceled build = %q", got)
	}
}

func TestWordsThatAStepPrintsRemoveNothing(t *testing.T) {
	f := &fakeBuildkitd{usage: []*controlapi.UsageRecord{{ID: "a", Size: 1 << 20}}, pruned: make(chan *controlapi.PruneRequest, 3)}
	if got, roomy := gateIn(t, "").Relieve(t.Context(), elsewhere(t, f), false); got != "" || roomy || len(f.pruned) != 0 {
		t.Errorf("Relieve() = %q, %t after %d questions, want none", got, roomy, len(f.pruned))
	}
}

func TestCacheInUseGoesOnlyForWhatABuildNeedsToStart(t *testing.T) {
	const gb = 1 << 30
	f := &fakeBuildkitd{pruned: make(chan *controlapi.PruneRequest, 3)}
	n := elsewhere(t, f)
	n.Workers = []buildxsetup.Worker{{GC: []client.PruneInfo{{All: true, MaxUsedSpace: 400 * gb, MinFreeSpace: 60 * gb}}}}
	admit(t, gateIn(t, ""), n)
	for i, want := range []int64{30 * gb, 30 * gb, 2 * gb} {
		select {
		case req := <-f.pruned:
			if req.MinFreeSpace != want || req.All != (i == 2) {
				t.Errorf("request %d asks for %d bytes free, all %t, want %d", i, req.MinFreeSpace, req.All, want)
			}
		case <-time.After(time.Minute):
			t.Fatal("the node was not asked")
		}
	}
}

func TestABuildDoesNotWaitWhereSparingWasEnough(t *testing.T) {
	f := &fakeBuildkitd{usage: []*controlapi.UsageRecord{{ID: "a", Size: 100}}, sparing: true, pruned: make(chan *controlapi.PruneRequest, 3)}
	n := elsewhere(t, f)
	dir := t.TempDir()
	g := gateIn(t, dir)
	admit(t, g, n)
	asked(t, f)
	awaitFile(t, dir)
	admit(t, gateIn(t, dir), n)
	if len(f.pruned) != 0 {
		t.Errorf("the next build waited for %d questions", len(f.pruned))
	}
}

func TestADryRunSparesWhatPruningSpares(t *testing.T) {
	f := &fakeBuildkitd{
		usage: []*controlapi.UsageRecord{
			{ID: "old", Size: 10, RecordType: "regular"},
			{ID: "used", Size: 20, InUse: true, RecordType: "regular"},
			{ID: "front", Size: 30, RecordType: "frontend"},
			{ID: "shared", Size: 40, Shared: true, RecordType: "regular"},
		},
		pruned: make(chan *controlapi.PruneRequest, 1),
	}
	n := elsewhere(t, f)
	for name, test := range map[string]struct {
		o    buildxsetup.PruneOptions
		want string
	}{
		"plain":             {buildxsetup.PruneOptions{}, "old"},
		"all":               {buildxsetup.PruneOptions{All: true}, "front old shared"},
		"below the limit":   {buildxsetup.PruneOptions{MaxUsed: 101}, ""},
		"above the limit":   {buildxsetup.PruneOptions{All: true, MaxUsed: 75}, "front"},
		"reserved above it": {buildxsetup.PruneOptions{All: true, MaxUsed: 5, Reserved: 1000}, ""},
	} {
		test.o.DryRun = true
		p, err := n.Prune(t.Context(), test.o)
		if got := ids(p.Records); err != nil || got != test.want {
			t.Errorf("%s: Prune() = %q, %v, want %q", name, got, err, test.want)
		}
	}
	if len(f.pruned) != 0 {
		t.Error("a dry run asked the node to prune")
	}
	if _, err := n.Prune(t.Context(), buildxsetup.PruneOptions{DryRun: true, MinFree: 5}); err == nil {
		t.Error("a dry run knows the free space of a disk that it cannot see")
	}
}

func ids(records []*client.UsageInfo) string {
	var out []string
	for _, r := range records {
		out = append(out, r.ID)
	}
	return strings.Join(out, " ")
}
