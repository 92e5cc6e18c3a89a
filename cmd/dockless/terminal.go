package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
)

// display draws what jobs report. Its calls come one at a time from a [terminal].
type display interface {
	record(now, before job.Record)      // a record changed
	line(record job.RecordID, l []byte) // one masked line
	close() error                       // nothing comes any more
}

// terminal is the reporter of a replay: it draws records and lines, and keeps
// them when a report is wanted. It is safe for concurrent use.
type terminal struct {
	mu      sync.Mutex
	display display
	keep    bool // logs, for the report
	records map[job.RecordID]job.Record
	order   []job.RecordID
	logs    map[job.RecordID][]string
}

func newTerminal(d display, keepLogs bool) *terminal {
	return &terminal{
		display: d, keep: keepLogs,
		records: make(map[job.RecordID]job.Record), logs: make(map[job.RecordID][]string),
	}
}

// UpdateRecord merges a change of a record and draws it. What a step reports below
// its own record is drawn by servers only.
func (t *terminal) UpdateRecord(r job.Record) {
	if r.Timeline != "" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	before, known := t.records[r.ID]
	if !known {
		before = job.Record{ID: r.ID}
		t.order = append(t.order, r.ID)
	}
	now := before.Merge(r)
	t.records[r.ID] = now
	t.display.record(now, before)
}

// WriteLine draws one masked line.
func (t *terminal) WriteLine(record job.RecordID, line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.keep {
		t.logs[record] = append(t.logs[record], string(line))
	}
	t.display.line(record, line)
}

// Attach drops attachments: what they say is in the outcome of the job.
func (t *terminal) Attach(context.Context, job.RecordID, job.Attachment) {}

// Waits is false: there is no server.
func (*terminal) Waits() bool { return false }

// reported returns every record with its log, in the order of their creation.
func (t *terminal) reported() []job.ReportRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]job.ReportRecord, 0, len(t.order))
	for _, id := range t.order {
		out = append(out, t.records[id].Reported(t.logs[id]))
	}
	return out
}

// summarize ends a replay of more than one job, or one that did not succeed,
// with a line that says how it went. With json, the records have said it.
func (t *terminal) summarize(w io.Writer, output string, result job.Result) {
	if output == "json" {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	jobs, ok := 0, 0
	var failed []string
	for _, id := range t.order {
		switch r := t.records[id]; {
		case r.Type == job.TypeJob:
			jobs++
			if r.Result.OK() {
				ok++
			}
		case r.Type == job.TypeTask && r.State == job.Completed && r.Result == job.Failed:
			failed = append(failed, r.Name)
		}
	}
	if len(failed) > 0 {
		console.Say(w, "failed: %s\n", strings.Join(failed, ", "))
	}
	console.Say(w, "%s: %d of %d jobs succeeded\n", result, ok, jobs)
}

// newDisplay returns the display that --output names: auto, tty, plain or json.
func newDisplay(ctx context.Context, mode string, w io.Writer) (display, error) {
	if err := cmdline.OneOf("--output", mode, "auto", "tty", "plain", "json"); err != nil {
		return nil, err
	}
	f, tty := console.Terminal(w)
	if mode == "auto" && !tty {
		mode = "plain"
	}
	switch mode {
	case "plain":
		return &plainDisplay{w: w, open: make(map[job.RecordID]string)}, nil
	case "json":
		return &jsonDisplay{enc: json.NewEncoder(w)}, nil
	}
	if !tty {
		return nil, hint.With(cmdline.Usagef("--output tty needs a terminal"), "set --output to plain when the output goes to a file or a pipe")
	}
	v, err := console.DrawVertices(ctx, f, "Running")
	if err != nil {
		return nil, err
	}
	return &ttyDisplay{vertices: v, jobs: make(map[job.RecordID]string)}, nil
}

// plainDisplay prints the log as the web page of a job would show it. While two
// records are open at once, as the checkout and the services are, each line says
// whose it is.
type plainDisplay struct {
	w    io.Writer
	open map[job.RecordID]string // names of the records in progress
}

func (p *plainDisplay) record(now, before job.Record) {
	if now.Type == job.TypeTask {
		delete(p.open, now.ID)
		if now.State == job.InProgress {
			p.open[now.ID] = now.Name
		}
	}
	switch {
	case now.Type == job.TypeJob && before.State != job.Completed && now.State == job.Completed:
		console.Say(p.w, "job %s: %s%s\n", now.Name, now.Result, took(now))
	case now.Type == job.TypeTask && before.State != job.Completed && now.Result == job.Skipped:
		console.Say(p.w, "##[section]Skipped: %s\n", now.Name)
	}
}

func (p *plainDisplay) line(record job.RecordID, l []byte) {
	if name := p.open[record]; name != "" && len(p.open) > 1 {
		console.Say(p.w, "[%s] ", name)
	}
	console.Say(p.w, "%s\n", l)
}
func (p *plainDisplay) close() error { return nil }

func took(r job.Record) string {
	if r.StartTime == nil || r.FinishTime == nil {
		return ""
	}
	return fmt.Sprintf(" (%s)", r.FinishTime.Sub(r.StartTime.Time).Round(10*time.Millisecond))
}

// jsonDisplay prints one JSON object per event.
type jsonDisplay struct{ enc *json.Encoder }

func (j *jsonDisplay) record(now, _ job.Record) {
	_ = j.enc.Encode(map[string]any{"event": "record", "record": now}) // a reader that has gone ends the program by SIGPIPE
}

func (j *jsonDisplay) line(record job.RecordID, l []byte) {
	_ = j.enc.Encode(map[string]any{"event": "line", "record": record, "line": string(l)})
}
func (j *jsonDisplay) close() error { return nil }

// ttyDisplay draws steps as vertices of BuildKit's progress display.
type ttyDisplay struct {
	vertices *console.Vertices
	jobs     map[job.RecordID]string // names, to tell the steps of several jobs apart
}

// unnamedJob is what the service calls a job of a file that declares none.
const unnamedJob = "Job"

func (t *ttyDisplay) record(now, _ job.Record) {
	if now.Type == job.TypeJob {
		t.jobs[now.ID] = now.Name
	}
	if now.Type != job.TypeTask || now.State == job.Pending {
		return
	}
	v := console.Vertex{ID: string(now.ID), Name: now.Name}
	if in := t.jobs[now.ParentID]; in != "" && in != unnamedJob {
		v.Name = "[" + in + "] " + v.Name
	}
	if now.StartTime != nil {
		v.Started = now.StartTime.Time
	}
	if now.State == job.Completed {
		v.Completed = time.Now()
		if now.FinishTime != nil {
			v.Completed = now.FinishTime.Time
		}
		switch {
		case now.Result == job.Skipped:
			v.Name += " (skipped)"
		case now.Result == job.Canceled:
			v.Failed = context.Canceled.Error() // by which the display knows it
		case !now.Result.OK():
			v.Failed = string(now.Result)
		}
	}
	t.vertices.Draw(v)
}

func (t *ttyDisplay) line(record job.RecordID, l []byte) {
	t.vertices.Log(string(record), strings.TrimRight(string(l), "\r"))
}

func (t *ttyDisplay) close() error { return t.vertices.Close() }
