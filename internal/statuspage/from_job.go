package statuspage

import (
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/dockless-ci/dockless/internal/job"
)

// StepOf returns how a record of a timeline is shown.
func StepOf(r job.Record, hasLog bool) Step {
	s := Step{
		ID: string(r.ID), Name: r.Name, State: string(r.State), Result: string(r.Result),
		Percent: r.PercentComplete, Started: timeOf(r.StartTime), Finished: timeOf(r.FinishTime),
		Errors: r.ErrorCount, Warnings: r.WarningCount, HasLog: hasLog,
	}
	if r.State != job.Completed {
		s.Operation = r.CurrentOperation
	}
	for _, i := range r.Issues {
		s.Issues = append(s.Issues, Issue{Kind: string(i.Type), Message: i.Message})
	}
	return s
}

func timeOf(t *job.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// MostReport is the largest report of a build that [ReadBuild] reads, in bytes. No
// honest one comes near it, nor its parts near these.
const MostReport = 256 << 10

const (
	mostRows      = 500
	mostPlatforms = 20
	mostName      = 512
	mostText      = 2 << 10
)

// ReadBuild returns how the report of an image build is shown, the JSON of a
// [job.BuildReport]. It may be anything that a job attached: what is long in it is cut, and
// ReadBuild fails when it is no report, or larger than [MostReport].
func ReadBuild(report []byte) (Build, error) {
	if len(report) > MostReport {
		return Build{}, fmt.Errorf("the report of a build has %d KiB, and %d KiB are read", len(report)>>10, MostReport>>10)
	}
	var b job.BuildReport
	if err := json.Unmarshal(report, &b); err != nil {
		return Build{}, fmt.Errorf("reading the report of a build: %w", err)
	}
	out := Build{
		Step: Cut(b.Step, mostName), Digest: Cut(b.Digest, mostName), Platforms: cutAll(b.Platforms, mostPlatforms, mostName),
		Steps: b.Steps, Cached: b.Cached, Took: seconds64(b.Seconds), Reasons: cutAll(b.Reasons, mostRows, mostText),
	}
	for _, r := range b.Waterfall[:min(len(b.Waterfall), mostRows)] {
		out.Rows = append(out.Rows, BuildRow{
			Name: Cut(r.Name, mostText), Cached: r.Cached, Start: seconds64(r.Start), Took: seconds64(r.Seconds), Reason: Cut(r.Reason, mostText),
		})
	}
	return out, nil
}

// Cut bounds a text in bytes, between two characters, and says that it did. What is no
// UTF-8 is cut anywhere.
func Cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	at := most
	for at > 0 && most-at < utf8.UTFMax-1 && !utf8.RuneStart(text[at]) {
		at--
	}
	if !utf8.RuneStart(text[at]) { // more bytes than a character has
		at = most
	}
	return text[:at] + "…"
}

func cutAll(texts []string, most, length int) (out []string) {
	for _, text := range texts[:min(len(texts), most)] {
		out = append(out, Cut(text, length))
	}
	return out
}

func seconds64(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
