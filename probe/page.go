//go:build linux && (amd64 || arm64)

package probe

import "sync/atomic"

// PageSize is the size of the page and of its file in bytes.
const PageSize = 4096

// Slots is how many slots a page has.
const Slots = 62

// DefaultFile is where the page is unless the settings say otherwise.
const DefaultFile = "/dev/shm/dockless"

// page is the shared memory as 64-bit words. Both supported architectures are
// little-endian and load and store an aligned word at once, so a word is
// always whole, whatever writes it. docs/probe-abi.md has the layout in bytes.
type page [PageSize / 8]uint64

// Words of the header. The words from headerUsed to the first slot are zero.
const (
	magicWord     = 0 // the bytes "dockless", stored last
	versionWord   = 1 // version, and in the upper half the number of slots
	bootWord      = 2 // hash of the boot id
	pidWord       = 3 // the process that made the page
	startWord     = 4 // its start time in clock ticks since boot
	namespaceWord = 5 // inode of its process id namespace, 0 when unknown
	createdWord   = 7 // CLOCK_BOOTTIME ns when the page was made
	headerWords   = 16
)

const (
	magic   = uint64('d') | 'o'<<8 | 'c'<<16 | 'k'<<24 | 'l'<<32 | 'e'<<40 | 's'<<48 | 's'<<56
	version = 2

	// maxAllowed is the largest age that a slot may allow itself, a year: no
	// wait is that long, and sums of it do not overflow.
	maxAllowed = uint64(365 * 24 * 3600 * 1e9)
)

// Words of a slot, one cache line of its own.
const (
	ownerWord   = 0 // see [owner]; zero is a free slot
	stateWord   = 1 // see [status]
	beatWord    = 2 // CLOCK_BOOTTIME ns of the last beat
	allowedWord = 3 // ns
	counterWord = 4
	nameWord    = 5 // up to the end, padded with NUL
	slotWords   = 8
)

// slotMemory is one slot as words.
type slotMemory [slotWords]uint64

// MaxName is the longest name of a slot in bytes: the last byte stays NUL.
const MaxName = (slotWords-nameWord)*8 - 1

func (p *page) load(word int) uint64     { return atomic.LoadUint64(&p[word]) }
func (p *page) store(word int, v uint64) { atomic.StoreUint64(&p[word], v) }

// slot is the index of the first word of slot n.
func slot(n int) int { return headerWords + n*slotWords }

// memory is slot n itself.
func (p *page) memory(n int) *slotMemory { return (*slotMemory)(p[slot(n):]) }

func (p *page) ownerOf(n int) owner   { return owner(p.load(slot(n) + ownerWord)) }
func (p *page) statusOf(n int) status { return status(p.load(slot(n) + stateWord)) }

// nameWords is a name, which the caller has checked, as a slot has it.
func nameWords(name string) (words [slotWords - nameWord]uint64) {
	for i := range len(name) {
		words[i/8] |= uint64(name[i]) << (i % 8 * 8)
	}
	return words
}

// appendName appends the name of slot n to out. What cannot stand in a name
// becomes a question mark, so that the line for the operator stays one line.
func (p *page) appendName(out []byte, n int) []byte {
	for i := range MaxName {
		c := p.nameByteAt(n, i)
		if c == 0 {
			break
		}
		if !nameByte(c) {
			c = '?'
		}
		out = append(out, c)
	}
	return out
}

// hasName reports whether slot n is called name.
func (p *page) hasName(n int, name string) bool {
	if len(name) > MaxName {
		return false
	}
	for i := range MaxName + 1 {
		want := byte(0)
		if i < len(name) {
			want = name[i]
		}
		if p.nameByteAt(n, i) != want {
			return false
		}
		if want == 0 {
			break
		}
	}
	return true
}

// nameByteAt is byte i of the name of slot n.
func (p *page) nameByteAt(n, i int) byte {
	return byte(p.load(slot(n)+nameWord+i/8) >> (i % 8 * 8) & 0xff)
}

// nameByte reports whether c can stand in a name.
func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}
