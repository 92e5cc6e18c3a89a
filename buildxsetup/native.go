package buildxsetup

import (
	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Native reports whether the node builds for p without an emulator: whether p
// has the architecture of the platform that the node's first worker names first,
// or is one that such a processor runs as well, as arm64 runs arm and amd64 runs
// 386 (the rules of github.com/containerd/platforms). Whoever pins a platform to a
// node says that it is to be built there, and is taken at his word. It is false
// for a node whose workers are unknown and whose platforms are not pinned.
//
// Whether a particular arm64 processor still has its 32-bit mode is not known
// here; a worker that lists arm and lacks it emulates.
func (n Node) Native(p ocispecs.Platform) bool {
	if n.Pinned {
		return n.Offers(p)
	}
	if len(n.Workers) == 0 || len(n.Workers[0].Platforms) == 0 {
		return false
	}
	own, p := platforms.Normalize(n.Workers[0].Platforms[0]), platforms.Normalize(p)
	// A worker lists no variant of its own architecture that it cannot run.
	return n.Offers(p) && (own.OS == p.OS && own.Architecture == p.Architecture || platforms.Only(own).Match(p))
}
