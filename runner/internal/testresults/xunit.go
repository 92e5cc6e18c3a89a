package testresults

import (
	"cmp"
	"strings"
	"time"
)

// xunit reads the second version of xUnit.net's format
// (https://xunit.net/docs/format-xml-v2).
func (r *reader) xunit() error {
	root, err := r.begin(XUnit, "assemblies", "assembly")
	if err != nil {
		return err
	}
	if root.name == "assembly" {
		return r.xunitAssembly(root)
	}
	return r.doc.children(func(e element) error {
		if e.name == "assembly" {
			return r.xunitAssembly(e)
		}
		return nil
	})
}

func (r *reader) xunitAssembly(e element) error {
	storage := ""
	if name := e.attr("name"); name != "" {
		storage = base(name)
	}
	clock := date(e.attr("start-rtf"))
	if day := date(e.attr("run-date")); clock.IsZero() && !day.IsZero() {
		clock = day.Add(span(e.attr("run-time")))
	}
	r.period.include(clock, seconds(e.attr("time")))
	return r.doc.children(func(e element) error {
		if e.name != "collection" {
			return nil
		}
		return r.doc.children(func(e element) error {
			if e.name == "test" {
				return r.xunitCase(e, storage, &clock)
			}
			return nil
		})
	})
}

// xunitCase reads a test. It begins where the one before ended: dates stand at
// assemblies only.
func (r *reader) xunitCase(e element, storage string, clock *time.Time) error {
	c := Case{
		Title: cmp.Or(e.attr("method"), e.attr("name")), Name: e.attr("name"), Storage: storage, Type: string(XUnit),
		Started: *clock, Duration: seconds(e.attr("time")),
	}
	failed := false
	err := r.doc.children(func(e element) (err error) {
		switch e.name {
		case "failure":
			failed = true
			c.Message, c.Stack, err = r.explanation()
			c.Message = cmp.Or(c.Message, e.attr("exception-type"))
		case "reason":
			c.Message, err = r.doc.content(maxText)
		case "output":
			c.Output, err = r.doc.content(maxOutput)
		}
		return err
	})
	if err != nil {
		return err
	}
	switch result := strings.ToLower(e.attr("result")); {
	case failed, result == "fail":
		c.Outcome = Failed
	case result == "pass":
		c.Outcome = Passed
	default:
		c.Outcome = NotExecuted
	}
	if !clock.IsZero() {
		*clock = clock.Add(c.Duration)
	}
	return r.add(c)
}
