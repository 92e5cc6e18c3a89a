package testresults

import (
	"io"
	"unicode/utf8"
)

// Masks returns a writer that passes text on to w without its secrets, the last of
// it when it is closed; nil stands for one that passes it on as it is. Texts that
// are cut have to be masked before: of a secret across the cut, nobody would know
// the rest any more.
type Masks func(w io.Writer) io.WriteCloser

// cut returns text with at most limit bytes, whole characters, and a mark where
// something is missing.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const mark = "…"
	end := limit - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}

// cut is [cut] for text that may have secrets.
func (d *document) cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	c := clip{masks: d.masks, limit: limit}
	c.add([]byte(text))
	return cut(c.end(), limit)
}

// clip collects what is kept of a text, and one byte more when there is more. A
// text that fits stays as it is, and one that does not is masked.
type clip struct {
	masks  Masks
	limit  int
	text   []byte
	masked io.WriteCloser // nil: all of it has fitted so far
}

func (c *clip) add(data []byte) {
	if c.masked == nil {
		if len(c.text)+len(data) <= c.limit {
			c.text = append(c.text, data...)
			return
		}
		begun := c.text
		c.text, c.masked = nil, plain{c}
		if c.masks != nil {
			c.masked = c.masks(c)
		}
		_, _ = c.masked.Write(begun) // c takes everything
	}
	if len(c.text) <= c.limit {
		_, _ = c.masked.Write(data)
	}
}

// Write takes masked text.
func (c *clip) Write(p []byte) (int, error) {
	c.text = append(c.text, p[:min(len(p), c.limit+1-len(c.text))]...)
	return len(p), nil
}

func (c *clip) end() string {
	if c.masked != nil && len(c.text) <= c.limit {
		_ = c.masked.Close() // as above
	}
	return string(c.text)
}

// plain masks nothing.
type plain struct{ io.Writer }

func (plain) Close() error { return nil }
