// Package artifacttasks knows how the tasks for artifacts work: those that publish
// files of a run and those that download them again (language §5.8). It reads the
// files of a job through [step.Step], and talks to whatever keeps artifacts through
// [Service]: the server of an agent, or a folder of a replay.
//
// Pipeline artifacts are kept as container artifacts, because the store of the
// service for them speaks no public protocol (protocol §9.4).
package artifacttasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// Service keeps artifacts. Its methods are called concurrently.
type Service interface {
	// Upload stores files in the container of a run.
	Upload(ctx context.Context, u job.Upload) error
	// Associate adds an artifact to a run, in place of one of the same name, and
	// returns it as it is kept.
	Associate(ctx context.Context, run job.RunReference, a job.Artifact) (job.Artifact, error)
	// Artifacts lists the artifacts of a run.
	Artifacts(ctx context.Context, run job.RunReference) ([]job.Artifact, error)
	// Files lists the files of an artifact in a container.
	Files(ctx context.Context, run job.RunReference, a job.Artifact) ([]job.ContainerFile, error)
	// Fetch writes one of them to to, in one attempt. An error with a method
	// Temporary() bool that returns true may go away.
	Fetch(ctx context.Context, run job.RunReference, a job.Artifact, name string, to io.Writer) error
	// FindRun returns the run that a query means, with the GUID of its project.
	FindRun(ctx context.Context, q job.RunQuery) (job.RunReference, error)
}

// Run is the run that a job belongs to, and where its artifacts are kept.
type Run struct {
	job.RunReference

	Service   Service
	Container int64  // its file container
	Job       string // id of the job
}

// forbidden cannot be in the name of an artifact, besides control characters.
const forbidden = "\":<>|*?/\\"

// CheckName refuses what cannot be the name of an artifact, or of a folder.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("the artifact has no name")
	case name == "." || name == "..":
		return fmt.Errorf("the artifact name %q is no name of a folder", name)
	case strings.ContainsAny(name, forbidden) || strings.ContainsFunc(name, unicode.IsControl):
		return hint.With(fmt.Errorf("the artifact name %q has a character that is not allowed", name),
			"use none of %s and no control character in it", strings.Join(strings.Split(forbidden, ""), " "))
	}
	return nil
}

// DefaultName is the name of a pipeline artifact that has none: the identifier of
// the job without what is neither letter, digit, blank nor dot, and without the
// default's part at its end.
func DefaultName(jobIdentifier string) string {
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ' ' || c == '.' {
			return c
		}
		return -1
	}, jobIdentifier)
	return strings.TrimSuffix(name, ".default")
}

// input returns the first input that is not empty, under its name or an alias.
func input(s step.Step, otherwise string, names ...string) string {
	for _, name := range names {
		if text := s.Text(name, ""); text != "" {
			return text
		}
	}
	return otherwise
}

// lines splits an input with one entry per line.
func lines(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

// size shows a number of bytes.
func size(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}
