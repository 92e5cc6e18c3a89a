package buildxsetup

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

func TestFiltersAreBuildxs(t *testing.T) {
	for in, want := range map[string]string{
		"type=exec.cachemount":             `type=="exec.cachemount"`,
		"type==regular inuse":              `type=="regular",inuse`,
		"id=abc":                           `id~="abc"`,
		"description~=COPY mutable shared": `description~="COPY",mutable,shared`,
		"type!=regular private immutable":  `type!="regular",private,immutable`,
		`description=a"b`:                  `description=="a\"b"`,
		"parents=x until=24h":              `parents=="x"`,
		"unused-for=24h":                   ``,
	} {
		filters, age, err := parseFilters(strings.Fields(in))
		if got := strings.Join(filters, "|"); err != nil || got != want || strings.Contains(in, "24h") != (age == 24*time.Hour) {
			t.Errorf("parseFilters(%q) = %q, %s, %v, want %q", in, got, age, err, want)
		}
	}
	for _, in := range []string{"", "=", "colour=red", "type", "type=", "inuse=true", "until", "until=x", "until=-1h", "until=1h until=2h"} {
		list := strings.Fields(in)
		if in == "" {
			list = []string{""}
		}
		if filters, age, err := parseFilters(list); err == nil {
			t.Errorf("parseFilters(%q) = %q, %s, want an error", in, filters, age)
		}
	}
}

func FuzzFilters(f *testing.F) {
	for _, seed := range []string{"type=x", "inuse", "id~=\"", "until=1h", "description!=\x00\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		filters, _, err := parseFilters([]string{filter})
		if err == nil && len(filters) > 1 {
			t.Errorf("parseFilters(%q) = %q, want one that joins all", filter, filters)
		}
	})
}

func TestWhatBuildsNeededLatelyIsWanted(t *testing.T) {
	const gb = 1 << 30
	g := NewGate(GateConfig{}, slog.New(slog.DiscardHandler))
	v := buildkitconf.Volume{Size: 100 * gb, Free: 60 * gb}
	d := newDisk(diskMemory{})
	now := time.Now()
	wanted := func(n Node) int64 { return g.wanted(n, v, d.known()) }
	if want := wanted(Node{}); want != 10*gb {
		t.Errorf("of a disk that nothing is known of, %s should be free, want a tenth", buildkitconf.Human(want))
	}
	d.learn(20*gb, now.Add(-time.Minute), now)
	if want := wanted(Node{}); want != 30*gb {
		t.Errorf("after a build of 20GB, %s should be free, want 30GB", buildkitconf.Human(want))
	}
	small := Node{Workers: []Worker{{GC: []client.PruneInfo{{All: true, MaxUsedSpace: 25 * gb}}}}}
	if want := wanted(small); want != 25*gb {
		t.Errorf("where the cache may have 25GB, %s should be free", buildkitconf.Human(want))
	}
	// In two hours anybody may have written anything.
	if d.learn(40*gb, now.Add(-2*time.Hour), now) || d.learn(0, now, now) || d.learn(-gb, now, now) {
		t.Error("something is learnt from a build that took hours or needed nothing")
	}
	for range keptGrowths {
		d.learn(gb/2, now, now)
	}
	if m := d.known(); m.growth() != gb/2 || len(m.Growth) != keptGrowths {
		t.Errorf("after %d small builds the growth is %s", keptGrowths, buildkitconf.Human(m.growth()))
	}
	d.learn(70*gb, now, now)
	if want := wanted(Node{}); want != 50*gb {
		t.Errorf("after a huge build, %s should be free, want half of the disk at most", buildkitconf.Human(want))
	}
	if least := g.least(v); least != 2*gb {
		t.Errorf("at least %s have to be free", buildkitconf.Human(least))
	}
	if least := g.least(buildkitconf.Volume{Size: 10 * gb}); least != 10*gb/50 {
		t.Errorf("at least %s of 10GB have to be free", buildkitconf.Human(least))
	}
	g.config.MinFree = 5 * gb
	if least := g.least(v); least != 5*gb {
		t.Errorf("at least %s have to be free, 5GB were set", buildkitconf.Human(least))
	}
}

func TestAFullDiskStopsABuildAtOnceThoughItsNodeHangs(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "unix", filepath.Join(t.TempDir(), "s")) // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	g := NewGate(GateConfig{MinFree: 1 << 60}, slog.New(slog.DiscardHandler))
	t.Cleanup(g.Close)
	ctx, stop := g.watch(t.Context(), Node{Name: "n0", Endpoint: "unix://" + l.Addr().String()}, t.TempDir())
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Error("the build goes on")
	}
	if err := context.Cause(ctx); !IsFull(err) || !strings.HasPrefix(err.Error(), "the disk of node n0 is full: ") {
		t.Errorf("the cause is %v", err)
	}
	begun := time.Now()
	stop()
	stop()
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestTheEndOfABuildForgetsThatNothingCouldBeRemoved(t *testing.T) {
	g := NewGate(GateConfig{MinFree: 1}, slog.New(slog.DiscardHandler))
	t.Cleanup(g.Close)
	n := Node{Name: "n0", Endpoint: "unix:///nowhere"}
	d := g.disk(n)
	d.setBarren(time.Now())
	ctx, stop := g.watch(t.Context(), n, t.TempDir())
	if ctx.Err() != nil || !d.isBarren(time.Now(), true) {
		t.Errorf("at its start: %v", ctx.Err())
	}
	stop()
	if d.isBarren(time.Now(), true) {
		t.Error("what the build left is not looked for")
	}
}

func TestACanceledBuildDoesNotWaitForRoom(t *testing.T) {
	d := newDisk(diskMemory{})
	if err := d.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("the job was canceled")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	g := NewGate(GateConfig{}, slog.New(slog.DiscardHandler))
	if err := d.lock(ctx); !errors.Is(err, cause) {
		t.Errorf("lock() = %v, want the cause", err)
	}
	if _, err := g.roomFor(ctx, Node{}, d); !errors.Is(err, cause) {
		t.Errorf("roomFor() = %v, want the cause", err)
	}
	if err := g.ask(ctx, Node{}, d); !errors.Is(err, cause) {
		t.Errorf("ask() = %v, want the cause", err)
	}
	d.unlock()
	if err := d.lock(t.Context()); err != nil {
		t.Errorf("lock() after unlock() = %v", err)
	}
}

func TestABarrenDiskIsLeftAloneForAWhile(t *testing.T) {
	d, now := newDisk(diskMemory{}), time.Now()
	if d.isBarren(now, true) {
		t.Error("a disk that nothing is known of is barren")
	}
	d.setBarren(now)
	for name, test := range map[string]struct {
		arrived   time.Time
		startable bool
		want      bool
	}{
		"it starts all the same":           {now.Add(time.Second), true, true},
		"it waited meanwhile":              {now.Add(-time.Second), false, true},
		"it would be refused for old news": {now.Add(time.Second), false, false},
	} {
		if got := d.isBarren(test.arrived, test.startable); got != test.want {
			t.Errorf("%s: isBarren() = %t", name, got)
		}
	}
	d.setBarren(now.Add(-barrenFor))
	if d.isBarren(now, true) {
		t.Error("it is barren for good")
	}
}

func TestAMemoryThatIsBrokenOrOldIsNone(t *testing.T) {
	n := Node{Name: "n0", Endpoint: "tcp://a:1"}
	old := time.Now().Add(-staleAfter - time.Hour).Format(time.RFC3339)
	for name, content := range map[string]string{
		"broken":      `{"at":`,
		"stale":       `{"at":"` + old + `","near":true}`,
		"from beyond": `{"at":"2999-01-01T00:00:00Z","near":true}`,
		"empty":       ``,
	} {
		g := NewGate(GateConfig{Dir: t.TempDir()}, slog.New(slog.DiscardHandler))
		if err := os.WriteFile(g.file(n), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if m := g.load(n); m.Near || !m.At.IsZero() {
			t.Errorf("%s: load() = %+v, want none", name, m)
		}
	}
	// A directory that cannot be written costs nothing but the memory.
	g := NewGate(GateConfig{Dir: "/dev/null/x"}, slog.New(slog.DiscardHandler))
	g.keep(n, g.disk(n))
}

func TestFlagsOfACommandLine(t *testing.T) {
	args := []string{"buildkitd", "--addr", "unix:///s", "-root=/a", "--config", "/c.toml", "--debug"}
	for name, want := range map[string]string{"root": "/a", "config": "/c.toml", "debug": "", "addr": "unix:///s", "oci": ""} {
		if got := flagOf(args, name); got != want {
			t.Errorf("flagOf(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestADiskElsewhereCannotBeSeen(t *testing.T) {
	for _, endpoint := range []string{"tcp://127.0.0.1:1", "unix:///nowhere"} {
		if v, err := (Node{Endpoint: endpoint}).Volume(t.Context()); !errors.Is(err, errElsewhere) {
			t.Errorf("Volume() of %s = %+v, %v", endpoint, v, err)
		}
	}
}

func TestAnOwnBuildkitdHasLimitsForItsDisk(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	file := ownConfig(t.Context(), dir, true, slog.New(slog.DiscardHandler))
	text, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(text), "maxUsedSpace") || !strings.Contains(string(text), "rootless = true") {
		t.Errorf("the configuration is %q, %v", text, err)
	}
	if findings := buildkitconf.Lint(string(text), buildkitconf.Surroundings{}); slices.ContainsFunc(findings, func(f buildkitconf.Finding) bool { return f.Level > buildkitconf.Remark }) {
		t.Errorf("it has %+v", findings)
	}
	// A configuration of the machine says more than we know.
	theirs := filepath.Join(dir, "config", "buildkit", "buildkitd.toml")
	if err := os.MkdirAll(filepath.Dir(theirs), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(theirs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if file := ownConfig(t.Context(), dir, true, slog.New(slog.DiscardHandler)); file != "" {
		t.Errorf("beside theirs, ours is %s", file)
	}
}

func TestUsageIsSummedUpByType(t *testing.T) {
	u := usageOf([]*client.UsageInfo{
		{ID: "a", Size: 5, RecordType: "regular"},
		{ID: "b", Size: 7, RecordType: "exec.cachemount", InUse: true},
		{ID: "c", Size: 3},
		{ID: "d", Size: 0, RecordType: "frontend"},
	})
	if u.Bytes != 15 || u.Records != 4 || u.Reclaimable != 8 || len(u.Types) != 3 || u.Types[0].Type != "regular" || u.Types[0].Bytes != 8 || u.Types[1].Reclaimable != 0 || u.Biggest[0].ID != "b" {
		t.Errorf("usageOf() = %+v", u)
	}
}

func TestTheErrorOfAFullDiskSaysWhoUsesIt(t *testing.T) {
	const gb = 1 << 30
	for want, e := range map[string]FullError{
		"the disk of node n is full: 1GB of 100GB free; used: 90GB by build cache that is in use, 9GB by what is not build cache": {Node: "n", Free: gb, Size: 100 * gb, Cache: 90 * gb, Others: 9 * gb},
		"the disk of node n is full: 1GB of 100GB free":                                        {Node: "n", Free: gb, Size: 100 * gb},
		"the disk of node n is full: 0B of 100GB free; used: 100GB by what is not build cache": {Node: "n", Size: 100 * gb, Others: 100 * gb},
	} {
		if got := e.Error(); got != want {
			t.Errorf("Error() = %q, want %q", got, want)
		}
	}
}

func TestTheSettingOfTheGate(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "2GB": 2 << 30} {
		if g, err := (Config{MinFree: text}).Gate(); err != nil || g == nil || g.MinFree != want {
			t.Errorf("Gate() of %q = %+v, %v", text, g, err)
		}
	}
	if g, err := (Config{MinFree: "off"}).Gate(); err != nil || g != nil {
		t.Errorf("Gate() of off = %+v, %v", g, err)
	}
	for _, text := range []string{"much", "0", "-1GB"} {
		if _, err := (Config{MinFree: text}).Gate(); err == nil {
			t.Errorf("Gate() of %q has no error", text)
		}
	}
}
