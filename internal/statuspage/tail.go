package statuspage

import (
	"slices"
	"sync"
)

// The end of a log is kept in blocks, and the oldest block goes when there are too
// many. Together they bound one step's text to half a mebibyte and about two
// thousand lines: two pages of [PageLines], which is what somebody reads who looks
// at what happens now. The whole log is with the server.
const (
	blockLines = 256
	blockBytes = 64 << 10
	mostBlocks = 9 // eight that are full
	// mostLine is what is kept of one line, far more than a screen is wide.
	mostLine = 8 << 10
)

// cutMark ends a line of which not all was kept.
const cutMark = " … (the rest of the line is in the log)"

// Tail keeps the last lines of a growing log. Its zero value is empty. Add is
// cheap enough for every line of a job: it copies, and waits for nobody but a
// reader that takes a few slices. Its methods may be called concurrently.
type Tail struct {
	mu     sync.Mutex
	blocks []block // the last one grows
	total  int     // number of the last line
	bytes  int
}

// block is some lines one behind the other. Bytes that were written never change,
// so that readers go on without the lock.
type block struct {
	first int // number of its first line
	text  []byte
	ends  []int32 // of each line in text
}

func (b *block) line(i int) []byte {
	begin := int32(0)
	if i > 0 {
		begin = b.ends[i-1]
	}
	return b.text[begin:b.ends[i]:b.ends[i]]
}

// Add takes the next line. It keeps a copy.
func (t *Tail) Add(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.add(t.total+1, line)
}

// AddAt takes the line of a number. Those between the last one and it never came;
// one that came already is not taken again.
func (t *Tail) AddAt(number int, line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if number > t.total {
		t.add(number, line)
	}
}

func (t *Tail) add(number int, line []byte) {
	mark := ""
	if len(line) > mostLine {
		line, mark = line[:mostLine], cutMark
	}
	size := len(line) + len(mark)
	n := len(t.blocks)
	if n == 0 || number != t.total+1 || len(t.blocks[n-1].ends) == blockLines || len(t.blocks[n-1].text)+size > blockBytes {
		next := block{first: number}
		if n > 0 && number == t.total+1 { // a log that fills one block fills the next
			next.text, next.ends = make([]byte, 0, cap(t.blocks[n-1].text)), make([]int32, 0, cap(t.blocks[n-1].ends))
		}
		if n == mostBlocks {
			t.bytes -= len(t.blocks[0].text)
			t.blocks = slices.Delete(t.blocks, 0, 1)
			n--
		}
		t.blocks = append(t.blocks, next)
		n++
	}
	b := &t.blocks[n-1]
	b.text = append(append(b.text, line...), mark...)
	b.ends = append(b.ends, int32(len(b.text))) //nolint:gosec // at most blockBytes
	t.total = number
	t.bytes += size
}

// Size is how many bytes of text are kept.
func (t *Tail) Size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}

// Log returns lines as [Source] wants them. It says whether more may come.
func (t *Tail) Log(from, most int, open bool) Log {
	t.mu.Lock()
	blocks := slices.Clone(t.blocks)
	out := Log{Kept: 1, Total: t.total, Open: open}
	t.mu.Unlock()
	count := 0
	for i := range blocks {
		count += len(blocks[i].ends)
	}
	if count > 0 {
		out.Kept = blocks[0].first
	}
	skip := 0
	if from <= 0 {
		skip = max(0, count-most)
	}
	out.First = max(from, out.Kept)
	for i := range blocks {
		b := &blocks[i]
		start := max(skip, from-b.first, 0)
		skip = max(0, skip-len(b.ends))
		for n := start; n < len(b.ends) && len(out.Lines) < most; n++ {
			if len(out.Lines) == 0 {
				out.First = b.first + n
			} else if n == start && b.first+n != out.end() {
				out.gap()
			}
			out.Lines = append(out.Lines, b.line(n))
			if out.Numbers != nil {
				out.Numbers = append(out.Numbers, b.first+n)
			}
		}
	}
	if len(out.Lines) == 0 {
		out.First = max(out.First, out.Total+1)
	}
	return out
}
