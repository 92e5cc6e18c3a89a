package buildcache

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

const (
	// judged is how many exports are looked back on: enough to forget a bad day,
	// few enough to notice within a day that a build has changed.
	judged = 5
	// evidence is how many exports there must be before one is skipped: the first
	// spares nothing yet, and the second may have met a registry at a bad moment.
	evidence = 3
	// retryAfter is how many builds in a row may go without an export. Others may
	// build what this machine does not, so the cache must not get old for good.
	retryAfter = 10
)

// Yield is one export that succeeded: what it cost, and what imports of the scope
// spared the builds after it, until the next export.
type Yield struct {
	Took   time.Duration
	Spared time.Duration // negative when importing took longer than the steps would have
}

// History is what is known of the exports of one scope. The zero value is that of
// a scope that was never exported.
type History struct {
	Yields  []Yield // of the last exports, oldest first
	Skipped int     // builds in a row without an export
	// Longest is the longest step that had run when the last export was made.
	Longest time.Duration
}

// Credit enters what importing the scope spared one build. It belongs to the last
// export: that is what was imported.
func (h *History) Credit(spared time.Duration) {
	if n := len(h.Yields); n > 0 {
		h.Yields[n-1].Spared += spared
	}
}

// Exported enters an export that succeeded and took so long, of a build whose
// longest step took longest.
func (h *History) Exported(took, longest time.Duration) {
	h.Yields = append(h.Yields, Yield{Took: took})
	h.Yields = slices.Delete(h.Yields, 0, max(0, len(h.Yields)-judged))
	h.Skipped, h.Longest = 0, max(h.Longest, longest)
}

// Skip returns why the export of a build is not worth it, and "" when it is or
// may be: nothing is known yet, it is time to try again, or a step ran for longer
// than any that was exported before, and for longer than an export takes:
// importing it would repay the next build.
func (h *History) Skip(longest time.Duration) string {
	if len(h.Yields) < evidence || h.Skipped >= retryAfter {
		return ""
	}
	var took, spared time.Duration
	for _, y := range h.Yields {
		took += y.Took
		spared += y.Spared
	}
	if took <= spared || longest > max(h.Longest, took/time.Duration(len(h.Yields))) {
		return ""
	}
	return fmt.Sprintf("the last %d exports took %s and spared %s", len(h.Yields), inWords(took), inWords(max(0, spared)))
}

// inWords is a duration as people say it: to the tenth of a second below ten, and
// to the second above.
func inWords(d time.Duration) string {
	unit := time.Second
	if d < 10*time.Second {
		unit /= 10
	}
	return strconv.FormatFloat(d.Round(unit).Seconds(), 'f', -1, 64) + " s"
}
