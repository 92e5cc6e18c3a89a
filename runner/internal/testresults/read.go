package testresults

import (
	"fmt"
	"io"
	"path"
	"strings"
	"time"
)

// Read reads the results file f, whose name is for messages, and calls yield
// with every case. It returns yield's error as it is; every other one names the
// file and, if there is one, the line. f is read from its start, in one format
// more than once. Texts that are cut are masked before, and no others.
func Read(f io.ReadSeeker, file string, format Format, masks Masks, yield func(Case) error) (Run, error) {
	readers := map[Format]func(*reader) error{
		JUnit: (*reader).junit, NUnit: (*reader).nunit, XUnit: (*reader).xunit, VSTest: (*reader).trx, CTest: (*reader).ctest,
	}
	read, ok := readers[format]
	if !ok {
		return Run{}, fmt.Errorf("%s: there is no test result format %q", file, format)
	}
	r := &reader{source: f, file: file, masks: masks, yield: yield}
	if err := read(r); err != nil {
		return r.run, err
	}
	if err := r.doc.end(); err != nil {
		return r.run, err
	}
	r.run.Started, r.run.Completed = r.period.from, r.period.to
	if r.run.Duration = r.period.to.Sub(r.period.from); r.period.from.IsZero() {
		r.run.Duration = r.spent
	}
	return r.run, nil
}

// reader reads one file.
type reader struct {
	source io.ReadSeeker
	file   string
	masks  Masks
	yield  func(Case) error

	doc    *document
	run    Run
	period period        // of everything that has a date
	spent  time.Duration // by all cases
}

// begin opens the document, from its start, and checks its root.
func (r *reader) begin(format Format, roots ...string) (element, error) {
	if _, err := r.source.Seek(0, io.SeekStart); err != nil {
		return element{}, fmt.Errorf("%s: %w", r.file, err)
	}
	doc, root, err := open(r.source, r.file, r.masks)
	if err != nil {
		return element{}, err
	}
	r.doc = doc
	return root, doc.root(root, string(format), roots...)
}

// add passes a case on.
func (r *reader) add(c Case) error {
	if err := r.doc.count(); err != nil {
		return err
	}
	if c.Title = strings.TrimSpace(c.Title); c.Title == "" {
		c.Title = c.Name
	}
	if c.Title == "" {
		c.Title = "a test without a name" // its failure must not be lost
	}
	if strings.TrimSpace(c.Name) == "" {
		c.Name = c.Title
	}
	if c.Outcome != Failed {
		c.Output, c.ErrorOutput = "", "" // nobody looks at it, and it is the most of many files
	}
	r.run.Totals.Add(c.Outcome)
	r.spent = min(r.spent+c.Duration, longest)
	r.period.include(c.Started, c.Duration)
	return r.yield(c)
}

// base returns the last part of a path of any system.
func base(name string) string { return path.Base(strings.ReplaceAll(name, `\`, "/")) }

// firstLine returns the first line of text that has something in it.
func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return strings.TrimSpace(line)
}
