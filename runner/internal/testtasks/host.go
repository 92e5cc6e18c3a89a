package testtasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

// maxAttachment is the size above which a file is not attached, in bytes: the
// service takes no larger one (protocol §9.5).
const maxAttachment = 75 << 20

// Service is where results and coverage go; see the runner's TestService.
type Service interface {
	PublishTests(ctx context.Context, run job.TestRun, results iter.Seq2[job.TestResult, error], files []job.TestAttachment) (job.TestReceipt, error)
	PublishCoverage(ctx context.Context, coverage job.Coverage) error
}

// Host is what publishing needs of a job. All members but Service are required.
type Host struct {
	Service   Service                             // nil: there is no server
	Open      func(path string) (*os.File, error) // as far as the job may read it
	Mask      func(text string) string
	MaskText  func(content []byte) []byte // of a file, in any encoding
	Masks     testresults.Masks
	Say       func(line string)     // writes a line into the log
	Summarize func(markdown string) // shows a page with the run; gets it masked
	BuildID   string                // empty: the job belongs to no build
}

// FindingsError is errors and warnings that end a publication. It is an error
// that fails the step only when one of them does.
type FindingsError []job.Issue

// Error implements error.
func (f FindingsError) Error() string {
	var all []error
	for _, i := range f {
		all = append(all, errors.New(i.Message))
	}
	return errors.Join(all...).Error()
}

func (f *FindingsError) add(kind job.IssueType, format string, args ...any) {
	*f = append(*f, job.Issue{Type: kind, Message: fmt.Sprintf(format, args...)})
}

// err returns the findings as an error, nil when there are none.
func (f FindingsError) err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// open opens a regular file.
func (h Host) open(path string) (*os.File, error) {
	f, err := h.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(fmt.Errorf("%s is no regular file", path), err, f.Close())
	}
	return f, nil
}

// attachment returns a file of the job as one to publish. Text says that it is
// known to be some; other files are looked at.
func (h Host) attachment(path string, text bool) job.TestAttachment {
	return job.TestAttachment{Name: h.Mask(filepath.Base(path)), Content: func() ([]byte, error) {
		f, err := h.open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // read only
		content, err := io.ReadAll(io.LimitReader(f, maxAttachment+1))
		if err != nil {
			return nil, err
		}
		if len(content) > maxAttachment {
			return nil, fmt.Errorf("it is larger than %d MB", maxAttachment>>20)
		}
		if text || mask.IsText(content) {
			content = h.MaskText(content)
		}
		return content, nil
	}}
}

// textAttachment returns a text as a file to publish.
func (h Host) textAttachment(name, kind, text string) job.TestAttachment {
	return job.TestAttachment{Name: name, Kind: kind, Held: len(text), Content: func() ([]byte, error) { return h.MaskText([]byte(text)), nil }}
}
