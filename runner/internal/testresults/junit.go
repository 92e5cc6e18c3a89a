package testresults

import (
	"cmp"
	"strings"
	"time"
)

// junit reads the format that nearly every tool writes and nobody defines:
// suites in suites, or none around them, cases in any of them.
func (r *reader) junit() error {
	root, err := r.begin(JUnit, "testsuites", "testsuite")
	if err != nil {
		return err
	}
	if root.name == "testsuite" {
		r.run.Name = root.attr("name")
		return r.junitSuite(root)
	}
	names, suites := "", 0
	stray := junitSuite{} // of cases without a suite
	err = r.doc.children(func(e element) error {
		switch e.name {
		case "testsuite":
			suites++
			names = e.attr("name")
			return r.junitSuite(e)
		case "testcase":
			return r.junitCase(e, &stray)
		}
		return nil
	})
	if r.run.Name = root.attr("name"); r.run.Name == "" && suites == 1 {
		r.run.Name = names
	}
	return err
}

// junitSuite is the suite whose cases are read. They have no times of their own:
// one begins where the one before ended.
type junitSuite struct {
	host  string
	clock time.Time
}

func (r *reader) junitSuite(e element) error {
	s := junitSuite{host: e.attr("hostname"), clock: date(e.attr("timestamp"))}
	r.period.include(s.clock, seconds(e.attr("time")))
	return r.doc.children(func(e element) error {
		switch e.name {
		case "testsuite":
			return r.junitSuite(e)
		case "testcase":
			return r.junitCase(e, &s)
		}
		return nil
	})
}

func (r *reader) junitCase(e element, s *junitSuite) error {
	c := Case{
		Title: e.attr("name"), Name: e.attr("name"), Storage: cmp.Or(e.attr("classname"), e.attr("file")), Type: string(JUnit),
		Outcome: Passed, Computer: s.host, Started: s.clock, Duration: seconds(e.attr("time")),
	}
	if c.Title == "" {
		c.Title = c.Storage
	}
	switch strings.ToLower(e.attr("status")) {
	case "notrun", "disabled", "skipped", "ignored": // GoogleTest and others write no child then
		c.Outcome = NotExecuted
	}
	err := r.doc.children(func(e element) (err error) {
		switch e.name {
		case "failure", "error":
			return r.junitFailure(e, &c)
		case "skipped":
			if c.Outcome != Failed {
				c.Outcome, c.Message = NotExecuted, r.doc.cut(e.text("message"), maxText)
			}
		case "system-out":
			c.Output, err = r.doc.content(maxOutput)
		case "system-err":
			c.ErrorOutput, err = r.doc.content(maxOutput)
		}
		return err
	})
	if err != nil {
		return err
	}
	if !s.clock.IsZero() {
		s.clock = s.clock.Add(c.Duration)
	}
	return r.add(c)
}

// junitFailure takes what failed first; a case may fail once more in its
// tear-down.
func (r *reader) junitFailure(e element, c *Case) error {
	if c.Outcome == Failed {
		return nil
	}
	stack, err := r.doc.content(maxText)
	c.Outcome, c.Stack = Failed, stack
	c.Message = r.doc.cut(strings.TrimSpace(cmp.Or(e.text("message"), firstLine(stack), e.text("type"))), maxText)
	return err
}
