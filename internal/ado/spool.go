package ado

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// DefaultSpoolLimit bounds the log text of one job that waits on the disk while
// the server is away. A gibibyte is an hour of a step that prints three thousand
// lines of a hundred bytes a second, and little beside the images and workspaces
// on the same disk.
const DefaultSpoolLimit = 1 << 30

// spillBatch is how many chunks move to the disk at a time: two mebibytes, so
// that a writer waits a millisecond now and then instead of a little each time.
const spillBatch = 32

// spool is a file of chunks that has no name: whatever kills the process, the
// system takes the file away. It exists while something is in it. The mutex of
// [pages] guards it.
type spool struct {
	dir   string // empty: that of the system
	limit int64  // bytes; zero: no disk

	file   *os.File // nil: empty
	free   []int64  // offsets below end that are free
	end    int64
	used   int       // chunks, those on their way included
	broken time.Time // the disk could not be written then, which was logged; zero: it can
}

// take returns offsets for at most n chunks.
func (s *spool) take(n int) (offsets []int64) {
	if !s.broken.IsZero() && time.Since(s.broken) < stallAfter { // somebody else may make room
		return nil
	}
	for range n {
		if k := len(s.free); k > 0 {
			offsets, s.free = append(offsets, s.free[k-1]), s.free[:k-1]
		} else if s.end+chunkSize <= s.limit {
			offsets, s.end = append(offsets, s.end), s.end+chunkSize
		} else {
			break
		}
		s.used++
	}
	return offsets
}

// give takes an offset back. An empty file is closed, which frees its space.
func (s *spool) give(offset int64) {
	s.free = append(s.free, offset)
	if s.used--; s.used == 0 {
		s.close()
	}
}

func (s *spool) close() {
	if s.file != nil {
		_ = s.file.Close() // nothing of it is needed any more
	}
	s.file, s.free, s.end = nil, nil, 0
}

// openSpool makes a file in dir, and dir when it does not exist, and takes its
// name away. Text of jobs is for the agent's user only.
func openSpool(dir string) (*os.File, error) {
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("making the directory for log text: %w", err)
		}
	}
	file, err := os.CreateTemp(dir, "spool-*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("making a file for log text: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, fmt.Errorf("taking the name off a file for log text: %w", errors.Join(err, file.Close()))
	}
	return file, nil
}

// spill moves some full chunks to the disk, and reports whether it is worth
// looking for room again. It is called with mu held and lets go of it while it
// writes: neither uploads nor the end of the job wait for a disk.
func (p *pages) spill() bool {
	if p.spilling {
		p.changed.Wait()
		return true
	}
	offsets := p.spool.take(min(spillBatch, len(p.full)))
	if len(offsets) == 0 {
		return false
	}
	moving := make([]*chunk, 0, len(offsets))
	for c := range p.full {
		if len(moving) == len(offsets) {
			break
		}
		c.refs++
		moving = append(moving, c)
	}
	file, first := p.spool.file, p.spool.file == nil
	p.spilling = true
	p.mu.Unlock()
	file, written, err := writeChunks(file, p.spool.dir, moving, offsets)
	p.mu.Lock()
	p.spilling = false
	p.spool.file = file
	for i, c := range moving {
		if i < written {
			p.move(c, file, offsets[i])
		} else {
			p.spool.give(offsets[i])
		}
		p.release(c)
	}
	wasBroken := !p.spool.broken.IsZero()
	p.spool.broken = time.Time{}
	if err != nil {
		p.spool.broken = time.Now()
	}
	p.changed.Broadcast()
	p.mu.Unlock()
	switch {
	case err != nil && wasBroken:
	case err != nil:
		p.log.Warn("log text cannot be kept on disk, steps will wait", "error", err)
	case first:
		p.log.Warn("log text is kept on disk until the server takes it")
	}
	p.mu.Lock()
	return written > 0
}

// writeChunks writes to file, which it makes when there is none, and returns it
// and how many chunks it holds. Nobody writes to chunks that are full.
func writeChunks(file *os.File, dir string, chunks []*chunk, offsets []int64) (_ *os.File, written int, err error) {
	if file == nil {
		if file, err = openSpool(dir); err != nil {
			return nil, 0, err
		}
	}
	for i, c := range chunks {
		if _, err := file.WriteAt(c.data[:], offsets[i]); err != nil {
			return file, i, fmt.Errorf("keeping log text on disk: %w", err)
		}
	}
	return file, len(chunks), nil
}

// move lets c be found in file and gives its memory back.
func (p *pages) move(c *chunk, file *os.File, at int64) {
	c.mu.Lock()
	p.free = append(p.free, c.data)
	c.data, c.file, c.at = nil, file, at
	c.mu.Unlock()
	delete(p.full, c)
}
