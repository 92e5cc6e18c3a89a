package emulator

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"

	"github.com/dockless-ci/dockless/internal/job"
)

// maxTestFile is the size of the largest file of a test run, in bytes (§9.5).
const maxTestFile = 75 << 20

// TestAttachment is a file of a test run or of a result.
type TestAttachment struct {
	ID      int    `json:"id"`
	Type    string `json:"attachmentType"`
	Name    string `json:"fileName"`
	Comment string `json:"comment"`
	Content []byte `json:"-"`
	Size    int    `json:"size"`
}

// addTestAttachment adds a file to a run or to one of its results.
func (s *Server) addTestAttachment(c *call) (any, error) {
	body, err := c.body(maxUpload)
	if err != nil {
		return nil, err
	}
	var in struct {
		AttachmentType, FileName, Comment, Stream string
	}
	if err := c.parse(body, &in); err != nil {
		return nil, err
	}
	content, err := base64.StdEncoding.DecodeString(in.Stream)
	switch {
	case err != nil:
		return nil, badRequest("The member stream is no base64 (§9.5).")
	case !fileName(in.FileName) || in.AttachmentType == "":
		return nil, badRequest("An attachment has a type and a file name, not %q and %q (§9.5).", in.AttachmentType, in.FileName)
	case len(content) > maxTestFile:
		return nil, tooLarge(maxTestFile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.openTestRun(c)
	if err != nil {
		return nil, err
	}
	to := &t.Attachments
	if c.v("testCaseResultId") != "" {
		r := t.result(c)
		if r == nil {
			return nil, noTestResult(c)
		}
		to = &r.Attachments
	}
	s.testFiles++
	a := TestAttachment{ID: s.testFiles, Type: in.AttachmentType, Name: in.FileName, Comment: in.Comment, Content: content, Size: len(content)}
	*to = append(*to, a)
	c.note = a.Name
	return struct {
		ID  int    `json:"id"`
		URL string `json:"url"`
	}{a.ID, base(c.r) + c.r.URL.EscapedPath() + "/" + strconv.Itoa(a.ID)}, nil
}

// getTestAttachments lists files, or answers the content of one.
func (s *Server) getTestAttachments(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, err := s.testRunOf(c)
	if err != nil {
		return nil, err
	}
	from := t.Attachments
	if c.v("testCaseResultId") != "" {
		r := t.result(c)
		if r == nil {
			return nil, noTestResult(c)
		}
		from = r.Attachments
	}
	if c.v("attachmentId") == "" {
		return listOf(slices.Clone(from)), nil
	}
	for _, a := range from {
		if strconv.Itoa(a.ID) == c.v("attachmentId") {
			return raw{"application/octet-stream", a.Content}, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "TestObjectNotFoundException", "Test run %s has no attachment %s there.", c.v("runId"), c.v("attachmentId"))
}

// coverageWire is a summary of code coverage as it travels.
type coverageWire struct {
	Stats    []job.CoverageCounter `json:"coverageStats"`
	Platform string                `json:"buildPlatform"`
	Flavor   string                `json:"buildFlavor"`
}

// addCoverage adds to the coverage of a build.
func (s *Server) addCoverage(c *call) (any, error) {
	var in coverageWire
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.testBuild(c, c.q("buildId"))
	if err != nil {
		return nil, err
	}
	for _, counter := range in.Stats {
		if counter.Label == "" || counter.Covered < 0 || counter.Covered > counter.Total {
			return nil, badRequest("Of %q, %d of %d are covered (§9.5).", counter.Label, counter.Covered, counter.Total)
		}
	}
	if len(in.Stats) == 0 {
		return nil, badRequest("A summary of code coverage has statistics (§9.5).")
	}
	r.coverage = append(r.coverage, job.Coverage{Platform: in.Platform, Flavor: in.Flavor, Counters: in.Stats})
	return nil, nil
}

func (s *Server) getCoverage(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.testBuild(c, c.q("buildId"))
	if err != nil {
		return nil, err
	}
	out := struct {
		Data []coverageWire `json:"coverageData"`
	}{Data: []coverageWire{}}
	for _, v := range r.coverage {
		out.Data = append(out.Data, coverageWire{v.Counters, v.Platform, v.Flavor})
	}
	return out, nil
}

// TestEvidence is what the jobs of a run published about its tests.
type TestEvidence struct {
	Runs     []TestRun      `json:"runs"`
	Coverage []job.Coverage `json:"coverage"`
}

// Tests returns what the run of a job has of tests and coverage, [ErrNoJob] when
// there is no such job.
func (s *Server) Tests(id job.ID) (TestEvidence, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := TestEvidence{Runs: []TestRun{}, Coverage: []job.Coverage{}}
	q := s.jobs[id]
	if q == nil {
		return out, ErrNoJob
	}
	for _, t := range s.testRuns {
		if t.run == q.run {
			copied := t.TestRun
			copied.Results = slices.Clone(copied.Results)
			copied.Attachments, copied.Batches = slices.Clone(copied.Attachments), slices.Clone(copied.Batches)
			out.Runs = append(out.Runs, copied)
		}
	}
	slices.SortFunc(out.Runs, func(a, b TestRun) int { return a.ID - b.ID })
	out.Coverage = append(out.Coverage, q.run.coverage...)
	return out, nil
}
