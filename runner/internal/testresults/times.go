package testresults

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// longest bounds a duration: a day of tests is a lot, and sums of many must fit.
const longest = 366 * 24 * time.Hour

// seconds reads a number of seconds, or a span as in 00:00:01.5; zero when it is
// neither. Java writes 1,234.5 for more than a thousand, and some tools 0,5 where
// the machine speaks so.
func seconds(text string) time.Duration {
	text = strings.TrimSpace(text)
	if strings.Contains(text, ":") {
		return span(text)
	}
	if head, tail, ok := strings.Cut(text, ","); ok {
		thousands := strings.ContainsAny(tail, ".,") || len(tail) == 3 && strings.TrimLeft(head, "-0") != ""
		if thousands {
			text = strings.ReplaceAll(text, ",", "")
		} else {
			text = head + "." + tail
		}
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(n) || n < 0 {
		return 0
	}
	return time.Duration(math.Round(min(n, longest.Seconds()) * float64(time.Second)))
}

// span reads [d.]hh:mm:ss[.f]; zero when it is none.
func span(text string) time.Duration {
	d, err := job.ParseSpan(strings.TrimSpace(text))
	if err != nil {
		return 0
	}
	return min(max(d, 0), longest)
}

// layouts of dates, without and with a zone. One without is taken as UTC.
var layouts = []string{
	time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04:05.999999999Z0700", "2006-01-02T15:04", "2006-01-02", "01/02/2006 15:04:05", time.UnixDate, time.ANSIC, time.RFC1123, time.RFC1123Z,
}

// date reads a date; zero when it is none, or one that no test ran at: the
// service refuses years before 1753, and writers put 0001 for "unknown".
func date(text string) time.Time {
	text = strings.TrimSpace(text)
	for _, layout := range layouts {
		if t, err := time.Parse(layout, text); err == nil {
			return plausible(t.UTC())
		}
	}
	return time.Time{}
}

func plausible(t time.Time) time.Time {
	if t.Year() < 1970 || t.Year() > 2999 {
		return time.Time{}
	}
	return t
}

// epoch reads seconds since 1970; zero when there is none.
func epoch(text string) time.Time {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil || n <= 0 || n > 1<<35 {
		return time.Time{}
	}
	return plausible(time.Unix(n, 0).UTC())
}

// period widens from the earliest beginning to the latest end.
type period struct{ from, to time.Time }

// include adds a stretch; one that begins nowhere changes nothing.
func (p *period) include(from time.Time, d time.Duration) {
	if from.IsZero() {
		return
	}
	if p.from.IsZero() || from.Before(p.from) {
		p.from = from
	}
	if end := from.Add(d); end.After(p.to) {
		p.to = end
	}
}
