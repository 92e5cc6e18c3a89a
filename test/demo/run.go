package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// outcome is one finished job.
type outcome struct {
	report job.Report
	status jobStatus
}

// jobStatus is what the emulator answers about a job.
type jobStatus struct {
	State      string
	QueuedAt   time.Time
	StartedAt  time.Time
	FinishedAt time.Time
}

// runJob queues the example's pipeline, prints its log as it comes, and returns
// its report.
func (s *stage) runJob(ctx context.Context) (*outcome, error) {
	pipeline, err := os.ReadFile(filepath.Join(s.source, "azure-pipelines.yml"))
	if err != nil {
		return nil, err
	}
	query := url.Values{"param.registry": {s.registry.Addr()}, "repo": {s.source}}
	var queued struct {
		Run  int
		Jobs []struct{ ID, Name string }
	}
	if err := s.call(ctx, "POST", "/_emulator/jobs?"+query.Encode(), "application/yaml", pipeline, &queued); err != nil {
		return nil, err
	}
	if len(queued.Jobs) != 1 {
		return nil, fmt.Errorf("the pipeline has %d jobs, want 1", len(queued.Jobs))
	}
	path := "/_emulator/jobs/" + queued.Jobs[0].ID
	if err := s.follow(ctx, path+"/feed?follow=1"); err != nil {
		return nil, err
	}
	o := &outcome{}
	for {
		if err := s.call(ctx, "GET", path, "", nil, &o.status); err != nil {
			return nil, err
		}
		if o.status.State == "completed" {
			break
		}
		if err := retry.Wait(ctx, 50*time.Millisecond); err != nil {
			return nil, fmt.Errorf("waiting for the job: %w", err)
		}
	}
	return o, s.call(ctx, "GET", path+"/report", "", nil, &o.report)
}

// follow prints the job's live lines until it ends.
func (s *stage) follow(ctx context.Context, path string) error {
	resp, err := s.send(ctx, "GET", path, "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fmt.Println("  " + lines.Text())
	}
	return lines.Err()
}

func (s *stage) call(ctx context.Context, method, path, contentType string, body []byte, to any) error {
	resp, err := s.send(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	return json.NewDecoder(resp.Body).Decode(to)
}

func (s *stage) send(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<12)) // best effort: the status says enough
		_ = resp.Body.Close()
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	return resp, nil
}

// buildSteps adds up the job's image builds.
func (o *outcome) buildSteps() (steps, cached int) {
	for _, b := range o.report.Builds {
		steps += b.Steps
		cached += b.Cached
	}
	return steps, cached
}

// took returns how long the record with this name ran.
func (o *outcome) took(name string) string {
	for _, r := range o.report.Records {
		if r.Name == name && !r.FinishTime.IsZero() {
			return seconds(r.FinishTime.Sub(r.StartTime.Time))
		}
	}
	return "-"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func printTable(w io.Writer, cold, warm *outcome) {
	t := tabwriter.NewWriter(w, 0, 4, 3, ' ', 0)
	defer func() { _ = t.Flush() }()
	row := func(name string, value func(*outcome) string) {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\n", name, value(cold), value(warm))
	}
	row("", func(o *outcome) string {
		if o == cold {
			return "cold"
		}
		return "warm"
	})
	row("result", func(o *outcome) string { return string(o.report.Result) })
	row("whole job", func(o *outcome) string { return seconds(o.status.FinishedAt.Sub(o.status.QueuedAt)) })
	row("image build", func(o *outcome) string { return o.took("Build the image") })
	row("cached steps", func(o *outcome) string {
		steps, cached := o.buildSteps()
		return fmt.Sprintf("%d of %d", cached, steps)
	})
	row("MySQL, pull to healthy", func(o *outcome) string { return o.took("Start MySQL") })
	row("integration test", func(o *outcome) string { return o.took("Integration test") })
}
