package emulator

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/pipeline"
)

// readRepo describes the git repository at a directory as it is checked out.
func readRepo(ctx context.Context, dir string) (pipeline.Repository, error) {
	if dir == "" {
		return pipeline.Repository{}, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return pipeline.Repository{}, fmt.Errorf("finding repository %s: %w", dir, err)
	}
	var failed error
	git := func(args ...string) string {
		if failed != nil {
			return ""
		}
		var diagnosis bytes.Buffer
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
		cmd.Stderr = &diagnosis
		out, err := cmd.Output()
		if err != nil {
			first, _, _ := bytes.Cut(bytes.TrimSpace(diagnosis.Bytes()), []byte("\n"))
			failed = fmt.Errorf("reading repository %s: git %s: %w: %s", dir, args[0], err, first)
		}
		return strings.TrimSpace(string(out))
	}
	repo := pipeline.Repository{
		ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte("file://"+dir)).String(), Name: filepath.Base(dir), URL: "file://" + dir,
		Ref: git("rev-parse", "--symbolic-full-name", "HEAD"), Commit: git("rev-parse", "HEAD"),
		Author: git("log", "-1", "--format=%an"), Message: git("log", "-1", "--format=%s"),
	}
	repo.DefaultBranch = repo.Ref
	return repo, failed
}
