package mask

import (
	"bytes"
	"regexp"
	"slices"
)

const (
	// maxLine is how much of one line patterns are shown at a time, and so the
	// most that is held back for them: far more than lines people read.
	maxLine = 64 << 10
	// blockSize is how much one automaton reads before the next does, so that
	// what they find comes nearly in order.
	blockSize = 4 << 10
	// maxPooled is the largest buffer kept for the next call of Mask.
	maxPooled = 1 << 20
)

// maxAutomata are the short, the long and the recent forms, see [Set.compile].
const maxAutomata = 3

// matcher is a Set at one moment, compiled. It never changes.
type matcher struct {
	automata []*automaton // maxAutomata at most
	patterns []*regexp.Regexp
}

// span is text[start:end], to be hidden.
type span struct{ start, end int }

// scanner finds what to hide in a text that arrives in pieces. All positions
// count from the first byte not yet released.
type scanner struct {
	m         *matcher
	states    [maxAutomata]uint32 // of the matcher's automata
	scanned   int                 // bytes read by them
	spans     []span              // sorted, neither overlapping nor touching
	masked    int                 // end of the last replacement written, -1 when there is none to extend
	address   address
	lineStart int // first byte that patterns have not been shown for the last time

	data, out []byte // buffers for Mask
}

func (s *scanner) reset() {
	data, out, spans := s.data, s.out, s.spans
	if cap(data) > maxPooled || cap(out) > maxPooled {
		data, out = nil, nil
	}
	*s = scanner{masked: -1, data: data[:0], out: out[:0], spans: spans[:0]}
}

// scanAll reads the whole of s.data and reports whether there is anything to hide.
func (s *scanner) scanAll(m *matcher) bool {
	s.m = m
	s.scan(s.data)
	s.finish(s.data)
	return len(s.spans) > 0
}

// adopt goes on with m, which may know more than the matcher before: forms and
// patterns are looked for in the text not yet released once more.
func (s *scanner) adopt(m *matcher) {
	if s.m == m {
		return
	}
	s.m = m
	s.states = [maxAutomata]uint32{}
	s.lineStart = 0
	s.scanned = 0
}

// scan reads text[s.scanned:].
func (s *scanner) scan(text []byte) {
	s.address.scan(text, s.hide)
	for s.scanned < len(text) && len(s.m.automata) > 0 {
		block := text[:min(s.scanned+blockSize, len(text))]
		for i, auto := range s.m.automata {
			s.states[i] = auto.run(s.states[i], block, s.scanned, func(end int, length uint32) {
				s.hide(end-int(length), end)
			})
		}
		s.scanned = len(block)
	}
	s.scanned = len(text)
	if len(s.m.patterns) > 0 {
		s.scanLines(text)
	}
}

// finish ends the text: what was left open is decided.
func (s *scanner) finish(text []byte) {
	s.address.finish(s.hide)
	if len(s.m.patterns) > 0 && s.lineStart < len(text) {
		s.scanLine(text, s.lineStart, len(text))
	}
	s.lineStart = len(text)
	s.states = [maxAutomata]uint32{}
}

func (s *scanner) scanLines(text []byte) {
	from := s.lineStart
	for from < len(text) {
		rest := text[from:]
		if end := bytes.IndexByte(rest[:min(len(rest), maxLine)], '\n'); end >= 0 {
			s.scanLine(text, from, from+end)
			from += end + 1
			continue
		}
		if len(rest) < maxLine {
			break
		}
		s.scanLine(text, from, from+maxLine)
		from += maxLine / 2
	}
	s.lineStart = from
}

func (s *scanner) scanLine(text []byte, from, to int) {
	line := bytes.TrimSuffix(text[from:to], []byte("\r"))
	for _, pattern := range s.m.patterns {
		for _, at := range pattern.FindAllIndex(line, -1) {
			s.hide(from+at[0], from+at[1])
		}
	}
}

// hide adds text[start:end] to the spans. A start before the text released is
// possible: the automaton remembers it, the bytes are gone.
func (s *scanner) hide(start, end int) {
	start = max(start, 0)
	if start >= end {
		return
	}
	at := len(s.spans)
	for at > 0 && s.spans[at-1].end >= start {
		at--
	}
	to := at
	for to < len(s.spans) && s.spans[to].start <= end {
		start, end = min(start, s.spans[to].start), max(end, s.spans[to].end)
		to++
	}
	s.spans = slices.Replace(s.spans, at, to, span{start, end})
}

// releasable is how much of text, all of it scanned, no secret can begin in any more.
func (s *scanner) releasable(text []byte) int {
	n := len(text)
	for i, auto := range s.m.automata {
		n = min(n, len(text)-auto.depth(s.states[i]))
	}
	n = min(n, s.address.holdFrom(len(text)))
	if len(s.m.patterns) > 0 {
		n = min(n, s.lineStart)
	}
	return n
}

// clean reports whether text[:n] can be released without a change.
func (s *scanner) clean(n int) bool {
	return s.masked <= 0 && (len(s.spans) == 0 || s.spans[0].start >= n)
}

// emit appends text[:n], masked, to out. A replacement that began in an
// earlier call is extended, not repeated.
func (s *scanner) emit(out, text []byte, n int) []byte {
	at := 0
	if s.masked >= 0 {
		at = min(s.masked, n)
	}
	for _, sp := range s.spans {
		if sp.start >= n {
			break
		}
		if sp.start > at {
			out = append(out, text[at:sp.start]...)
		}
		if s.masked < 0 || sp.start > s.masked {
			out = append(out, Replacement...)
		}
		s.masked = max(s.masked, sp.end)
		at = min(s.masked, n)
	}
	return append(out, text[at:n]...)
}

// release forgets the first n bytes.
func (s *scanner) release(n int) {
	if n == 0 {
		return
	}
	kept := 0
	for _, sp := range s.spans {
		if sp.end >= n {
			s.spans[kept] = span{max(sp.start-n, 0), sp.end - n}
			kept++
		}
	}
	// A span that ends exactly at n stays as an empty one at 0, so that one
	// that touches it joins its replacement; masked says the same, so drop it.
	s.spans = slices.DeleteFunc(s.spans[:kept], func(sp span) bool { return sp.end == 0 })
	s.masked = max(s.masked-n, -1)
	s.scanned -= n
	s.lineStart = max(s.lineStart-n, 0)
	s.address.release(n)
}
