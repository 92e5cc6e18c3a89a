package runner

import (
	"context"

	"github.com/dockless-ci/dockless/runner/internal/artifacttasks"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// artifactTasks are the built-ins that publish and download files of a run.
func artifactTasks() map[string]task {
	return map[string]task{
		"2ff763a7-ce83-4e1f-bc89-0ae63477cebe@1": {
			name: "PublishBuildArtifacts", title: "Publish build artifacts", description: "Publish files of this job as an artifact of the run.",
			run: withRun(artifacttasks.PublishBuild),
		},
		"ecdc45f6-832d-4ad9-b52b-ee49e94659be@1": {
			name: "PublishPipelineArtifact", title: "Publish Pipeline Artifacts", description: "Publish a file or directory as a named artifact of the run.",
			run: withRun(artifacttasks.PublishPipeline), onlyHere: true,
		},
		"ecdc45f6-832d-4ad9-b52b-ee49e94659be@0": {
			name: "PublishPipelineArtifact", title: "Publish pipeline artifact", description: "Publish a file or directory as a named artifact of the run.",
			run: withRun(artifacttasks.PublishPipelineV0), onlyHere: true,
		},
		"a433f589-fce1-4460-9ee6-44a624aeb1fb@0": downloadBuild,
		"a433f589-fce1-4460-9ee6-44a624aeb1fb@1": downloadBuild,
		"61f2a582-95ae-4948-b34d-a1b3c4f6a737@0": {
			name: "DownloadPipelineArtifact", title: "Download pipeline artifact", description: "Download a named artifact of a run.",
			run: withRun(artifacttasks.DownloadPipelineV0), onlyHere: true,
		},
		"61f2a582-95ae-4948-b34d-a1b3c4f6a737@1": {
			name: "DownloadPipelineArtifact", title: "Download pipeline artifact", description: "Download a named artifact of a run.",
			run: withRun(artifacttasks.DownloadPipelineV1), onlyHere: true,
		},
		"61f2a582-95ae-4948-b34d-a1b3c4f6a737@2": {
			name: "DownloadPipelineArtifact", title: "Download Pipeline Artifacts", description: "Download artifacts of a run.",
			run: withRun(artifacttasks.DownloadPipeline), onlyHere: true,
		},
		downloadID + "@1": {
			name: "download", title: "Download artifacts", description: "Download artifacts of this run, or of one that it was made from.",
			run: withRun(artifacttasks.DownloadAlias), onlyHere: true,
		},
	}
}

// downloadID is the task of the download step, which servers resolve into another
// (language §4).
const downloadID = "30f35852-3f7e-4c0c-9a88-e127b4f97211"

var downloadBuild = task{
	name: "DownloadBuildArtifacts", title: "Download build artifacts", description: "Download files that were published as artifacts of a run.",
	run: withRun(artifacttasks.DownloadBuild),
}

// withRun makes a task of a built-in that works on the run of its job.
func withRun(run func(context.Context, step.Step, artifacttasks.Run) error) func(context.Context, *attempt) error {
	return func(ctx context.Context, a *attempt) error {
		r, err := a.x.runOf()
		if err != nil {
			return err
		}
		return run(ctx, builtinStep{a}, r)
	}
}
