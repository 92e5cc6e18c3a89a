package rig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/dockless-ci/dockless/internal/hint"
)

// ErrMissing says that a program, an image or a configuration file of the test
// host is not there. The error that wraps it names hack/setup.sh.
var ErrMissing = errors.New("not installed on this machine")

// missing reports that what is needed is not there, and how to get it.
func missing(what string) error {
	return hint.With(fmt.Errorf("%s: %w; hack/setup.sh installs it", what, ErrMissing), "run hack/setup.sh")
}

// Root returns the repository's directory: the first one from the working
// directory upwards that holds the go.mod of this module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	for at := dir; ; at = filepath.Dir(at) {
		// tools/ holds modules of its own, so go.mod alone is no proof.
		if isFile(filepath.Join(at, "go.mod")) && isFile(filepath.Join(at, "hack", "setup.sh")) {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("finding the repository: no go.mod beside hack/setup.sh above %s", dir)
		}
	}
}

// Bin returns the path of a program that hack/setup.sh builds (buildkitd,
// buildctl, docker, docker-buildx) or that Debian brings (podman, runc, …).
// It wraps [ErrMissing] when there is none.
func Bin(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	if path := filepath.Join(root, ".build", "bin", name); isFile(path) {
		return path, nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	// A user's PATH often lacks the places of root's programs.
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path := filepath.Join(dir, name); isFile(path) {
			return path, nil
		}
	}
	return "", missing("program " + name)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
