package statuspage

import "time"

// Text returns text as HTML.
func Text(text string) string { return string(appendText(nil, []byte(text))) }

// Lines returns a log as a page has it.
func Lines(l Log) string { return string(appendLog(nil, l)) }

// Operations returns a log as a page adds it.
func Operations(l Log) []string { return operations(l) }

// MostStreams is how many may look at once.
const MostStreams = mostStreams

// Duration is a length of time for people.
var Duration = duration

// At makes the page believe that it is now.
func (p *Page) At(now time.Time) { p.now = func() time.Time { return now } }
