package statuspage

import (
	"fmt"
	"net/url"
	"strconv"
	"time"
)

func escapePath(s string) string { return url.PathEscape(s) }

// duration is a length of time as people say it: 0.4 s, 12 s, 3 min 20 s, 2 h 5 min.
func duration(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	case d < time.Minute:
		return strconv.Itoa(int(d.Seconds())) + " s"
	case d < time.Hour:
		return parts(int(d.Minutes()), "min", int(d.Seconds())%60, "s")
	}
	return parts(int(d.Hours()), "h", int(d.Minutes())%60, "min")
}

func parts(large int, of string, small int, unit string) string {
	if small == 0 {
		return fmt.Sprintf("%d %s", large, of)
	}
	return fmt.Sprintf("%d %s %d %s", large, of, small, unit)
}

// seconds is how long something took or has taken until now; empty when it has not
// begun.
func seconds(from, to, now time.Time) string {
	if from.IsZero() {
		return ""
	}
	if to.IsZero() {
		return duration(now.Sub(from).Truncate(time.Second))
	}
	return duration(to.Sub(from))
}

// percent places a part of the whole on a scale of a thousand.
func percent(part, whole time.Duration) int {
	if whole <= 0 {
		return 0
	}
	return int(min(max(part, 0), whole) * 1000 / whole)
}

// since is how long something has lasted; empty when it is not known.
func since(from, now time.Time) string { return seconds(from, time.Time{}, now) }

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + one + "s"
}

// clock is a time for people, in UTC as the server's own logs have it.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// stamp is a time for programs.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// badge is a state in a word, with a sign and a class that say the same.
type badge struct{ Class, Sign, Word string }

// badges are the words of all states and results.
var badges = map[string]badge{
	"succeeded":           {"good", "✓", "succeeded"},
	"succeededWithIssues": {"warn", "!", "succeeded with issues"},
	"failed":              {"bad", "✕", "failed"},
	"canceled":            {"off", "■", "canceled"},
	"skipped":             {"off", "–", "skipped"},
	"abandoned":           {"bad", "✕", "abandoned"},
	"pending":             {"off", "○", "pending"},
	"queued":              {"off", "○", "queued"},
	"assigned":            {"live", "▸", "assigned"},
	"inProgress":          {"live", "▶", "running"},
	"running":             {"live", "▶", "running"},
	"completed":           {"off", "■", "completed"},
	"offline":             {"bad", "✕", "offline"},
	"idle":                {"good", "✓", "idle"},
	"busy":                {"live", "▶", "busy"},
	"draining":            {"warn", "!", "draining"},
	"starting":            {"live", "▸", "starting"},
	"live":                {"warn", "!", "live, not ready"},
	"ready":               {"good", "✓", "ready"},
	"stopped":             {"off", "■", "stopped"},
	"healthy":             {"good", "✓", "healthy"},
	"unhealthy":           {"bad", "✕", "unhealthy"},
	"created":             {"off", "○", "created"},
	"exited":              {"off", "■", "exited"},
	"paused":              {"warn", "!", "paused"},
	"late":                {"bad", "✕", "late"},
	"cached":              {"good", "✓", "cached"},
	"rebuilt":             {"warn", "↻", "rebuilt"},
	"true":                {"good", "✓", "yes"},
	"false":               {"bad", "✕", "no"},
}

// badgeOf returns the badge of the first word that is not empty, which is how a
// result goes before a state.
func badgeOf(words ...any) badge {
	for _, w := range words {
		word := fmt.Sprint(w)
		if word == "" {
			continue
		}
		if b, ok := badges[word]; ok {
			return b
		}
		return badge{"off", "·", word}
	}
	return badge{"off", "·", "unknown"}
}

// span is a bar in a chart a thousand wide.
type span struct{ From, Length int }

// barOf places a step within its job.
func barOf(j Job, s Step, now time.Time) span {
	if s.Started.IsZero() || j.Started.IsZero() || s.State == "pending" {
		return span{}
	}
	end := func(t time.Time) time.Time {
		if t.IsZero() {
			return now
		}
		return t
	}
	whole := end(j.Finished).Sub(j.Started)
	return span{From: min(percent(s.Started.Sub(j.Started), whole), 1000-leastBar), Length: width(end(s.Finished).Sub(s.Started), whole)}
}

// leastBar is what can still be seen.
const leastBar = 6

func width(part, whole time.Duration) int { return max(percent(part, whole), leastBar) }
