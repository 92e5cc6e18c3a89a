package stage

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// Job is one queued job.
type Job struct {
	ID   job.ID `json:"id"`
	Name string `json:"name"`
}

// Status is what the emulator answers about a job.
type Status struct {
	State      string // queued, assigned, running or completed
	Result     job.Result
	QueuedAt   time.Time
	AssignedAt time.Time
	StartedAt  time.Time
	FinishedAt time.Time
}

// Completed reports whether the job has ended.
func (s Status) Completed() bool { return s.State == "completed" }

// QueuePipeline queues the jobs of a pipeline. repo, when not empty, is the path
// of the repository "self".
func (s *Stage) QueuePipeline(ctx context.Context, yaml []byte, repo string, params map[string]string) ([]Job, error) {
	query := url.Values{}
	if repo != "" {
		query.Set("repo", repo)
	}
	for name, value := range params {
		query.Set("param."+name, value)
	}
	return s.queue(ctx, "/_emulator/jobs?"+query.Encode(), "application/yaml", yaml)
}

// QueueMessage queues one job message as a server would send it.
func (s *Stage) QueueMessage(ctx context.Context, m *job.Message) (Job, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return Job{}, fmt.Errorf("writing the job message: %w", err)
	}
	jobs, err := s.queue(ctx, "/_emulator/jobs", "application/json", body)
	if err != nil {
		return Job{}, err
	}
	return jobs[0], nil
}

func (s *Stage) queue(ctx context.Context, path, contentType string, body []byte) ([]Job, error) {
	var answer struct{ Jobs []Job }
	if err := s.call(ctx, "POST", path, contentType, body, &answer); err != nil {
		return nil, err
	}
	if len(answer.Jobs) == 0 {
		return nil, errors.New("the emulator queued no job")
	}
	return answer.Jobs, nil
}

// OfferTask makes the emulator hand out a package, the zip of a task's folder.
func (s *Stage) OfferTask(ctx context.Context, zip []byte) (job.TaskReference, error) {
	var ref job.TaskReference
	return ref, s.call(ctx, "POST", "/_emulator/tasks", "application/zip", zip, &ref)
}

// Status asks how a job is doing.
func (s *Stage) Status(ctx context.Context, id job.ID) (Status, error) {
	var st Status
	return st, s.call(ctx, "GET", "/_emulator/jobs/"+string(id), "", nil, &st)
}

// WaitFor asks until want holds. It fails when ctx ends, naming what it waited for.
func (s *Stage) WaitFor(ctx context.Context, id job.ID, what string, want func(Status) bool) (Status, error) {
	// Often enough for benchmarks of jobs that take milliseconds.
	const pause = 10 * time.Millisecond
	for {
		st, err := s.Status(ctx, id)
		if err != nil {
			return st, err
		}
		if want(st) {
			return st, nil
		}
		if err := retry.Wait(ctx, pause); err != nil {
			return st, fmt.Errorf("waiting for job %s to be %s, it is %s: %w", id, what, st.State, err)
		}
	}
}

// Wait waits for the end of a job and returns its report.
func (s *Stage) Wait(ctx context.Context, id job.ID) (Status, job.Report, error) {
	st, err := s.WaitFor(ctx, id, "completed", Status.Completed)
	if err != nil {
		return st, job.Report{}, err
	}
	report, err := s.Report(ctx, id)
	return st, report, err
}

// Report returns what is known of a job.
func (s *Stage) Report(ctx context.Context, id job.ID) (job.Report, error) {
	var r job.Report
	return r, s.call(ctx, "GET", "/_emulator/jobs/"+string(id)+"/report", "", nil, &r)
}

// Cancel sends the cancellation of a job.
func (s *Stage) Cancel(ctx context.Context, id job.ID) error {
	resp, err := s.send(ctx, "POST", "/_emulator/jobs/"+string(id)+"/cancel", "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Fail makes calls of the emulator fail, as its control call for faults says
// (design §9), until [Stage.Heal].
func (s *Stage) Fail(ctx context.Context, fault string) error {
	return s.call(ctx, "POST", "/_emulator/faults", "application/json", []byte(fault), &json.RawMessage{})
}

// Heal removes all faults.
func (s *Stage) Heal(ctx context.Context) error {
	resp, err := s.send(ctx, "DELETE", "/_emulator/faults", "", nil)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Follow hands the live lines of a job to see until it ends.
func (s *Stage) Follow(ctx context.Context, id job.ID, see func(line string)) error {
	resp, err := s.send(ctx, "GET", "/_emulator/jobs/"+string(id)+"/feed?follow=1", "", nil)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		see(lines.Text())
	}
	return lines.Err()
}

// Agents returns the names of the agents registered in the pool, over the
// protocol's own call and with the PAT.
func (s *Stage) Agents(ctx context.Context) ([]string, error) {
	var pools, agents struct {
		Value []struct {
			ID   int
			Name string
		}
	}
	if err := s.call(ctx, "GET", "/_apis/distributedtask/pools?poolName=Default", "", nil, &pools); err != nil {
		return nil, err
	}
	if len(pools.Value) != 1 {
		return nil, fmt.Errorf("%d pools are called Default, want 1", len(pools.Value))
	}
	path := fmt.Sprintf("/_apis/distributedtask/pools/%d/agents", pools.Value[0].ID)
	if err := s.call(ctx, "GET", path, "", nil, &agents); err != nil {
		return nil, err
	}
	var names []string
	for _, a := range agents.Value {
		names = append(names, a.Name)
	}
	return names, nil
}

func (s *Stage) call(ctx context.Context, method, path, contentType string, body []byte, to any) error {
	resp, err := s.send(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // read only
	if err := json.NewDecoder(resp.Body).Decode(to); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

func (s *Stage) send(ctx context.Context, method, path, contentType string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.SetBasicAuth("", PAT)
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
