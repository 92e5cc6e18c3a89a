package artifacttasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/step"
	"github.com/dockless-ci/dockless/runner/internal/tartree"
)

// PublishBuild is PublishBuildArtifacts@1. As the original does, it checks its
// inputs and prints a logging command, which does the work.
func PublishBuild(ctx context.Context, s step.Step, r Run) error {
	path := s.Path(s.Text("PathtoPublish", s.Variable("build.artifactStagingDirectory")))
	if _, err := os.Stat(path); err != nil {
		return missing(path, err)
	}
	name := s.Text("ArtifactName", "drop")
	if err := CheckName(name); err != nil {
		return err
	}
	if strings.Contains(name, "+") {
		return hint.With(fmt.Errorf("the artifact name %q has a character that is not allowed", name), "use no + in it")
	}
	kind := strings.ToLower(input(s, "container", "ArtifactType", "publishLocation"))
	if host := s.Variable("system.hosttype"); kind != "filepath" && host != "" && !strings.EqualFold(host, "build") {
		return fmt.Errorf("build artifacts cannot be published by a job of host type %s", host)
	}
	if err := checkMaxSize(ctx, s, path); err != nil {
		return err
	}
	switch kind {
	case "container":
		return publishContainer(ctx, s, path, name)
	case "filepath":
		c, err := Collect(ctx, path, s.Open, nil)
		if err != nil {
			return err
		}
		return r.share(ctx, s, name, c, nil)
	}
	return fmt.Errorf("the input publishLocation is %q, want Container or FilePath", kind)
}

func publishContainer(ctx context.Context, s step.Step, path, name string) error {
	if s.Truth("StoreAsTar", false) {
		archive := filepath.Join(s.Temp(), name+".tar")
		if err := tarOf(ctx, s, path, archive); err != nil {
			return err
		}
		path = archive
	}
	s.Command("artifact", "upload", map[string]string{
		"artifacttype": "container", "artifactname": name, "containerfolder": name, "localpath": path,
	}, path)
	return nil
}

// checkMaxSize applies MaxArtifactSize, in bytes; zero is no bound.
func checkMaxSize(ctx context.Context, s step.Step, path string) error {
	text := s.Text("MaxArtifactSize", "0")
	most, err := strconv.ParseInt(text, 10, 64)
	if err != nil || most < 0 {
		return fmt.Errorf("the input MaxArtifactSize is %q, want a number of bytes", text)
	}
	if most == 0 {
		return nil
	}
	c, err := Collect(ctx, path, s.Open, nil)
	if err == nil && c.Size > most {
		err = hint.With(fmt.Errorf("the artifact has %d bytes, and MaxArtifactSize allows %d", c.Size, most), "raise MaxArtifactSize, or publish less")
	}
	return err
}

// tarOf packs a file or directory, so that modes and links survive.
func tarOf(ctx context.Context, s step.Step, path, archive string) (err error) {
	// Not through a link that somebody put there.
	if err := os.Remove(archive); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("making the archive: %w", err)
	}
	file, err := os.OpenFile(archive, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("making the archive: %w", err)
	}
	defer func() {
		if cerr := file.Close(); err == nil {
			err = cerr
		}
	}()
	stats, err := tartree.Pack(ctx, file, path, tartree.Options{Open: s.Open})
	if err != nil {
		return errors.Join(fmt.Errorf("packing %s: %w", path, err), os.Remove(archive))
	}
	s.Print(fmt.Sprintf("Packed %d files, %s, into %s.", stats.Files, size(stats.Bytes), archive))
	return nil
}
