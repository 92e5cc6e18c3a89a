package testtasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

// Publication is what results.publish is to do.
type Publication struct {
	Format testresults.Format
	Files  []string // absolute paths
	Merge  bool     // one run for all files, not one for each

	Title, Platform, Configuration, System string

	AttachFiles   bool // the results files, and the files that they name for the run
	FailOnFailed  bool // a test that failed fails the step
	FailOnProblem bool // so does what keeps results from being published
}

// set is some files that become one run.
type set struct {
	name  string
	files []scanned
}

// scanned is a file that was read once: what is in it is known, and that it is
// well-formed. Its results are read again when they are published, so that no
// more than a thousand of them are in memory.
type scanned struct {
	path string
	run  testresults.Run
}

// Run publishes. What it returns besides the cause of ctx is [FindingsError].
func (p Publication) Run(ctx context.Context, h Host) error {
	var found FindingsError
	var totals testresults.Totals
	failures := failureList{mask: h.Mask}
	files, err := p.scan(ctx, h, &failures, &found)
	if err != nil {
		return err
	}
	for _, f := range files {
		totals = totals.Plus(f.run.Totals)
	}
	h.Say(fmt.Sprintf("%d result files of format %s: %s", len(files), p.Format, totals))
	for _, line := range failures.lines() {
		h.Say(line)
	}
	failed := totals.Failed
	if h.Service == nil {
		h.Say("There is no server: the results were counted and are not kept.")
	} else {
		failed = 0
		for _, s := range p.sets(h, files) {
			n, err := p.publish(ctx, h, s, &found)
			if err != nil {
				return err
			}
			failed += n
		}
	}
	if totals.Failed > 0 {
		h.Summarize(failures.markdown(totals, h.Mask(p.Title)))
	}
	if failed > 0 && p.FailOnFailed {
		found.add(job.Error, "There are one or more test failures: %d of %d tests failed.", failed, totals.All())
	}
	return found.err()
}

// problem is what keeps results from being published.
func (p Publication) problem(found *FindingsError, format string, args ...any) {
	kind := job.Warning
	if p.FailOnProblem {
		kind = job.Error
	}
	found.add(kind, format, args...)
}

// scan reads every file once.
func (p Publication) scan(ctx context.Context, h Host, failures *failureList, found *FindingsError) ([]scanned, error) {
	var files []scanned
	for _, path := range p.Files {
		run, err := p.read(ctx, h, path, func(c testresults.Case) error {
			if c.Outcome == testresults.Failed {
				failures.add(c)
			}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			p.problem(found, "A results file cannot be read as %s and is left out: %v", p.Format, err)
		case run.Totals.All() == 0:
			h.Say("No test result was found in " + path + ".")
		default:
			files = append(files, scanned{path, run})
		}
	}
	return files, nil
}

// read passes the cases of a file to yield, until ctx ends.
func (p Publication) read(ctx context.Context, h Host, path string, yield func(testresults.Case) error) (testresults.Run, error) {
	f, err := h.open(path)
	if err != nil {
		return testresults.Run{}, err
	}
	defer f.Close() //nolint:errcheck // read only
	return testresults.Read(f, path, p.Format, h.Masks, func(c testresults.Case) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return yield(c)
	})
}

// sets says which runs are made of files.
func (p Publication) sets(h Host, files []scanned) []set {
	if len(files) == 0 {
		return nil
	}
	if p.Merge {
		return []set{{cmp.Or(p.Title, fmt.Sprintf("%s_TestResults_%s", p.Format, h.BuildID)), files}}
	}
	var all []set
	for i, f := range files {
		name := cmp.Or(f.run.Name, fmt.Sprintf("%s_%s", p.Format, filepath.Base(f.path)))
		switch {
		case p.Title != "" && len(files) > 1:
			name = fmt.Sprintf("%s_%d", p.Title, i+1)
		case p.Title != "":
			name = p.Title
		}
		all = append(all, set{name, files[i : i+1]})
	}
	return all
}

// publish makes one run and returns how many tests failed in it. The error is
// the cause of ctx only.
func (p Publication) publish(ctx context.Context, h Host, s set, found *FindingsError) (failed int, err error) {
	run := job.TestRun{Name: h.Mask(s.name), Platform: h.Mask(p.Platform), Flavor: h.Mask(p.Configuration), System: h.Mask(p.System)}
	var attachments []job.TestAttachment
	var spent time.Duration
	dated := true
	for _, f := range s.files {
		failed += f.run.Totals.Failed
		spent += f.run.Duration
		dated = dated && !f.run.Started.IsZero()
		if dated && (run.Started.IsZero() || f.run.Started.Before(run.Started)) {
			run.Started = f.run.Started
		}
		if f.run.Completed.After(run.Completed) {
			run.Completed = f.run.Completed
		}
		if !p.AttachFiles {
			continue
		}
		attachments = append(attachments, h.attachment(f.path, true))
		for _, name := range f.run.Attachments {
			attachments = append(attachments, h.attachment(beside(f.path, name), false))
		}
	}
	if !dated { // as long as it took, until now
		run.Completed = time.Now()
		run.Started = run.Completed.Add(-spent)
	}
	receipt, err := h.Service.PublishTests(ctx, run, p.results(ctx, h, s.files), attachments)
	if ctx.Err() != nil {
		return failed, context.Cause(ctx)
	}
	for _, skipped := range receipt.Skipped {
		found.add(job.Warning, "Test run %q: %v", run.Name, skipped)
	}
	if err != nil {
		p.problem(found, "The test results of run %q could not be published: %v", run.Name, err)
	} else {
		h.Say(fmt.Sprintf("Published test run %d, %q: %d results.", receipt.RunID, run.Name, receipt.Results))
	}
	if receipt.Failed >= 0 {
		failed = receipt.Failed
	}
	return failed, nil
}

var errEnough = errors.New("nobody wants more results")

// results reads the files again, masked.
func (p Publication) results(ctx context.Context, h Host, files []scanned) iter.Seq2[job.TestResult, error] {
	return func(yield func(job.TestResult, error) bool) {
		for _, f := range files {
			_, err := p.read(ctx, h, f.path, func(c testresults.Case) error {
				if !yield(h.result(c, f.path), nil) {
					return errEnough
				}
				return nil
			})
			if errors.Is(err, errEnough) {
				return
			}
			if err != nil {
				yield(job.TestResult{}, err)
				return
			}
		}
	}
}

// result masks a case and says what is attached to it.
func (h Host) result(c testresults.Case, file string) job.TestResult {
	r := job.TestResult{
		Title: h.Mask(c.Title), Outcome: string(c.Outcome), Started: c.Started, Duration: c.Duration,
		Automated: job.AutomatedTest{Name: h.Mask(c.Name), Storage: h.Mask(c.Storage), Type: c.Type},
		Message:   h.Mask(c.Message), Stack: h.Mask(c.Stack), Computer: h.Mask(c.Computer),
	}
	if c.Output != "" {
		r.Attachments = append(r.Attachments, h.textAttachment("Standard_Console_Output.log", "ConsoleLog", c.Output))
	}
	if c.ErrorOutput != "" {
		r.Attachments = append(r.Attachments, h.textAttachment("Standard_Console_Error.log", "", c.ErrorOutput))
	}
	for _, name := range c.Attachments {
		r.Attachments = append(r.Attachments, h.attachment(beside(file, name), false))
	}
	for _, part := range c.Parts {
		part.Attachments, part.Output, part.ErrorOutput, part.Parts = nil, "", "", nil
		r.Parts = append(r.Parts, h.result(part, file))
	}
	return r
}

// beside resolves the path of a file that a results file names.
func beside(file, name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(file), name)
}
