package imagebuild

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

// node is one whose worker names platforms, the native one first; those pinned
// come after a bar: "linux/amd64,linux/arm64|linux/arm64".
func node(tb testing.TB, name, list string) buildxsetup.Node {
	tb.Helper()
	workers, pinned, isPinned := strings.Cut(list, "|")
	n := buildxsetup.Node{Name: name, Endpoint: "tcp://" + name + ":1234", Pinned: isPinned, Platforms: named(tb, workers)}
	n.Workers = []buildxsetup.Worker{{Platforms: n.Platforms}}
	if isPinned {
		n.Platforms = named(tb, pinned)
	}
	return n
}

func named(tb testing.TB, list string) []ocispecs.Platform {
	tb.Helper()
	var out []ocispecs.Platform
	for name := range strings.SplitSeq(list, ",") {
		if name == "" {
			continue
		}
		p, err := platforms.Parse(name)
		if err != nil {
			tb.Fatal(err)
		}
		out = append(out, platforms.Normalize(p))
	}
	return out
}

func TestEveryPlatformGoesToANodeThatRunsIt(t *testing.T) {
	const amd64, arm64 = "linux/amd64,linux/amd64/v2,linux/386,linux/arm64", "linux/arm64,linux/arm/v7,linux/amd64"
	for name, test := range map[string]struct {
		nodes  []string // by number
		dead   string   // numbers of those that do not answer
		wanted string
		want   string // node: platforms (emulated); …
		err    string
	}{
		"nothing asked is the only node's own":             {[]string{amd64}, "", "", "0:", ""},
		"nothing asked is the first node's own":            {[]string{arm64, amd64}, "", "", "0:", ""},
		"nothing asked, and the first node is dead":        {[]string{arm64, amd64}, "0", "", "1: linux/arm64 (linux/arm64)", ""},
		"nothing asked of a node that is pinned":           {[]string{amd64 + "|linux/arm64"}, "", "", "0: linux/arm64", ""},
		"native before emulated":                           {[]string{amd64, arm64}, "", "linux/arm64", "1: linux/arm64", ""},
		"a part for each node, in the order that is asked": {[]string{amd64, arm64}, "", "linux/arm64,linux/amd64", "1: linux/arm64; 0: linux/amd64", ""},
		"two platforms of one node are one part":           {[]string{amd64, arm64}, "", "linux/amd64,linux/arm64,linux/386", "0: linux/amd64,linux/386; 1: linux/arm64", ""},
		"emulated when nobody is native":                   {[]string{amd64}, "", "linux/amd64,linux/arm64", "0: linux/amd64,linux/arm64 (linux/arm64)", ""},
		"emulated when the native one is dead":             {[]string{amd64, arm64}, "1", "linux/arm64", "0: linux/arm64 (linux/arm64)", ""},
		"a pinned platform is native":                      {[]string{amd64, amd64 + "|linux/arm64"}, "", "linux/arm64,linux/amd64", "1: linux/arm64; 0: linux/amd64", ""},
		"a pinned node builds nothing else":                {[]string{amd64 + "|linux/arm64"}, "", "linux/amd64", "", "builds for linux/amd64; they offer linux/arm64"},
		"a variant":                                        {[]string{arm64, amd64}, "", "linux/arm/v7,linux/amd64/v2", "0: linux/arm/v7; 1: linux/amd64/v2", ""},
		"the native node is dead, and nobody emulates":     {[]string{"linux/amd64", "linux/arm64"}, "1", "linux/arm64", "", "they offer linux/amd64; no answer from 1"},
		"a builder without nodes":                          {nil, "", "", "", "has no nodes"},
		"some that nobody has":                             {[]string{amd64}, "", "linux/s390x,linux/amd64,linux/riscv64", "", "builds for linux/s390x,linux/riscv64"},
	} {
		t.Run(name, func(t *testing.T) {
			var all, alive []buildxsetup.Node
			for i, list := range test.nodes {
				n := node(t, fmt.Sprint(i), list)
				all = append(all, n)
				if !strings.Contains(test.dead, n.Name) {
					alive = append(alive, n)
				}
			}
			shares, err := route("b", all, alive, named(t, test.wanted), "key", nil)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || len(hint.All(err)) == 0 {
					t.Errorf("route() = %v, %v, want an error with %q and a hint", shares, err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var parts []string
			for _, s := range shares {
				var names []string
				for _, p := range s.wanted {
					names = append(names, platforms.FormatAll(p))
				}
				part := strings.TrimSpace(s.node.Name + ": " + strings.Join(names, ","))
				if len(s.emulated) > 0 {
					part += " (" + strings.Join(s.emulated, ",") + ")"
				}
				parts = append(parts, part)
			}
			if got := strings.Join(parts, "; "); got != test.want {
				t.Errorf("route() = %q, want %q", got, test.want)
			}
		})
	}
}

// A first node that was silent when the builder was made says nothing of platforms.
func TestBuildsSpreadWhileTheFirstNodeHasNeverAnswered(t *testing.T) {
	silent := buildxsetup.Node{Name: "n0", Endpoint: "tcp://n0:1234"}
	alive := []buildxsetup.Node{node(t, "n1", "linux/amd64"), node(t, "n2", "linux/amd64")}
	seen := make(map[string]int)
	for i := range 40 {
		shares, err := route("b", append([]buildxsetup.Node{silent}, alive...), alive, nil, fmt.Sprint("key", i), nil)
		if err != nil || len(shares) != 1 {
			t.Fatalf("route() = %+v, %v, want one share", shares, err)
		}
		seen[shares[0].node.Name]++
	}
	if seen["n1"] == 0 || seen["n2"] == 0 {
		t.Errorf("builds by node = %v, want both used", seen)
	}
}

func TestANodeIsKnownFromItsLastAnswer(t *testing.T) {
	b := &Builder{nodes: []buildxsetup.Node{{Name: "n0", Endpoint: "tcp://n0:1234"}, node(t, "n1", "linux/arm64")}}
	if got := asked(b.current(), nil); len(got) != 0 {
		t.Errorf("before its answer the first node is for %v, want nothing known", got)
	}
	b.fleet.leaveOut("n0")
	b.fleet.meet(node(t, "n0", "linux/amd64"))
	nodes := b.current()
	if got := asked(nodes, nil); len(got) != 1 || platforms.FormatAll(got[0]) != "linux/amd64" {
		t.Errorf("after its answer the first node is for %v, want linux/amd64", got)
	}
	if !nodes[0].Native(named(t, "linux/amd64")[0]) || b.fleet.isLeftOut("n0") || len(b.nodes[0].Platforms) != 0 {
		t.Error("the node that answered is not among those that builds may go to")
	}
}

func equalNodes(t *testing.T, count int) []buildxsetup.Node {
	t.Helper()
	var nodes []buildxsetup.Node
	for i := range count {
		nodes = append(nodes, node(t, fmt.Sprintf("n%d", i), "linux/amd64"))
	}
	return nodes
}

func TestRepositoriesSpreadAndStayWhenANodeComesOrGoes(t *testing.T) {
	nodes := equalNodes(t, 4)
	on := make(map[string]int)
	for i := range 400 {
		key := fmt.Sprintf("team/service-%d", i)
		n := choose(nodes, key, nil)
		on[n.Name]++
		if again := choose([]buildxsetup.Node{nodes[3], nodes[1], nodes[0], nodes[2]}, key, nil); again.Name != n.Name {
			t.Fatalf("%s goes to %s or %s, by the order of the nodes", key, n.Name, again.Name)
		}
		if less := choose(nodes[:3], key, nil); n.Name != "n3" && less.Name != n.Name {
			t.Fatalf("%s moved from %s to %s because another node went", key, n.Name, less.Name)
		}
	}
	for _, n := range nodes {
		if on[n.Name] < 60 || on[n.Name] > 140 {
			t.Errorf("repositories by node = %v, want about a hundred each", on)
		}
	}
}

func TestANodeWithFarMoreToDoIsPassedOver(t *testing.T) {
	nodes := equalNodes(t, 2)
	key := "team/shop"
	first := choose(nodes, key, nil)
	for _, test := range []struct {
		load map[string]int // of the first and the other one
		want bool           // whether the first keeps it
	}{
		{map[string]int{"first": 1}, true}, // a warm cache is worth a neighbour
		{map[string]int{"first": 4}, true},
		{map[string]int{"first": 6}, false},
		{map[string]int{"first": 6, "other": 6}, true},
		{map[string]int{"first": 100, "other": 90}, true},
		{map[string]int{"first": 100, "other": 40}, false},
	} {
		load := make(map[string]int)
		for _, n := range nodes {
			if load[n.Name] = test.load["other"]; n.Name == first.Name {
				load[n.Name] = test.load["first"]
			}
		}
		if got := choose(nodes, key, load).Name == first.Name; got != test.want {
			t.Errorf("with %v the first node keeps the build: %v, want %v", test.load, got, test.want)
		}
	}
	// Whatever the load: somebody takes it.
	load := make(map[string]int)
	for range 100 {
		load[choose(nodes, key, load).Name]++
	}
	if most := max(load["n0"], load["n1"]); most > 65 {
		t.Errorf("a hundred builds at once lie on the nodes as %v, want at most a quarter above the average", load)
	}
}

func TestTheLoadOfANodeIsGivenBack(t *testing.T) {
	var f fleet
	end := f.begin("a")
	other := f.begin("a")
	end()
	end() // again, without effect
	if diff := cmp.Diff(map[string]int{"a": 1}, f.running); diff != "" {
		t.Errorf("running builds (-want +got):\n%s", diff)
	}
	other()
	f.leaveOut("a")
	if !f.isLeftOut("a") || f.isLeftOut("b") {
		t.Error("the node that did not answer is not the one left out")
	}
	if f.meet(buildxsetup.Node{Name: "a"}); f.isLeftOut("a") {
		t.Error("a node that answers again is left out")
	}
}
