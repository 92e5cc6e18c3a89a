package job

import "time"

// TestRun is a set of test results that is published together (protocol §9.5).
type TestRun struct {
	Name               string
	Platform, Flavor   string // of the build that was tested; empty: not said
	System             string // who publishes; empty: not said
	Started, Completed time.Time
}

// TestResult is how one test ended.
type TestResult struct {
	Title     string
	Automated AutomatedTest
	Outcome   string // as the service spells it: Passed, Failed, NotExecuted, Inconclusive

	Started  time.Time // zero: unknown
	Duration time.Duration

	Message, Stack string
	Computer       string

	Attachments []TestAttachment
	Parts       []TestResult // one level: parts have neither parts nor attachments
}

// AutomatedTest says which test it was.
type AutomatedTest struct{ Name, Storage, Type string }

// TestAttachment is a file of a run or of a result.
type TestAttachment struct {
	Name    string
	Comment string
	Kind    string // the service's word; empty is GeneralAttachment
	// Content reads the file, masked. It is called when the file is to be sent,
	// once, so that no more than one is in memory.
	Content func() ([]byte, error)
	// Held is what Content keeps in memory until then, in bytes; zero for a file
	// that it reads.
	Held int
}

// TestReceipt is what became of a run that was published.
type TestReceipt struct {
	RunID   int
	Results int // how many the server took
	Failed  int // of them, without those that the server knows as flaky; -1: it did not say
	// Skipped says which attachments could not be sent, and what the server did not
	// say of the run, and why. None of it makes a run worthless.
	Skipped []error
}

// Coverage is the summary of what tests have reached in one build (protocol §9.5).
type Coverage struct {
	Platform, Flavor string
	Counters         []CoverageCounter
}

// CoverageCounter is one number of a [Coverage]. It travels as it is.
type CoverageCounter struct {
	Label    string `json:"label"`
	Covered  int    `json:"covered"`
	Total    int    `json:"total"`
	Position int    `json:"position"` // where it is shown; 1 is first
}
