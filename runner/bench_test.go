package runner_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

// counter is a Reporter that only counts.
type counter struct{ lines, bytes, updates atomic.Int64 }

func (c *counter) UpdateRecord(job.Record)                              { c.updates.Add(1) }
func (c *counter) Attach(context.Context, job.RecordID, job.Attachment) {}
func (c *counter) Waits() bool                                          { return false }
func (c *counter) WriteLine(_ job.RecordID, line []byte) {
	c.lines.Add(1)
	c.bytes.Add(int64(len(line)))
}

func benchRun(b *testing.B, m *job.Message) *counter {
	b.Helper()
	r, err := runner.New(config(b), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	c := &counter{}
	out, err := r.Run(b.Context(), m, c)
	if err != nil || out.Result != job.Succeeded {
		b.Fatalf("job %s, %v", out.Result, err)
	}
	return c
}

// BenchmarkLog is a step that writes 256 MiB of log while 100 secrets are
// masked, two of them in one line of a thousand.
func BenchmarkLog(b *testing.B) {
	m := message(script("s", ""))
	for i := range 100 {
		value := fmt.Sprintf("s3cr3t-%03d-Value-%x", i, i*7919)
		m.Variables[fmt.Sprintf("secret%d", i)] = job.Variable{Value: value, IsSecret: true}
		m.Mask = append(m.Mask, job.MaskHint{Type: "regex", Value: strings.ReplaceAll(value, "-", `\-`)})
	}
	var text strings.Builder
	for n := 0; text.Len() < 8<<20; n++ {
		if n%1000 == 0 {
			fmt.Fprintf(&text, "line %d has s3cr3t-042-Value-%x in it\n", n, 42*7919)
		} else {
			fmt.Fprintf(&text, "2026-01-01 compiling package number %d of the project, as logs of builds usually look like\n", n)
		}
	}
	file := filepath.Join(b.TempDir(), "text")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	m.Steps[0].Inputs["script"] = "for i in $(seq 32); do cat " + file + "; done"
	b.SetBytes(int64(32 * text.Len()))
	for b.Loop() {
		if c := benchRun(b, m); c.lines.Load() < 1000 {
			b.Fatalf("%d lines", c.lines.Load())
		}
	}
}

// BenchmarkTrueSteps is a job of 200 steps that do nothing, with 100 secrets.
func BenchmarkTrueSteps(b *testing.B) {
	var steps []job.Step
	for i := range 200 {
		steps = append(steps, script(fmt.Sprintf("s%d", i), "true"))
	}
	m := message(steps...)
	for i := range 100 {
		m.Variables[fmt.Sprintf("secret%d", i)] = job.Variable{Value: fmt.Sprintf("s3cr3t-%03d-Value-%x", i, i*7919), IsSecret: true}
	}
	for b.Loop() {
		benchRun(b, m)
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/200, "ms/step")
}

// BenchmarkBash is what 200 steps are compared with.
func BenchmarkBash(b *testing.B) {
	for b.Loop() {
		for range 200 {
			if err := exec.CommandContext(b.Context(), "bash", "-c", "true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N)/200, "ms/step")
}

// BenchmarkCommands is a step that prints 100,000 logging commands of a kind.
// No kind may cost more the more there were.
func BenchmarkCommands(b *testing.B) {
	for name, format := range map[string]string{
		"logissue":    "##vso[task.logissue type=warning]number %s",
		"setvariable": "##vso[task.setvariable variable=v%s]value",
		"setprogress": "##vso[task.setprogress value=5]%s",
		"malformed":   "##vso %s",
	} {
		b.Run(name, func(b *testing.B) {
			m := message(script("s", "seq -f '"+strings.ReplaceAll(format, "%s", "%.0f")+"' 100000"))
			for b.Loop() {
				benchRun(b, m)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/100_000, "ns/command")
		})
	}
}

// BenchmarkSecrets is a step that registers 300 secrets, each of which is in
// the masks before the next line is read.
func BenchmarkSecrets(b *testing.B) {
	m := message(script("s", "for i in $(seq 300); do echo \"##vso[task.setsecret]secret-$i-$((i*7919))\"; echo line $i; done"))
	for b.Loop() {
		benchRun(b, m)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/300, "µs/secret")
}
