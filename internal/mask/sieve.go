package mask

import "encoding/binary"

// sieve passes over text in which no form begins without looking at each byte.
// It looks at a window of two to four bytes in every stride. Wherever a form
// stands, one of the windows at its first stride offsets is looked at: text can
// be passed whose windows no form has there.
type sieve struct {
	stride int
	mask   uint32  // the bytes of a window
	within *bitmap // windows at the first stride offsets of a form
	begins *bitmap // windows at the first one
}

// bitmap has a bit for every hash of a window.
type bitmap [1 << bitmapBits / 64]uint64

const (
	bitmapBits = 17 // 16 KiB: half of a first-level cache
	// maxStride bounds the windows in the bitmap. With six and a hundred
	// secrets three bits in a hundred are set, and more is hardly faster.
	maxStride = 6
)

// bit is the place of window v.
func bit(v uint32) uint32 { return v * 0x9E3779B1 >> (32 - bitmapBits) }

func (b *bitmap) set(v uint32)      { b[bit(v)/64] |= 1 << (bit(v) % 64) }
func (b *bitmap) has(v uint32) bool { return b[bit(v)/64]>>(bit(v)%64)&1 != 0 }

// newSieve makes the sieve of forms, which are not empty. The shortest form
// decides the stride, as all windows of a stride have to lie within it.
func newSieve(forms []string) *sieve {
	shortest := len(forms[0])
	for _, form := range forms {
		shortest = min(shortest, len(form))
	}
	size := 4
	switch { // a greater stride is worth more than a greater window
	case shortest < 4:
		size = 2
	case shortest < 7:
		size = 3
	}
	s := &sieve{
		stride: min(max(shortest-size+1, 1), maxStride), mask: 1<<(8*size) - 1,
		within: new(bitmap), begins: new(bitmap),
	}
	for _, form := range forms {
		s.begins.add(form, size)
		for at := range s.stride {
			s.within.add(form[at:], size)
		}
	}
	return s
}

// add adds the first window of text, with every ending if text is shorter.
func (b *bitmap) add(text string, size int) {
	var v uint32
	for i := range min(len(text), size) {
		v |= uint32(text[i]) << (8 * i)
	}
	missing := max(0, size-len(text))
	for rest := range uint32(1) << (8 * missing) {
		b.set(v | rest<<(8*(size-missing)))
	}
}

// skip returns the first index from i on at which a form may begin.
func (s *sieve) skip(text []byte, i int) int {
	stride, mask, within := s.stride, s.mask, s.within
	at := i + stride - 1
	for ; at+4 <= len(text); at += stride {
		if !within.has(window(text, at) & mask) {
			continue
		}
		for begin := at - stride + 1; begin <= at; begin++ {
			if s.begins.has(window(text, begin) & mask) {
				return begin
			}
		}
	}
	return at - stride + 1
}

// window is text[at:at+4] as a number.
func window(text []byte, at int) uint32 { return binary.LittleEndian.Uint32(text[at : at+4]) }
