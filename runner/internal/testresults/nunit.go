package testresults

import (
	"cmp"
	"strings"
	"time"
)

// nunit reads the formats of NUnit 2, which begins with test-results, and of
// NUnit 3.
func (r *reader) nunit() error {
	root, err := r.begin(NUnit, "test-run", "test-results")
	if err != nil {
		return err
	}
	s := &nunitSuite{two: root.name == "test-results"}
	if s.two {
		r.run.Name = root.attr("name")
		if day := date(root.attr("date")); !day.IsZero() {
			s.clock = day.Add(span(root.attr("time")))
		}
	} else {
		from := date(root.attr("start-time"))
		r.period.include(from, max(date(root.attr("end-time")).Sub(from), 0))
	}
	return r.nunitSuite(s)
}

// nunitSuite is what cases take from what they are in.
type nunitSuite struct {
	two      bool   // NUnit 2
	assembly string // ""; or the one that we are in
	host     string
	clock    time.Time // of NUnit 2, whose cases have no times
}

// nunitSuite reads what is in the element entered last.
func (r *reader) nunitSuite(s *nunitSuite) error {
	return r.doc.children(func(e element) error {
		switch e.name {
		case "environment":
			s.host = e.attr("machine-name")
		case "test-suite":
			inner := *s
			if strings.EqualFold(e.attr("type"), "Assembly") {
				inner.assembly = base(e.attr("name"))
			}
			err := r.nunitSuite(&inner)
			s.clock = inner.clock
			return err
		case "results": // around the children of a suite of NUnit 2
			return r.nunitSuite(s)
		case "attachments":
			return r.nunitAttachments(&r.run.Attachments)
		case "test-case":
			return r.nunitCase(e, s)
		}
		return nil
	})
}

func (r *reader) nunitCase(e element, s *nunitSuite) error {
	c := Case{
		Title: e.attr("name"), Name: cmp.Or(e.attr("fullname"), e.attr("name")), Storage: s.assembly, Type: string(NUnit), Computer: s.host,
		Started: date(e.attr("start-time")), Duration: seconds(cmp.Or(e.attr("duration"), e.attr("time"))),
	}
	if s.two {
		c.Started = s.clock
	}
	failed, reason := false, ""
	err := r.doc.children(func(e element) (err error) {
		switch e.name {
		case "failure":
			failed = true
			c.Message, c.Stack, err = r.explanation()
		case "reason":
			reason, _, err = r.explanation()
		case "output":
			c.Output, err = r.doc.content(maxOutput)
		case "attachments":
			err = r.nunitAttachments(&c.Attachments)
		}
		return err
	})
	if err != nil {
		return err
	}
	c.Outcome = nunitOutcome(e, failed)
	if c.Message == "" {
		c.Message = reason
	}
	if !s.clock.IsZero() {
		s.clock = s.clock.Add(c.Duration)
	}
	return r.add(c)
}

// nunitOutcome reads the words of both versions.
func nunitOutcome(e element, failed bool) Outcome {
	switch strings.ToLower(e.attr("result")) {
	case "passed", "success":
		return Passed
	case "failed", "failure", "error", "notrunnable", "invalid":
		return Failed
	case "skipped", "ignored":
		return NotExecuted
	case "inconclusive", "warning":
		return Inconclusive
	}
	switch {
	case failed, strings.EqualFold(e.attr("success"), "false"):
		return Failed
	case strings.EqualFold(e.attr("executed"), "false"):
		return NotExecuted
	case e.attr("result") != "":
		return Inconclusive
	}
	return Passed
}

// explanation reads the children message and stack-trace, which NUnit and
// xUnit.net share.
func (r *reader) explanation() (message, stack string, err error) {
	err = r.doc.children(func(e element) (err error) {
		switch e.name {
		case "message":
			message, err = r.doc.content(maxText)
		case "stack-trace":
			stack, err = r.doc.content(maxText)
		}
		return err
	})
	return message, stack, err
}

// nunitAttachments adds the paths of attachments.
func (r *reader) nunitAttachments(to *[]string) error {
	return r.doc.children(func(element) error {
		return r.doc.children(func(e element) error {
			if e.name != "filePath" {
				return nil
			}
			name, err := r.doc.content(maxNames)
			attach(to, name)
			return err
		})
	})
}

// maxAttachments bounds the files that one result names.
const maxAttachments = 100

func attach(to *[]string, name string) {
	if name != "" && len(*to) < maxAttachments {
		*to = append(*to, name)
	}
}
