package testresults

import (
	"strings"
	"time"
)

// ctest reads the Test.xml that CTest writes for a dashboard.
func (r *reader) ctest() error {
	root, err := r.begin(CTest, "Site")
	if err != nil {
		return err
	}
	return r.doc.children(func(e element) error {
		if e.name != "Testing" {
			return nil
		}
		return r.ctestTesting(root.attr("Hostname"))
	})
}

func (r *reader) ctestTesting(host string) error {
	var from time.Time
	return r.doc.children(func(e element) error {
		switch e.name {
		case "StartTestTime", "EndTestTime":
			text, err := r.doc.content(maxNames)
			at := epoch(text)
			if e.name == "StartTestTime" {
				from = at
			}
			r.period.include(at, 0)
			return err
		case "Test":
			return r.ctestCase(e, host, from)
		}
		return nil
	})
}

func (r *reader) ctestCase(e element, host string, from time.Time) error {
	c := Case{Type: string(CTest), Computer: host, Outcome: NotExecuted, Started: from}
	switch strings.ToLower(e.attr("Status")) {
	case "passed":
		c.Outcome = Passed
	case "failed":
		c.Outcome = Failed
	}
	err := r.doc.children(func(e element) (err error) {
		switch e.name {
		case "Name":
			c.Title, err = r.doc.content(maxNames)
		case "FullName":
			c.Name, err = r.doc.content(maxNames)
		case "Path":
			c.Storage, err = r.doc.content(maxNames)
		case "Results":
			err = r.ctestResults(&c)
		}
		return err
	})
	if err != nil {
		return err
	}
	if c.Outcome != Failed {
		c.Stack = ""
	}
	if c.Outcome == Passed {
		c.Message = ""
	}
	return r.add(c)
}

// ctestResults reads what was measured. The output of a test that failed takes
// the place of a stack.
func (r *reader) ctestResults(c *Case) error {
	return r.doc.children(func(e element) error {
		measured := e
		if measured.name != "NamedMeasurement" && measured.name != "Measurement" {
			return nil
		}
		return r.doc.children(func(e element) error {
			if e.name != "Value" {
				return nil
			}
			text, err := r.doc.content(maxText)
			switch name := measured.attr("name"); {
			case measured.name == "Measurement" && e.attr("encoding") != "":
				c.Stack = "(the output is compressed; run ctest with --no-compress-output to see it here)"
			case measured.name == "Measurement":
				c.Stack = text
			case name == "Execution Time":
				c.Duration = seconds(text)
			case name == "Completion Status" && !strings.EqualFold(text, "completed"):
				c.Message = text
			case name == "Exit Code" && c.Message == "":
				c.Message = text
			case name == "Exit Value" && c.Outcome == Failed:
				c.Message = strings.TrimSpace(c.Message + " (exit value " + text + ")")
			}
			return err
		})
	})
}
