//go:build linux && (amd64 || arm64)

package probe

// storeRelease stores v in *word at once, after every store before it. That is
// one plain move on amd64 and one store-release on arm64. sync/atomic would
// use an exchange on amd64, several times as long, to order the store before
// later loads too, of which a beat has none that matter.
//
//go:noescape
func storeRelease(word *uint64, v uint64)
