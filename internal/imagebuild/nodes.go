package imagebuild

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/dockless-ci/dockless/buildxsetup"
	"github.com/dockless-ci/dockless/internal/hint"
)

// share is what one node shall build of an image.
type share struct {
	node     buildxsetup.Node
	wanted   []ocispecs.Platform // in the order they were asked for; empty: the node's own
	emulated []string            // of wanted, those that the node runs with an emulator
}

// route shares the platforms of a build out among nodes that answer. A platform
// goes to a node that runs it natively, and to one that emulates it when none
// does; all is the builder as it was set up, also with nodes that do not answer.
//
// Of equal nodes the one is taken that ranks first for key, so that the builds of
// one repository find their cache where they left it, unless load says that it has
// far more to do than the others.
func route(builder string, all, alive []buildxsetup.Node, wanted []ocispecs.Platform, key string, load map[string]int) ([]share, error) {
	if len(all) == 0 || len(alive) == 0 {
		return nil, hint.With(fmt.Errorf("builder %s has no nodes", builder), "set BUILDKIT_HOST to the address of a running buildkitd")
	}
	needed := asked(all, wanted)
	if len(needed) == 0 {
		needed = asked(alive, nil) // nobody knows yet what the first node is
	}
	if len(needed) == 0 {
		return []share{{node: choose(alive, key, load)}}, nil
	}
	var (
		shares []share
		none   []string
	)
	for _, p := range needed {
		able := nodesThat(alive, func(n buildxsetup.Node) bool { return n.Native(p) })
		native := len(able) > 0
		if !native {
			able = nodesThat(alive, func(n buildxsetup.Node) bool { return n.Offers(p) })
		}
		if len(able) == 0 {
			none = append(none, platforms.FormatAll(p))
			continue
		}
		n := choose(able, key, load)
		i := slices.IndexFunc(shares, func(s share) bool { return s.node.Name == n.Name })
		if i < 0 {
			i = len(shares)
			shares = append(shares, share{node: n})
		}
		shares[i].wanted = append(shares[i].wanted, p)
		if !native && len(n.Workers) > 0 {
			shares[i].emulated = append(shares[i].emulated, platforms.FormatAll(p))
		}
	}
	if len(none) > 0 {
		return nil, noNode(builder, all, alive, none)
	}
	if len(wanted) == 0 && shares[0].runsItself(needed[0]) {
		shares[0].wanted = nil // what BuildKit builds without being told
	}
	return shares, nil
}

// asked returns the platforms of a build: those that are wanted, else, as with buildx,
// that of the first node, whether it answers now or not. Empty is an unknown one.
func asked(nodes []buildxsetup.Node, wanted []ocispecs.Platform) []ocispecs.Platform {
	if len(wanted) > 0 || len(nodes) == 0 {
		return wanted
	}
	if p, ok := own(nodes[0]); ok {
		return []ocispecs.Platform{p}
	}
	return nil
}

// own returns the platform that a node builds for when nobody names one.
func own(n buildxsetup.Node) (ocispecs.Platform, bool) {
	if len(n.Platforms) == 0 {
		return ocispecs.Platform{}, false
	}
	return platforms.Normalize(n.Platforms[0]), true
}

// runsItself reports whether a solve without a platform is one for p, as far as is
// known.
func (s share) runsItself(p ocispecs.Platform) bool {
	if len(s.node.Workers) == 0 || len(s.node.Workers[0].Platforms) == 0 {
		return true
	}
	return platforms.FormatAll(platforms.Normalize(s.node.Workers[0].Platforms[0])) == platforms.FormatAll(p)
}

func nodesThat(nodes []buildxsetup.Node, is func(buildxsetup.Node) bool) []buildxsetup.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n buildxsetup.Node) bool { return !is(n) })
}

// noNode says what the nodes that answer build for instead, and which do not answer.
func noNode(builder string, all, alive []buildxsetup.Node, wanted []string) error {
	var offered, silent []string
	for _, n := range alive {
		for _, p := range n.Platforms {
			offered = append(offered, platforms.FormatAll(p))
		}
	}
	for _, n := range all {
		if !slices.ContainsFunc(alive, func(a buildxsetup.Node) bool { return a.Name == n.Name }) {
			silent = append(silent, n.Name)
		}
	}
	slices.Sort(offered)
	text := fmt.Sprintf("no node of builder %s builds for %s; they offer %s", builder, strings.Join(wanted, ","), strings.Join(slices.Compact(offered), ", "))
	if len(silent) > 0 {
		text += "; no answer from " + strings.Join(silent, ", ")
	}
	return hint.With(errors.New(text), "install an emulator on the node (binfmt_misc), or add a node of the platform to BUILDKIT_HOST")
}

// slack is how many builds a node may have beyond its fair share before others
// are sent elsewhere: with few builds about, a warm cache is worth more than an
// idle node.
const slack = 1

// choose takes the node that ranks first for key among equal ones and is not
// overloaded: rendezvous hashing with bounded load, where nobody has more than a
// quarter above the average, and slack.
func choose(nodes []buildxsetup.Node, key string, load map[string]int) buildxsetup.Node {
	ranked := ranking(nodes, key)
	running := 1 // this one
	for _, n := range ranked {
		running += load[n.Name]
	}
	// The ceiling of 1.25 × running / nodes.
	bound := (5*running+4*len(ranked)-1)/(4*len(ranked)) + slack
	for _, n := range ranked {
		if load[n.Name] < bound {
			return n
		}
	}
	return ranked[0] // not reached: somebody has no more than the average
}

// ranking orders nodes by their score for key. A node's score depends on its
// address and on nothing else, so that every agent sees the same order, and one
// node that comes or goes moves only its own repositories.
func ranking(nodes []buildxsetup.Node, key string) []buildxsetup.Node {
	score := func(n buildxsetup.Node) uint64 {
		sum := sha256.Sum256([]byte(n.Endpoint + "\x00" + key))
		return binary.BigEndian.Uint64(sum[:])
	}
	out := slices.Clone(nodes)
	slices.SortStableFunc(out, func(a, b buildxsetup.Node) int { return cmp.Compare(score(b), score(a)) })
	return out
}
