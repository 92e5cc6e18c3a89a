package artifacttasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// PublishPipeline is PublishPipelineArtifact@1. A name that the run has already is
// an error.
func PublishPipeline(ctx context.Context, s step.Step, r Run) error {
	name := input(s, "", "artifactName", "artifact")
	if name == "" {
		name = DefaultName(s.Variable("system.jobIdentifier"))
	}
	return publishPipeline(ctx, s, r, name, input(s, s.Variable("pipeline.workspace"), "path", "targetPath"))
}

// PublishPipelineV0 is PublishPipelineArtifact@0, which has other defaults.
func PublishPipelineV0(ctx context.Context, s step.Step, r Run) error {
	path := s.Text("targetPath", "")
	if path == "" {
		return errors.New("the input targetPath is empty")
	}
	return publishPipeline(ctx, s, r, s.Text("artifactName", "drop"), path)
}

func publishPipeline(ctx context.Context, s step.Step, r Run, name, path string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	properties, err := userProperties(s.Text("properties", ""))
	if err != nil {
		return err
	}
	root := s.Path(path)
	kept, err := published(s, root)
	if err != nil {
		return err
	}
	c, err := Collect(ctx, root, s.Open, kept)
	if err != nil {
		return err
	}
	if strings.EqualFold(input(s, "pipeline", "artifactType", "publishLocation"), "filepath") {
		return r.share(ctx, s, name, c, properties)
	}
	known, err := r.Service.Artifacts(ctx, r.RunReference)
	if err != nil {
		return err
	}
	for _, a := range known {
		if strings.EqualFold(a.Name, name) {
			return hint.With(fmt.Errorf("the run %d has an artifact %s already, and a pipeline artifact does not change", r.Build, name),
				"give the input artifact another name")
		}
	}
	if len(c.Files) == 0 {
		s.Warning(fmt.Sprintf("There is nothing to publish below %s. The artifact %s was not made.", root, name))
		return nil
	}
	s.Print("The artifact is stored in the file container of the run: the store for pipeline artifacts speaks no public protocol.")
	return r.Publish(ctx, name, "", c, properties, s.Temp(), s.Print)
}

// published returns what decides about files below root: the list there, else that
// .git is left out.
func published(s step.Step, root string) (func(string) bool, error) {
	list, err := s.Open(filepath.Join(root, ignoreFile))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || !isDir(root) {
			return func(name string) bool { return !ignoresGit(name) }, nil
		}
		return nil, fmt.Errorf("reading %s: %w", ignoreFile, err)
	}
	defer list.Close() //nolint:errcheck // read only
	rules, err := parseIgnore(list)
	if err != nil {
		return nil, err
	}
	s.Print("Leaving out what " + filepath.Join(root, ignoreFile) + " says.")
	return func(name string) bool { return !rules.ignores(name) }, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// userProperties reads the input properties: a JSON object whose keys begin with
// "user-".
func userProperties(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // none given
	}
	var given map[string]any
	if err := json.Unmarshal([]byte(text), &given); err != nil {
		return nil, errors.New("the input properties is no JSON object")
	}
	out := make(map[string]string, len(given))
	for key, value := range given {
		if !strings.HasPrefix(key, "user-") {
			return nil, hint.With(fmt.Errorf("the property %q of the artifact is not allowed", key), `begin the names of all properties with "user-"`)
		}
		text, ok := value.(string)
		if !ok {
			encoded, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("the property %q of the artifact: %w", key, err)
			}
			text = string(encoded)
		}
		out[key] = text
	}
	return out, nil
}

// share copies files below the directory of a file share and makes them an artifact.
func (r Run) share(ctx context.Context, s step.Step, name string, c Collection, properties map[string]string) error {
	share := input(s, "", "fileSharePath", "TargetPath")
	if !filepath.IsAbs(share) {
		return hint.With(fmt.Errorf("the file share %q cannot be reached from here", share),
			"mount it into the agent and name the directory in fileSharePath, or publish to the run")
	}
	to := filepath.Join(share, name)
	if err := os.MkdirAll(to, 0o755); err != nil { //nolint:gosec // others read it
		return fmt.Errorf("making the directory of the artifact: %w", err)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return fmt.Errorf("opening the directory of the artifact: %w", err)
	}
	defer root.Close() //nolint:errcheck // its files are closed
	for _, f := range c.Files {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := copyFile(root, f); err != nil {
			return fmt.Errorf("copying %s to %s: %w", f.Path, to, err)
		}
	}
	s.Print(fmt.Sprintf("Copied %d files, %s, to %s.", len(c.Files), size(c.Size), to))
	return r.Associate(ctx, job.Artifact{
		Name: name, Source: r.Job, Resource: job.ArtifactResource{Type: job.ArtifactFilePath, Data: share, Properties: properties},
	}, s.Print)
}

func copyFile(root *os.Root, f job.UploadFile) error {
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	return replace(root, f.Path, from)
}
