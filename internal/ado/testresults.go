package ado

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// publication is one run that is being published.
type publication struct {
	client   *TestClient
	receipt  job.TestReceipt
	batch    []job.TestResult
	text     int // of the batch and the files it holds, in bytes
	attached int // files of results
}

// addAll sends results in batches.
func (p *publication) addAll(ctx context.Context, results iter.Seq2[job.TestResult, error]) error {
	for result, err := range results {
		if err == nil && (len(p.batch) == maxTestBatch || p.text >= maxTestBatchText) {
			err = p.flush(ctx)
		}
		if err != nil {
			return err
		}
		p.batch = append(p.batch, result)
		p.text += size(result)
	}
	return p.flush(ctx)
}

// size is about what a result takes in memory until it was sent, in bytes.
func size(r job.TestResult) int {
	n := len(r.Title) + len(r.Automated.Name) + len(r.Automated.Storage) + len(r.Message) + len(r.Stack)
	for _, file := range r.Attachments {
		n += file.Held
	}
	for _, part := range r.Parts {
		n += size(part)
	}
	return n
}

// flush sends the batch, and the files of its results.
func (p *publication) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	body := make([]TestCaseResult, 0, len(p.batch))
	for _, r := range p.batch {
		body = append(body, resultOf(r))
	}
	var added List[TestCaseResult]
	_, err := p.client.conn.do(ctx, call{
		method: http.MethodPost, location: LocationTestResults, version: versionTestResults,
		route: p.client.route("runId", strconv.Itoa(p.receipt.RunID)), body: body,
	}, &added)
	if err != nil {
		return fmt.Errorf("adding %d results: %w", len(body), err)
	}
	p.receipt.Results += len(body)
	for i, r := range p.batch {
		if len(r.Attachments) > 0 && (i >= len(added.Value) || added.Value[i].ID == 0) {
			p.skip(fmt.Errorf("the answer lacks the id of result %q, so its files cannot be attached", r.Title))
			continue
		}
		for _, file := range r.Attachments {
			if p.attached++; p.attached > maxTestAttachments {
				if p.attached == maxTestAttachments+1 {
					p.skip(fmt.Errorf("a run takes %d files of results; the rest is left out", maxTestAttachments))
				}
				break
			}
			if err := p.attach(ctx, LocationTestResultAttachments, added.Value[i].ID, file); err != nil {
				return err
			}
		}
	}
	clear(p.batch)
	p.batch, p.text = p.batch[:0], 0
	return nil
}

// attach sends one file to the run, or to one of its results. Only the end of
// ctx is an error: a file that cannot be read or is refused is noted.
func (p *publication) attach(ctx context.Context, location LocationID, result int, file job.TestAttachment) error {
	name := path.Base(file.Name)
	content, err := file.Content()
	if err == nil && len(content) > MaxTestAttachment {
		err = fmt.Errorf("it is larger than %d MB", MaxTestAttachment>>20)
	}
	if err == nil && !isFileName(name) {
		err = errFileName
	}
	if err == nil {
		route := p.client.route("runId", strconv.Itoa(p.receipt.RunID))
		if result > 0 {
			route["testCaseResultId"] = strconv.Itoa(result)
		}
		_, err = p.client.conn.do(ctx, call{
			method: http.MethodPost, location: location, version: versionTestOthers, route: route,
			content: newEncodedFile(file, name, content), media: mediaJSON,
		}, nil)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		p.skip(fmt.Errorf("attaching %s: %w", name, err))
	}
	return nil
}

// mostSkipped bounds what a receipt says about files.
const mostSkipped = 20

func (p *publication) skip(err error) {
	switch n := len(p.receipt.Skipped); {
	case n < mostSkipped:
		p.receipt.Skipped = append(p.receipt.Skipped, err)
	case n == mostSkipped:
		p.receipt.Skipped = append(p.receipt.Skipped, errors.New("more files could not be attached"))
	}
}

func resultOf(r job.TestResult) TestCaseResult {
	out := TestCaseResult{
		TestCaseTitle: r.Title, AutomatedTestName: r.Automated.Name, AutomatedTestStorage: r.Automated.Storage, AutomatedTestType: r.Automated.Type,
		Outcome: r.Outcome, State: TestCompleted, DurationInMs: float64(r.Duration.Microseconds()) / 1000, ErrorMessage: r.Message, StackTrace: r.Stack,
		ComputerName: r.Computer,
	}
	if !r.Started.IsZero() {
		out.StartedDate, out.CompletedDate = job.At(r.Started), job.At(r.Started.Add(r.Duration))
	}
	for _, part := range r.Parts {
		sub := TestSubResult{
			DisplayName: part.Title, Outcome: part.Outcome, DurationInMs: part.Duration.Milliseconds(),
			ErrorMessage: part.Message, StackTrace: part.Stack, ComputerName: part.Computer,
		}
		if !part.Started.IsZero() {
			sub.StartedDate, sub.CompletedDate = job.At(part.Started), job.At(part.Started.Add(part.Duration))
		}
		out.SubResults = append(out.SubResults, sub)
	}
	if len(r.Parts) > 0 {
		out.ResultGroupType = "dataDriven"
		if strings.EqualFold(r.Automated.Type, "OrderedTest") {
			out.ResultGroupType = "orderedTest"
		}
	}
	return out
}
