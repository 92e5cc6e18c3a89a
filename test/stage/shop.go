package stage

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/dockless-ci/dockless/test/rig"
)

// Shop makes a Git repository with examples/shop in it and returns its path and
// its pipeline.
func (s *Stage) Shop(ctx context.Context) (repo string, pipeline []byte, err error) {
	root, err := rig.Root()
	if err != nil {
		return "", nil, err
	}
	return s.Repository(ctx, "shop", filepath.Join(root, "examples", "shop"))
}

// Repository makes a Git repository out of a copy of a folder and returns its
// path and its azure-pipelines.yml, if there is one.
func (s *Stage) Repository(ctx context.Context, name, folder string) (repo string, pipeline []byte, err error) {
	repo = filepath.Join(s.Dir, "repositories", name)
	if err := os.CopyFS(repo, os.DirFS(folder)); err != nil {
		return "", nil, fmt.Errorf("copying %s: %w", folder, err)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"},
		{"add", "--all", "--force"},
		{"-c", "user.name=Stage", "-c", "user.email=stage@example.com", "commit", "--quiet", "--message=first", "--allow-empty"},
	} {
		cmd := exec.CommandContext(ctx, "git", args...)
		cmd.Dir = repo
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("git %s in %s: %w: %s", args[0], repo, err, out)
		}
	}
	pipeline, err = os.ReadFile(filepath.Join(repo, "azure-pipelines.yml"))
	if os.IsNotExist(err) {
		err = nil
	}
	return repo, pipeline, err
}
