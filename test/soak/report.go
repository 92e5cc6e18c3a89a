package soak

import (
	"context"
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/podmanrun"
)

// Report is what a soak found.
type Report struct {
	Agents, Jobs, Requests int
	Faults                 map[string]int     // by kind
	Results                map[job.Result]int // of jobs, as the server has them
	Lines                  int                // stored, of steps and jobs
	Took                   time.Duration
	Objections             map[string]int // of the server, by section of the protocol
	Problems               []string       // what must not be
	Left                   string         // what is left at the end, in words
}

func (r *Report) problem(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// report compares what the server has with what was to be.
func (f *fleet) report(ctx context.Context, queued []queuedJob, waitErr error) Report {
	r := Report{Agents: f.o.Agents, Jobs: len(queued), Results: map[job.Result]int{}, Objections: map[string]int{}}
	r.Requests, r.Faults = f.srv.faults.counts()
	if waitErr != nil {
		r.problem("%v", waitErr)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, err := range f.ends {
		r.problem("%v", err)
	}
	for _, q := range queued {
		f.judge(&r, q)
	}
	lost := r.Faults[string(emulator.FaultLoseLock)]
	if n, most := r.Results[job.Abandoned], lost+1+len(queued)/lostStart; n > most {
		r.problem("%d jobs were abandoned; %d lost locks explain %d at most", n, lost, most)
	}
	for _, v := range f.srv.Violations() {
		r.Objections[v.Section+": "+withoutNames(v.Text)]++
	}
	for name := range f.srv.Agents() {
		r.problem("agent %s is left in the pool", name)
	}
	return r
}

// judge looks at one job. f.mu is held.
func (f *fleet) judge(r *Report, q queuedJob) {
	report, err := f.srv.Report(q.id)
	if err != nil {
		r.problem("%s: %v", q.word, err)
		return
	}
	r.Results[report.Result]++
	if n := f.ran[q.id]; n > 1 {
		r.problem("%s ran %d times", q.word, n)
	}
	accepted := 0
	for _, c := range f.srv.Calls(q.id) {
		if c.Resource == "events" && c.Status/100 == 2 {
			accepted++
		}
	}
	told := f.told[q.id]
	switch {
	case report.Result == "":
		r.problem("%s has no result", q.word)
	case accepted > 1:
		r.problem("%s was completed %d times", q.word, accepted)
	case report.Result != job.Abandoned && len(told) == 1 && told[0] != report.Result:
		r.problem("%s: its agent says %s, the server %s", q.word, told[0], report.Result)
	case report.Result != job.Succeeded && report.Result != job.Abandoned:
		r.problem("%s ended as %s: %s", q.word, report.Result, issuesOf(report))
	}
	done, succeeded := 0, report.Result == job.Succeeded
	if got := report.Outputs["one.word"]; succeeded && got != q.word {
		r.problem("%s: its output variable is %q", q.word, got)
	}
	for _, record := range report.Records {
		switch record.RefName {
		case "one", "two":
			got := ours(record.Log, q.word+" "+record.RefName+" ")
			r.Lines += len(record.Log)
			f.compare(r, q, record.RefName, got, succeeded)
		case "task":
			r.Lines += len(record.Log)
			done += countOf(record.Log, q.word+taskLine)
		}
	}
	if want := map[bool]int{true: 1}[q.task]; succeeded && done != want {
		r.problem("%s: its task has printed its line %d times, want %d", q.word, done, want)
	}
	for _, record := range report.Records {
		if record.ID == q.id.Record() {
			r.Lines += len(record.Log)
			got := ours(record.Log, q.word+" ")
			if succeeded && len(got) != 2*f.o.Lines {
				r.problem("%s: the job's log has %d of %d lines", q.word, len(got), 2*f.o.Lines)
			}
		}
	}
}

// issuesOf joins what the records say went wrong.
func issuesOf(report job.Report) string {
	var all []string
	for _, record := range report.Records {
		for _, issue := range record.Issues {
			all = append(all, fmt.Sprintf("%s: %s", record.Name, issue.Message))
		}
	}
	return strings.Join(all, "; ")
}

// countOf counts a line.
func countOf(log []string, line string) (n int) {
	for _, l := range log {
		if l == line {
			n++
		}
	}
	return n
}

// ours are the lines that a step printed.
func ours(log []string, prefix string) []string {
	return slices.DeleteFunc(slices.Clone(log), func(l string) bool { return !strings.HasPrefix(l, prefix) || !strings.Contains(l, " of ") })
}

// compare checks that lines are there once, in order and, of a job that succeeded,
// all of them. Of one that its agent lost, a beginning may have arrived.
func (f *fleet) compare(r *Report, q queuedJob, step string, got []string, all bool) {
	if all && len(got) != f.o.Lines {
		r.problem("%s: step %s has %d lines, want %d", q.word, step, len(got), f.o.Lines)
	}
	for i, line := range got {
		if want := fmt.Sprintf("%s %s %d of %d", q.word, step, i+1, f.o.Lines); line != want {
			r.problem("%s: line %d of step %s is %q, want %q", q.word, i+1, step, line, want)
			return
		}
	}
}

// withoutNames makes objections of the same kind equal.
func withoutNames(text string) string {
	words := strings.Fields(text)
	for i, w := range words {
		if strings.ContainsAny(w, "0123456789") {
			words[i] = "…"
		}
	}
	return strings.Join(words, " ")
}

// settleTime bounds how long connections and goroutines may take to go.
const settleTime = 10 * time.Second

// containers removes what the agents left in Podman, and counts it.
func (r *Report) containers(ctx context.Context, o Options, podman *podmanrun.Client) {
	if podman == nil {
		r.Left = "no Podman"
		return
	}
	n := 0
	for i := range o.Agents {
		removed, err := podman.RemoveOwned(ctx, podmanrun.Owner{Agent: agentName(i)})
		if err != nil {
			r.problem("looking for containers: %v", err)
		}
		n += len(removed.Containers) + len(removed.Networks) + len(removed.Volumes)
	}
	r.Left = fmt.Sprintf("%d containers, networks and volumes", n)
	if n > 0 {
		r.problem("%d containers, networks or volumes are left", n)
	}
}

// left counts what the soak leaves in this process.
func (r *Report) left(before left) {
	var now left
	for end := time.Now().Add(settleTime); ; time.Sleep(100 * time.Millisecond) {
		if now = countLeft(); now.goroutines <= before.goroutines && now.files <= before.files || time.Now().After(end) {
			break
		}
	}
	r.Left = fmt.Sprintf("%d goroutines, %d file descriptors, %s",
		max(now.goroutines-before.goroutines, 0), max(now.files-before.files, 0), r.Left)
	if now.goroutines > before.goroutines {
		stacks := make([]byte, 1<<20)
		r.problem("%d goroutines are left:\n%s", now.goroutines-before.goroutines, stacks[:runtime.Stack(stacks, true)])
	}
	if now.files > before.files {
		r.problem("%d file descriptors are left", now.files-before.files)
	}
}

// Write prints the report as a table.
func (r Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { _, _ = fmt.Fprintf(t, "%s\t%v\n", name, value) }
	row("agents", r.Agents)
	row("jobs", r.Jobs)
	row("took", r.Took)
	row("requests", r.Requests)
	total := 0
	for _, n := range r.Faults {
		total += n
	}
	row("faults", fmt.Sprintf("%d, one in %.1f requests", total, float64(r.Requests)/float64(max(total, 1))))
	for _, kind := range slices.Sorted(maps.Keys(r.Faults)) {
		row("  "+kind, r.Faults[kind])
	}
	for _, result := range slices.Sorted(maps.Keys(r.Results)) {
		row("jobs that ended as "+string(result), r.Results[result])
	}
	row("lines stored", r.Lines)
	row("left", r.Left)
	for _, text := range slices.Sorted(maps.Keys(r.Objections)) {
		row("server objects, "+text, r.Objections[text])
	}
	row("problems", len(r.Problems))
	for _, p := range r.Problems {
		row("  !", p)
	}
	return t.Flush()
}
