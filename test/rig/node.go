package rig

import "path/filepath"

// NodeModules returns the folder of the packages for Node that hack/setup.sh
// installs: azure-pipelines-task-lib and what it needs. It wraps [ErrMissing]
// when they are not there.
func NodeModules() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".build", "node", "node_modules")
	if !isFile(filepath.Join(dir, "azure-pipelines-task-lib", "task.js")) {
		return "", missing("npm package azure-pipelines-task-lib")
	}
	return dir, nil
}
