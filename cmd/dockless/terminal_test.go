package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console/consoletest"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

// play reports a job of two steps, one of them skipped.
func play(t *terminal) {
	start := job.Time{Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	end := job.Time{Time: start.Add(1234 * time.Millisecond)}
	t.UpdateRecord(job.Record{ID: "job", Type: job.TypeJob, Name: "Build", State: job.InProgress, StartTime: &start})
	t.UpdateRecord(job.Record{ID: "one", ParentID: "job", Type: job.TypeTask, Name: "Compile", State: job.Pending})
	t.UpdateRecord(job.Record{ID: "two", ParentID: "job", Type: job.TypeTask, Name: "Push", State: job.Pending})
	t.UpdateRecord(job.Record{ID: "one", State: job.InProgress, StartTime: &start})
	t.WriteLine("one", []byte("cc main.c"))
	t.UpdateRecord(job.Record{ID: "one", State: job.Completed, Result: job.Failed, FinishTime: &end})
	t.UpdateRecord(job.Record{ID: "two", State: job.Completed, Result: job.Skipped, FinishTime: &end})
	t.UpdateRecord(job.Record{ID: "job", State: job.Completed, Result: job.Failed, FinishTime: &end})
}

func TestThePlainDisplayIsTheLogOfTheJob(t *testing.T) {
	var out bytes.Buffer
	screen, err := newDisplay(t.Context(), "auto", &out) // a buffer is no terminal
	if err != nil {
		t.Fatal(err)
	}
	play(newTerminal(screen, false))
	if err := screen.close(); err != nil {
		t.Fatal(err)
	}
	want := "cc main.c\n##[section]Skipped: Push\njob Build: failed (1.23s)\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("plain display (-want +got):\n%s", diff)
	}
}

func TestTheJSONDisplayIsOneEventPerLine(t *testing.T) {
	var out bytes.Buffer
	screen, err := newDisplay(t.Context(), "json", &out)
	if err != nil {
		t.Fatal(err)
	}
	play(newTerminal(screen, false))
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if got, want := len(lines), 8; got != want {
		t.Fatalf("lines = %d, want %d:\n%s", got, want, out.String())
	}
	if got, want := lines[4], `{"event":"line","line":"cc main.c","record":"one"}`; got != want {
		t.Errorf("line = %s, want %s", got, want)
	}
	if !strings.Contains(lines[5], `"name":"Compile"`) || !strings.Contains(lines[5], `"result":"failed"`) {
		t.Errorf("a record lacks what was known before its change: %s", lines[5])
	}
}

func TestTheReportKeepsRecordsInOrderWithTheirLines(t *testing.T) {
	screen, err := newDisplay(t.Context(), "plain", &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	term := newTerminal(screen, true)
	play(term)
	var got []string
	for _, r := range term.reported() {
		got = append(got, r.Name+" "+string(r.Result)+" "+strings.Join(r.Log, "|"))
	}
	if diff := cmp.Diff([]string{"Build failed ", "Compile failed cc main.c", "Push skipped "}, got); diff != "" {
		t.Errorf("reported (-want +got):\n%s", diff)
	}
}

func TestTheSummaryNamesWhatFailed(t *testing.T) {
	screen, err := newDisplay(t.Context(), "plain", &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	term := newTerminal(screen, false)
	play(term)
	var out bytes.Buffer
	term.summarize(&out, "plain", job.Failed)
	if got, want := out.String(), "failed: Compile\nfailed: 0 of 1 jobs succeeded\n"; got != want {
		t.Errorf("summary = %q, want %q", got, want)
	}
}

func TestPlainLinesSayWhoseTheyAreWhileTwoRecordsAreOpen(t *testing.T) {
	var out strings.Builder
	d, err := newDisplay(t.Context(), "plain", &out)
	if err != nil {
		t.Fatal(err)
	}
	term := newTerminal(d, false)
	open := func(id, name string, state job.State) {
		term.UpdateRecord(job.Record{ID: job.RecordID(id), Type: job.TypeTask, Name: name, State: state})
	}
	open("a", "Checkout", job.InProgress)
	term.WriteLine("a", []byte("alone"))
	open("b", "Containers", job.InProgress)
	term.WriteLine("a", []byte("one"))
	term.WriteLine("b", []byte("two"))
	open("b", "Containers", job.Completed)
	term.WriteLine("a", []byte("alone again"))
	if want := "alone\n[Checkout] one\n[Containers] two\nalone again\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestATerminalShowsStepsAndTheLogOfTheFailedOne(t *testing.T) {
	tty, screen := consoletest.Terminal(t)
	d, err := newDisplay(t.Context(), "auto", tty)
	if err != nil {
		t.Fatal(err)
	}
	play(newTerminal(d, false))
	if err := d.close(); err != nil {
		t.Fatal(err)
	}
	got := screen()
	for _, want := range []string{"[+] Running", "=> ERROR [Build] Compile", "=> [Build] Push (skipped)", "> [Build] Compile:", "cc main.c"} {
		if !strings.Contains(got, want) {
			t.Errorf("the screen lacks %q:\n%s", want, got)
		}
	}
}
