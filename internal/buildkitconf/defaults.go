package buildkitconf

import (
	"path/filepath"

	"github.com/moby/buildkit/util/appdefaults"
)

// DefaultRoot returns the root directory of a buildkitd that names none. That of a
// rootless one is in the home of whoever runs it, which is taken to be this
// process's user; XDG_DATA_HOME moves it.
func DefaultRoot(rootless bool) string {
	if rootless {
		return appdefaults.UserRoot()
	}
	return appdefaults.Root
}

// DefaultFile returns the configuration that buildkitd reads when its command line
// names none. Of a rootless one, [DefaultRoot] says whose it is; XDG_CONFIG_HOME moves
// it.
func DefaultFile(rootless bool) string {
	dir := appdefaults.ConfigDir
	if rootless {
		dir = appdefaults.UserConfigDir()
	}
	return filepath.Join(dir, "buildkitd.toml")
}
