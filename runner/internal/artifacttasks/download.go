package artifacttasks

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/step"
	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

// DownloadPipeline is DownloadPipelineArtifact@2: one artifact goes straight into
// the directory, several into one each.
func DownloadPipeline(ctx context.Context, s step.Step, r Run) error {
	return downloadPipeline(ctx, s, r, s.Variable("pipeline.workspace"))
}

// DownloadPipelineV1 is DownloadPipelineArtifact@1, which has another default.
func DownloadPipelineV1(ctx context.Context, s step.Step, r Run) error {
	return downloadPipeline(ctx, s, r, s.Variable("system.artifactsDirectory"))
}

func downloadPipeline(ctx context.Context, s step.Step, r Run, dir string) error {
	where, err := r.chosen(ctx, s)
	if err != nil {
		return err
	}
	f := &fetching{
		step: s, service: r.Service, run: where, patterns: lines(input(s, "**", "patterns", "itemPattern")),
		dir: s.Path(input(s, dir, "path", "targetPath", "downloadPath")), input: "path",
		parallel: defaultParallel, retries: defaultRetries,
	}
	name := input(s, "", "artifact", "artifactName")
	if name == "" {
		f.named, f.folders = true, true
	}
	return f.download(ctx, name)
}

// DownloadPipelineV0 is DownloadPipelineArtifact@0, which knows no patterns.
func DownloadPipelineV0(ctx context.Context, s step.Step, r Run) error {
	where := r.RunReference
	if id := s.Text("pipelineId", ""); id != "" {
		build, err := number("pipelineId", id)
		if err != nil {
			return err
		}
		if where, err = r.Service.FindRun(ctx, job.RunQuery{Project: r.Project, Build: build}); err != nil {
			return err
		}
	}
	f := &fetching{
		step: s, service: r.Service, run: where, patterns: []string{"**"}, dir: s.Path(s.Text("targetPath", "")), input: "targetPath",
		parallel: defaultParallel, retries: defaultRetries,
	}
	return f.download(ctx, s.Text("artifactName", "drop"))
}

// DownloadBuild is DownloadBuildArtifacts@0 and @1: each artifact goes into a
// directory of its own, and patterns begin with its name.
func DownloadBuild(ctx context.Context, s step.Step, r Run) error {
	where, err := r.chosen(ctx, s)
	if err != nil {
		return err
	}
	f := &fetching{
		step: s, service: r.Service, run: where, patterns: lines(s.Text("itemPattern", "**")),
		dir: s.Path(s.Text("downloadPath", s.Variable("system.artifactsDirectory"))), input: "downloadPath", named: true, folders: true,
	}
	if f.parallel, err = bounded(s, "parallelizationLimit", defaultParallel, mostParallel); err != nil {
		return err
	}
	if f.retries, err = bounded(s, "retryDownloadCount", defaultRetries, mostRetries); err != nil {
		return err
	}
	f.parallel = max(f.parallel, 1)
	name := ""
	if !strings.EqualFold(s.Text("downloadType", "single"), "specific") {
		if name = s.Text("artifactName", ""); name == "" {
			return hint.With(errors.New("the input artifactName is empty"), "name an artifact, or set downloadType to specific for all of them")
		}
	}
	if s.Truth("cleanDestinationFolder", false) {
		if _, err := s.Target(f.input, f.dir); err != nil {
			return err
		}
		if err := tidy.Empty(ctx, f.dir); err != nil {
			return err
		}
	}
	if err := f.download(ctx, name); err != nil {
		return err
	}
	if s.Truth("extractTars", false) {
		return f.extractTars(ctx)
	}
	return nil
}

// DownloadAlias is the pseudo-task of the download step, which servers resolve into
// DownloadPipelineArtifact@2 and an agent may meet all the same (language §4).
func DownloadAlias(ctx context.Context, s step.Step, r Run) error {
	alias := s.Text("alias", "current")
	name := s.Text("artifact", "")
	dir := s.Variable("pipeline.workspace")
	where := r.RunReference
	if !strings.EqualFold(alias, "current") {
		prefix := "resources.pipeline." + alias + "."
		build, err := strconv.Atoi(s.Variable(prefix + "runID"))
		if err != nil {
			return fmt.Errorf("the download of %s names no pipeline resource of this run", alias)
		}
		query := job.RunQuery{Project: r.Project, Build: build}
		if project := s.Variable(prefix + "projectID"); project != "" {
			query.Project = project
		}
		if where, err = r.Service.FindRun(ctx, query); err != nil {
			return err
		}
		dir = filepath.Join(dir, alias)
	}
	if given := s.Text("path", ""); given != "" {
		dir = s.Path(given)
	} else if name != "" {
		dir = filepath.Join(dir, name)
	}
	f := &fetching{
		step: s, service: r.Service, run: where, dir: dir, input: "path", patterns: lines(s.Text("patterns", "**")),
		named: name == "", folders: name == "", parallel: defaultParallel, retries: defaultRetries,
	}
	return f.download(ctx, name)
}

// download fetches the artifact of this name, or all for an empty one.
func (f *fetching) download(ctx context.Context, name string) error {
	f.step.Print(fmt.Sprintf("Downloading the artifacts of run %d to %s.", f.run.Build, f.dir))
	// The original calls it a number, and it is the run's id.
	if err := f.step.SetOutput("BuildNumber", strconv.Itoa(f.run.Build)); err != nil {
		return err
	}
	all, err := f.service.Artifacts(ctx, f.run)
	if err != nil {
		return err
	}
	if name == "" {
		if len(all) == 0 {
			f.step.Warning(fmt.Sprintf("The run %d has no artifacts.", f.run.Build))
		}
		return f.all(ctx, all)
	}
	var known []string
	for _, a := range all {
		if strings.EqualFold(a.Name, name) {
			return f.all(ctx, []job.Artifact{a})
		}
		known = append(known, a.Name)
	}
	return hint.With(fmt.Errorf("the run %d has no artifact %q", f.run.Build, name), "%s", has(known))
}

func has(names []string) string {
	if len(names) == 0 {
		return "it has none at all: let the job that publishes it run before this one"
	}
	return "it has " + strings.Join(names, ", ")
}

// chosen returns the run that the inputs mean.
func (r Run) chosen(ctx context.Context, s step.Step) (job.RunReference, error) {
	switch kind := input(s, "current", "source", "buildType"); strings.ToLower(kind) {
	case "current":
		return r.RunReference, nil
	case "specific":
	default:
		return job.RunReference{}, fmt.Errorf("the input source is %q, want current or specific", kind)
	}
	q := job.RunQuery{
		Project: s.Text("project", r.Project), Definition: input(s, "", "pipeline", "definition"),
		Partial: s.Truth("allowPartiallySucceededBuilds", false), Failed: s.Truth("allowFailedBuilds", false),
	}
	for tag := range strings.SplitSeq(s.Text("tags", ""), ",") {
		if tag = strings.TrimSpace(tag); tag != "" {
			q.Tags = append(q.Tags, tag)
		}
	}
	triggered := s.Truth("preferTriggeringPipeline", s.Truth("specificBuildWithTriggering", false))
	if triggered && q.Definition != "" && strings.EqualFold(s.Variable("build.triggeredBy.definitionId"), q.Definition) {
		if build, err := strconv.Atoi(s.Variable("build.triggeredBy.buildId")); err == nil {
			q.Build = build
			return r.Service.FindRun(ctx, q)
		}
	}
	switch version := input(s, "latest", "runVersion", "buildVersionToDownload"); strings.ToLower(version) {
	case "latest":
	case "latestfrombranch":
		q.Branch = input(s, "refs/heads/master", "runBranch", "branchName")
	case "specific":
		var err error
		if q.Build, err = number("runId", input(s, "", "runId", "pipelineId", "buildId")); err != nil {
			return job.RunReference{}, err
		}
	default:
		return job.RunReference{}, fmt.Errorf("the input runVersion is %q, want latest, latestFromBranch or specific", version)
	}
	if q.Build == 0 && q.Definition == "" {
		return job.RunReference{}, errors.New("the input pipeline is empty, and the latest run of no pipeline was asked for")
	}
	return r.Service.FindRun(ctx, q)
}

// number reads the id of a run.
func number(name, text string) (int, error) {
	id, err := strconv.Atoi(text)
	if err != nil || id <= 0 {
		return 0, fmt.Errorf("the input %s is %q, want the id of a run", name, text)
	}
	return id, nil
}

// bounded reads a number that is not negative.
func bounded(s step.Step, name string, otherwise, most int) (int, error) {
	text := s.Text(name, strconv.Itoa(otherwise))
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("the input %s is %q, want a number", name, text)
	}
	return min(n, most), nil
}
