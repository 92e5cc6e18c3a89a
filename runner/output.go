package runner

import (
	"bytes"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/command"
)

// maxLine bounds what is kept of one line, in bytes, so that a process which
// never ends its line cannot fill the memory. Longer lines go on in the next.
const maxLine = 1 << 20

// lines cuts masked text into lines. It comes behind the masker, because a cut
// in front of it could go through the middle of a secret. A line ends with CR,
// LF or CR LF, as in the official agent: a script that draws progress with CR
// shows each state as a line of its own. Only for programs of the agent's own,
// redrawn turns that off.
type lines struct {
	emit    func(line []byte)
	partial []byte // the beginning of a line
	afterCR bool   // the last byte was a CR: an LF now belongs to it
	count   int    // lines emitted so far, as the service counts them
	grouped bool   // a ##[group] is open
	redrawn bool   // a line ends with LF, and a CR starts it again: its last state counts, as on a terminal
}

func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	if l.redrawn {
		l.redraw(p)
		return n, nil
	}
	plain := bytes.IndexByte(p, '\r') < 0
	for len(p) > 0 {
		if l.afterCR {
			l.afterCR = false
			if p[0] == '\n' {
				p = p[1:]
				continue
			}
		}
		end := bytes.IndexByte(p, '\n')
		if !plain {
			end = lineEnd(p)
		}
		if end < 0 {
			l.keep(p)
			break
		}
		l.afterCR = p[end] == '\r'
		l.line(p[:end])
		p = p[end+1:]
	}
	return n, nil
}

// redraw takes text in which a CR starts the line again.
func (l *lines) redraw(p []byte) {
	for {
		text, rest, ended := bytes.Cut(p, []byte("\n"))
		l.keep(text)
		l.partial = lastState(l.partial)
		if !ended {
			return
		}
		if line := bytes.TrimRight(l.partial, " \r"); len(line) > 0 {
			l.pass(line)
		}
		l.partial, p = l.partial[:0], rest
	}
}

// lastState drops from a line that is being drawn what was drawn over. A CR at
// its very end has drawn nothing over yet.
func lastState(line []byte) []byte {
	cr := bytes.LastIndexByte(bytes.TrimRight(line, "\r"), '\r')
	return append(line[:0], line[cr+1:]...)
}

func (l *lines) line(line []byte) {
	if len(l.partial) > 0 {
		l.keep(line)
		line = l.partial
		l.partial = l.partial[:0]
	}
	l.pass(line)
}

var groupTag, endgroupTag = []byte("##[group]"), []byte("##[endgroup]")

// pass emits a line and counts it. The end of a group is not counted: the page
// of the run does not show it, so an issue's number would lead to the line
// after the right one (protocol §7.6).
func (l *lines) pass(line []byte) {
	l.count++
	if len(line) > 0 && line[0] == '#' {
		switch {
		case bytes.HasPrefix(line, groupTag):
			l.grouped = true
		case l.grouped && bytes.HasPrefix(line, endgroupTag):
			l.grouped = false
			l.count--
		}
	}
	l.emit(line)
}

func (l *lines) keep(p []byte) {
	for len(l.partial)+len(p) > maxLine {
		room := maxLine - len(l.partial)
		l.partial = append(l.partial, p[:room]...)
		l.pass(l.partial)
		l.partial, p = l.partial[:0], p[room:]
	}
	l.partial = append(l.partial, p...)
}

// finish ends a line that has no ending.
func (l *lines) finish() {
	if l.redrawn {
		l.redraw([]byte("\n"))
	}
	if len(l.partial) > 0 {
		l.line(nil)
	}
	l.afterCR = false
}

// lineEnd returns where the first line of p ends, or -1.
func lineEnd(p []byte) int {
	end := bytes.IndexByte(p, '\n')
	if end < 0 {
		return bytes.IndexByte(p, '\r')
	}
	if cr := bytes.IndexByte(p[:end], '\r'); cr >= 0 {
		return cr
	}
	return end
}

// lastLineEnd returns where the last whole line of p ends, or -1.
func lastLineEnd(p []byte) int {
	lf := bytes.LastIndexByte(p, '\n')
	if cr := bytes.IndexByte(p[lf+1:], '\r'); cr >= 0 {
		return lf + 1 + bytes.LastIndexByte(p[lf+1:], '\r')
	}
	return lf
}

// console is the log of one record: what is written to it is masked as one
// stream and then cut into lines. It is guarded by the lock of its node.
type console struct {
	masked *mask.Writer
	lines  *lines
}

func newConsole(set *mask.Set, rep Reporter, record job.RecordID) *console {
	l := &lines{emit: func(line []byte) { rep.WriteLine(record, line) }}
	return &console{masked: set.NewWriter(l), lines: l}
}

// write passes text of a process on. The line writer never fails, so neither
// does the masker above it.
func (c *console) write(text []byte) { _, _ = c.masked.Write(text) }

// print writes text as a line, or as several when it has line endings in it.
func (c *console) print(text string) {
	c.write([]byte(text))
	c.write([]byte("\n"))
}

// flush passes on everything that was held back as the possible beginning of
// a secret.
func (c *console) flush() {
	_ = c.masked.Flush() // see write
	c.lines.finish()
}

// next returns the number of the line that is written next, 1-based.
func (c *console) next() int {
	c.flush()
	return c.lines.count + 1
}

// splitter takes the raw output of one stream of a process and finds the lines
// with logging commands in it. Everything else goes on untouched, in pieces as
// large as they come.
type splitter struct {
	n       *node
	execute func(line []byte) (consumed bool) // a suspect line, without its ending; under the lock of n
	pending []byte                            // a line that has not ended yet
	rest    bool                              // in the rest of a line longer than maxLine
	drop    bool                              // that rest belongs to a command and is not shown
	afterCR bool                              // a consumed line ended with CR: an LF now belongs to it
	seam    []byte                            // the last bytes of a line longer than maxLine
}

// skipLF removes the second half of a line ending whose line was consumed.
func (s *splitter) skipLF(p []byte) []byte {
	if s.afterCR && len(p) > 0 {
		s.afterCR = false
		p = bytes.TrimPrefix(p, []byte("\n"))
	}
	return p
}

func (s *splitter) Write(p []byte) (int, error) {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if s.n.deaf {
		return len(p), nil
	}
	written := len(p)
	p = s.skipLF(p)
	if len(s.pending) > 0 || s.rest {
		end := lineEnd(p)
		if end < 0 {
			s.keep(p)
			return written, nil
		}
		s.keep(p[:end+1])
		s.whole(s.pending)
		s.pending, s.rest, s.drop = s.pending[:0], false, false
		p = s.skipLF(p[end+1:])
	}
	end := lastLineEnd(p) + 1
	s.whole(p[:end])
	if end < len(p) {
		s.afterCR = false
		s.keep(p[end:])
	}
	return written, nil
}

// whole handles text that consists of whole lines.
func (s *splitter) whole(text []byte) {
	for len(text) > 0 {
		at := bytes.Index(text, []byte("##vso"))
		if at < 0 {
			s.n.console.write(text)
			return
		}
		start := lastLineEnd(text[:at]) + 1
		s.n.console.write(text[:start])
		length := lineEnd(text[at:]) + 1
		line := text[start : at+length]
		if length == 0 {
			line = text[start:]
		}
		text = text[start+len(line):]
		if !s.execute(bytes.TrimRight(line, "\r\n")) {
			s.n.console.write(line)
		} else if line[len(line)-1] == '\r' {
			s.afterCR = true
			text = s.skipLF(text)
		}
	}
}

// seamSize is how much of a piece is looked at together with the next one, so
// that the mark of a command which lies across both is seen.
const seamSize = len(command.Prefix)

// keep holds the beginning of a line until its end comes, within maxLine.
func (s *splitter) keep(p []byte) {
	if !s.rest && len(s.pending)+len(p) <= maxLine {
		s.pending = append(s.pending, p...)
		return
	}
	if !s.rest {
		s.seam = append(s.seam[:0], s.pending[max(0, len(s.pending)-seamSize):]...)
	}
	s.seam = append(s.seam, p[:min(len(p), seamSize)]...)
	if !s.drop && (command.Suspect(s.pending) || command.Suspect(s.seam) || command.Suspect(p)) {
		s.drop = true
		s.n.warn("A logging command longer than 1 MiB was not carried out.")
	}
	if !s.drop {
		s.n.console.write(s.pending)
		s.n.console.write(p)
	}
	s.pending, s.rest = s.pending[:0], true
	if len(p) > seamSize {
		s.seam = append(s.seam[:0], p[len(p)-seamSize:]...)
	}
	s.seam = append(s.seam[:0], s.seam[max(0, len(s.seam)-seamSize):]...)
}

// finish handles a last line without an ending.
func (s *splitter) finish() {
	s.n.mu.Lock()
	defer s.n.mu.Unlock()
	if len(s.pending) > 0 && !s.n.deaf {
		s.whole(append(s.pending, '\n'))
	}
	s.pending = nil
	s.n.console.flush()
}
