package testtasks

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/step"
	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

// AnyTool in codecoverage.publish stands for whichever tool wrote the file. It is
// ours: the second version of the task names none.
const AnyTool = "any"

// errNoCoverage is shown as the original says it.
var errNoCoverage = errors.New("No code coverage results were found to publish.") //nolint:staticcheck // the task's sentence

// maxExtraFiles bounds additionalCodeCoverageFiles.
const maxExtraFiles = 100

// PublishCoverage1 is PublishCodeCoverageResults@1 (language §5.9).
func PublishCoverage1(ctx context.Context, s step.Step) error {
	tool := s.Text("codeCoverageTool", testresults.JaCoCo)
	pattern := s.Text("summaryFileLocation", "")
	if pattern == "" {
		return errors.New("the input summaryFileLocation is empty")
	}
	files, err := find(ctx, s, s.Path(""), []string{pattern})
	if err != nil {
		return fmt.Errorf("the input summaryFileLocation: %w", err)
	}
	if len(files) > 1 {
		s.Warning("Several files match " + pattern + "; the first is used: " + files[0])
		files = files[:1]
	}
	if done, err := checkCoverage(s, files, tool); done || err != nil {
		return err
	}
	properties := map[string]string{"codecoveragetool": tool, "summaryfile": List(files)}
	if report := s.Text("reportDirectory", ""); report != "" {
		found, err := match.Find(ctx, s.Path(""), []string{strings.TrimRight(report, `/\`)}, match.Options{})
		if err != nil {
			return fmt.Errorf("the input reportDirectory: %w", err)
		}
		if len(found) > 0 {
			properties["reportdirectory"] = found[0]
		} else {
			s.Warning("The report directory " + report + " was not found.")
		}
	}
	if extra := s.Text("additionalCodeCoverageFiles", ""); extra != "" {
		found, err := find(ctx, s, s.Path(""), []string{extra})
		if err != nil {
			return fmt.Errorf("the input additionalCodeCoverageFiles: %w", err)
		}
		properties["additionalcodecoveragefiles"] = List(found)
	}
	s.Command("codecoverage", "publish", properties, "")
	return nil
}

// PublishCoverage2 is PublishCodeCoverageResults@2 (language §5.9). Several files
// are added up.
func PublishCoverage2(ctx context.Context, s step.Step) error {
	patterns := lines(s.Text("summaryFileLocation", ""))
	if len(patterns) == 0 {
		return errors.New("the input summaryFileLocation is empty")
	}
	files, err := find(ctx, s, s.Path(""), patterns)
	if err != nil {
		return fmt.Errorf("the input summaryFileLocation: %w", err)
	}
	if done, err := checkCoverage(s, files, ""); done || err != nil {
		return err
	}
	s.Command("codecoverage", "publish", map[string]string{"codecoveragetool": AnyTool, "summaryfile": List(files)}, "")
	return nil
}

// checkCoverage says what there is, and whether that is all: without a file there
// is nothing to publish.
func checkCoverage(s step.Step, files []string, tool string) (done bool, err error) {
	for _, file := range files {
		s.Print("Code coverage file: " + file)
	}
	if s.Given("pathToSources") {
		s.Print("The input pathToSources is not used: this agent makes no report of its own.")
	}
	must := s.Truth("failIfCoverageEmpty", false)
	if len(files) == 0 && !must {
		s.Warning(errNoCoverage.Error())
		return true, nil
	}
	if !must {
		return false, nil
	}
	for _, file := range files {
		counters, err := readCoverage(Host{Open: s.Open}, file, tool)
		if err != nil {
			return false, err
		}
		if len(counters) > 0 {
			return false, nil
		}
	}
	return false, errNoCoverage
}

func readCoverage(h Host, file, tool string) ([]testresults.Counter, error) {
	f, err := h.open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	return testresults.ReadCoverage(f, file, tool)
}

// CoveragePublication is what codecoverage.publish is to do.
type CoveragePublication struct {
	Tool                    string   // empty: any
	Files                   []string // absolute paths of summaries
	Platform, Configuration string
}

// Run publishes the sum of all summaries. What it returns besides the cause of
// ctx is [FindingsError].
func (p CoveragePublication) Run(ctx context.Context, h Host) error {
	var found FindingsError
	var all [][]testresults.Counter
	for _, file := range p.Files {
		counters, err := readCoverage(h, file, p.Tool)
		if err != nil {
			found.add(job.Warning, "The code coverage of a file is left out: %v", err)
			continue
		}
		if len(counters) == 0 {
			h.Say("There is no code coverage in " + filepath.Base(file) + ".")
		}
		all = append(all, counters)
	}
	coverage := job.Coverage{Platform: h.Mask(p.Platform), Flavor: h.Mask(p.Configuration)}
	for _, c := range testresults.Merge(all...) {
		h.Say(fmt.Sprintf("%s: %d of %d covered (%.1f %%)", c.Label, c.Covered, c.Total, c.Percent()))
		coverage.Counters = append(coverage.Counters, job.CoverageCounter{Label: c.Label, Covered: c.Covered, Total: c.Total, Position: c.Position})
	}
	switch {
	case len(coverage.Counters) == 0:
		found.add(job.Warning, "%v", errNoCoverage)
	case h.Service == nil:
		h.Say("There is no server: the code coverage is not kept.")
	default:
		if err := h.Service.PublishCoverage(ctx, coverage); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			found.add(job.Error, "The code coverage could not be published: %v", err)
		}
	}
	return found.err()
}

// Extra returns the additional files as far as they are published.
func Extra(text string) []string {
	files := Split(text)
	return files[:min(len(files), maxExtraFiles)]
}
