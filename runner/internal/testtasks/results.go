package testtasks

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/step"
	"github.com/dockless-ci/dockless/runner/internal/testresults"
)

// mergeAbove is the number of files from which on they become one run whatever
// the step says, as with the original: each run costs the server a while.
const mergeAbove = 100

// PublishResults is PublishTestResults@2 (language §5.9).
func PublishResults(ctx context.Context, s step.Step) error {
	format, err := testresults.ParseFormat(s.Text("testRunner", s.Text("testResultsFormat", string(testresults.JUnit))))
	if err != nil {
		return fmt.Errorf("the input testResultsFormat: %w", err)
	}
	patterns := lines(s.Text("testResultsFiles", "**/TEST-*.xml"))
	files, err := find(ctx, s, s.Path(s.Text("searchFolder", "")), patterns)
	if err != nil {
		return fmt.Errorf("the input testResultsFiles: %w", err)
	}
	if len(files) == 0 {
		text := fmt.Sprintf("No test result files matching '%s' were found.", strings.Join(patterns, ","))
		if s.Truth("failTaskOnMissingResultsFile", false) {
			return hint.With(errors.New(text), "check testResultsFiles and searchFolder, and whether the step that runs the tests wrote a file")
		}
		s.Warning(text)
		return nil
	}
	properties := map[string]string{
		"type": string(format), "resultfiles": List(files), "testrunsystem": "VSTS - PTR",
		"mergeresults":                      truth(s.Truth("mergeTestResults", false) || len(files) > mergeAbove),
		"publishrunattachments":             truth(s.Truth("publishRunAttachments", true)),
		"failtaskonfailedtests":             truth(s.Truth("failTaskOnFailedTests", false)),
		"failtaskonfailuretopublishresults": truth(s.Truth("failTaskOnFailureToPublishResults", false)),
		"failtaskonmissingresultsfile":      truth(s.Truth("failTaskOnMissingResultsFile", false)),
		"runtitle":                          s.Text("testRunTitle", ""),
		"platform":                          s.Text("platform", s.Text("buildPlatform", "")),
		"config":                            s.Text("configuration", s.Text("buildConfiguration", "")),
	}
	s.Command("results", "publish", properties, "")
	return nil
}

func truth(yes bool) string { return strconv.FormatBool(yes) }

// lines splits an input of several lines; empty ones say nothing.
func lines(text string) []string {
	var all []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			all = append(all, line)
		}
	}
	return all
}

// find returns the files that patterns choose, without directories and what the
// job may not read.
func find(ctx context.Context, s step.Step, root string, patterns []string) ([]string, error) {
	found, err := match.Find(ctx, root, patterns, match.Options{})
	if err != nil {
		return nil, err
	}
	var files []string
	for _, path := range found {
		if regular(s, path) {
			files = append(files, path)
		}
	}
	return files, nil
}

func regular(s step.Step, path string) bool {
	f, err := s.Open(path)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return errors.Join(err, f.Close()) == nil && info.Mode().IsRegular()
}

// List joins paths for a property of a logging command. Commas, the older
// separator, may be part of a name, so there always is a bar.
func List(paths []string) string { return strings.Join(paths, "|") + "|" }

// Split reads a list of paths, separated by bars or, where there is none, by
// commas.
func Split(text string) []string {
	separator := ","
	if strings.Contains(text, "|") {
		separator = "|"
	}
	var all []string
	for part := range strings.SplitSeq(text, separator) {
		if part = strings.TrimSpace(part); part != "" {
			all = append(all, part)
		}
	}
	return all
}
