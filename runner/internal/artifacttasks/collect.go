package artifacttasks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/match"
)

// Open opens a file of the job, as [step.Files] does.
type Open func(path string) (*os.File, error)

// Collection is what is published: files, and how many bytes they have together.
type Collection struct {
	Files []job.UploadFile
	Size  int64
}

// Collect lists the file at a path, under its own name, or the files below a
// directory. It follows links, as the original does, and fails for one that leads
// nowhere and for what is neither file nor directory. A nil keep keeps all; it is
// given paths below the directory, with forward slashes.
func Collect(ctx context.Context, root string, open Open, keep func(name string) bool) (Collection, error) {
	var c Collection
	info, err := os.Stat(root)
	if err != nil {
		return c, missing(root, err)
	}
	if !info.IsDir() {
		err := c.add(root, filepath.Base(root), info, open)
		return c, err
	}
	paths, err := match.Walk(ctx, root)
	if err != nil {
		return c, fmt.Errorf("listing %s: %w", root, err)
	}
	for _, file := range paths {
		name, err := filepath.Rel(filepath.Clean(root), file)
		if err != nil {
			return c, err
		}
		name = filepath.ToSlash(name)
		if name == "." || keep != nil && !keep(name) {
			continue
		}
		info, err := os.Stat(file)
		if err != nil {
			return c, fmt.Errorf("publishing %s: %w", file, err)
		}
		if info.IsDir() {
			continue
		}
		if err := c.add(file, name, info, open); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Collection) add(file, name string, info fs.FileInfo, open Open) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("publishing %s: it is neither a file nor a directory", file)
	}
	c.Size += info.Size()
	c.Files = append(c.Files, job.UploadFile{Path: name, Open: func() (fs.File, error) { return open(file) }})
	return nil
}

func missing(root string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the path %s does not exist", root)
	}
	return fmt.Errorf("publishing %s: %w", root, err)
}

// IsEmpty reports whether there is no file below a directory; a file is not empty.
func IsEmpty(root string) (bool, error) {
	info, err := os.Stat(root)
	if err != nil {
		return false, missing(root, err)
	}
	if !info.IsDir() {
		return false, nil
	}
	resolved, err := filepath.EvalSymlinks(root) // a walk would not enter a link
	if err != nil {
		return false, missing(root, err)
	}
	empty := true
	err = filepath.WalkDir(resolved, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		empty = false
		return fs.SkipAll
	})
	if err != nil {
		return false, fmt.Errorf("looking for files in %s: %w", root, err)
	}
	return empty, nil
}

// Publish uploads files into a folder of the run's container and makes them an
// artifact; an empty folder is one that nobody else has. Say is told what happens.
func (r Run) Publish(ctx context.Context, name, folder string, c Collection, properties map[string]string, temp string, say func(string)) error {
	say(fmt.Sprintf("Uploading %d files, %s.", len(c.Files), size(c.Size)))
	whole := ""
	if folder == "" {
		// An attempt before this one may have left files, and nobody can remove those.
		whole, folder = name, name+"-"+strings.ToLower(rand.Text()[:unlike])
	}
	err := r.Service.Upload(ctx, job.Upload{
		Run: r.RunReference, Container: r.Container, Folder: folder, Whole: whole, Files: c.Files, Temp: temp, Say: say,
	})
	if err != nil {
		return err
	}
	location := job.ContainerLocation(r.Container, folder)
	say(fmt.Sprintf("Uploaded %d files to file container %s.", len(c.Files), location))
	with := map[string]string{"artifactsize": strconv.FormatInt(c.Size, 10)}
	maps.Copy(with, properties)
	return r.Associate(ctx, job.Artifact{
		Name: name, Source: r.Job, Resource: job.ArtifactResource{Type: job.ArtifactContainer, Data: location, Properties: with},
	}, say)
}

// unlike is how many characters of five bits tell the attempts of one artifact apart.
const unlike = 8

// Associate adds an artifact to the run.
func (r Run) Associate(ctx context.Context, a job.Artifact, say func(string)) error {
	done, err := r.Service.Associate(ctx, r.RunReference, a)
	if err != nil {
		return err
	}
	say(fmt.Sprintf("Associated artifact %d, %s, with run %d.", done.ID, path.Base(a.Name), r.Build))
	return nil
}
