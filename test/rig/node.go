package rig

import "path/filepath"

// NodeModules returns the folder of the packages for Node that hack/setup.sh
// installs: azure-pipelines-task-lib, azure-pipelines-tool-lib and what they need.
// It wraps [ErrMissing] when one of the two is not there.
func NodeModules() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".build", "node", "node_modules")
	for name, file := range map[string]string{"azure-pipelines-task-lib": "task.js", "azure-pipelines-tool-lib": "tool.js"} {
		if !isFile(filepath.Join(dir, name, file)) {
			return "", missing("npm package " + name)
		}
	}
	return dir, nil
}
