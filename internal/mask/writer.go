package mask

import (
	"fmt"
	"io"
)

// pieceSize is how much of one Write is masked at a time, which bounds the
// copy made of it.
const pieceSize = 64 << 10

// Writer masks a stream. Secrets are found wherever the stream was cut into
// writes, also when they go over several lines. Only bytes that may be the
// beginning of a secret are held back, until more bytes or [Writer.Flush]
// decide; with patterns in the set (see [Set.AddPattern]) that is at least the
// current line. A value added to the set applies from the next call on, also
// to the bytes held back.
//
// A Writer is not safe for concurrent use; each stream has its own.
type Writer struct {
	set  *Set
	w    io.Writer
	scan scanner
	held []byte
	out  []byte
	err  error
}

// NewWriter returns a Writer that passes what is written to it on to w, masked.
// Whoever opened w closes it.
func (s *Set) NewWriter(w io.Writer) *Writer {
	return &Writer{set: s, w: w, scan: scanner{masked: -1}}
}

// Write masks p and passes it on. It returns len(p), though the end of p may
// be held back, or the first error of the writer below, which then answers
// every later call too.
func (w *Writer) Write(p []byte) (int, error) {
	m := w.set.matcher()
	for written := 0; written < len(p); {
		if w.err != nil {
			return written, w.err
		}
		piece := p[written:min(written+pieceSize, len(p))]
		w.scan.adopt(m)
		text := piece
		if len(w.held) > 0 {
			w.held = append(w.held, piece...)
			text = w.held
		}
		w.scan.scan(text)
		w.pass(text, w.scan.releasable(text))
		written += len(piece)
	}
	return len(p), w.err
}

// Flush ends the text: everything held back is passed on, masked. What follows
// counts as a new text, so a secret cut in two by a Flush is not recognised.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	w.scan.adopt(w.set.matcher())
	w.scan.scan(w.held)
	w.scan.finish(w.held)
	w.pass(w.held, len(w.held))
	return w.err
}

// Close is [Writer.Flush]. It does not close the writer below.
func (w *Writer) Close() error { return w.Flush() }

// pass writes text[:n] and holds the rest.
func (w *Writer) pass(text []byte, n int) {
	if n > 0 {
		out := text[:n]
		if !w.scan.clean(n) {
			w.out = w.scan.emit(w.out[:0], text, n)
			out = w.out
		}
		if len(out) > 0 {
			if _, err := w.w.Write(out); err != nil {
				w.err = fmt.Errorf("writing masked text: %w", err)
			}
		}
		w.scan.release(n)
	}
	w.held = append(w.held[:0], text[n:]...)
}
