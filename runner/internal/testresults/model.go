package testresults

import (
	"fmt"
	"strings"
	"time"
)

// Format is a kind of results file, as tasks name it.
type Format string

// The formats.
const (
	JUnit  Format = "JUnit"
	NUnit  Format = "NUnit"
	VSTest Format = "VSTest" // TRX
	XUnit  Format = "XUnit"
	CTest  Format = "CTest"
)

// ParseFormat reads a format's name in any case.
func ParseFormat(text string) (Format, error) {
	all := []Format{JUnit, NUnit, VSTest, XUnit, CTest}
	for _, f := range all {
		if strings.EqualFold(text, string(f)) {
			return f, nil
		}
	}
	return "", fmt.Errorf("the test result format %q is not one of %v", text, all)
}

// Outcome says how a case ended, in the service's words.
type Outcome string

// The outcomes that result files have.
const (
	Passed       Outcome = "Passed"
	Failed       Outcome = "Failed"
	NotExecuted  Outcome = "NotExecuted"
	Inconclusive Outcome = "Inconclusive"
)

// Case is the result of one test.
type Case struct {
	Title   string // never empty
	Name    string // what identifies the test, often with class or module
	Storage string // where the test is: an assembly, a class, a program; may be empty
	Type    string // the service's word for what wrote the result
	Outcome Outcome

	Started  time.Time // zero: unknown
	Duration time.Duration

	Message, Stack      string
	Output, ErrorOutput string // of a case that failed
	Computer            string // may be empty

	// Attachments are files that the result names: absolute, or relative to the
	// directory of the results file.
	Attachments []string
	// Parts are the results of which this one is made, as those of a test that
	// runs once for each row of data. They have no parts themselves.
	Parts []Case
}

// Run is what a file says of all its cases together.
type Run struct {
	Name      string    // may be empty
	Started   time.Time // zero: unknown
	Completed time.Time // zero: unknown
	Duration  time.Duration
	Totals    Totals

	Attachments []string // as those of a [Case]
}

// Totals count cases by outcome.
type Totals struct {
	Passed, Failed, NotExecuted, Inconclusive int
}

// Add counts one case.
func (t *Totals) Add(o Outcome) {
	switch o {
	case Passed:
		t.Passed++
	case Failed:
		t.Failed++
	case NotExecuted:
		t.NotExecuted++
	default:
		t.Inconclusive++
	}
}

// Plus returns the sum of both.
func (t Totals) Plus(o Totals) Totals {
	return Totals{t.Passed + o.Passed, t.Failed + o.Failed, t.NotExecuted + o.NotExecuted, t.Inconclusive + o.Inconclusive}
}

// All is the number of cases.
func (t Totals) All() int { return t.Passed + t.Failed + t.NotExecuted + t.Inconclusive }

// String tells all that is not zero, and how many passed in any case.
func (t Totals) String() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%d tests, %d passed", t.All(), t.Passed)
	for _, c := range []struct {
		n    int
		what string
	}{{t.Failed, "failed"}, {t.NotExecuted, "not executed"}, {t.Inconclusive, "inconclusive"}} {
		if c.n > 0 {
			fmt.Fprintf(&text, ", %d %s", c.n, c.what)
		}
	}
	return text.String()
}
