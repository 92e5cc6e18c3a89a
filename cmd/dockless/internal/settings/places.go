package settings

import (
	"fmt"
	"os"
	"path/filepath"
)

// StateDir is where state of this user survives a restart.
func StateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "dockless")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), fmt.Sprintf("dockless-%d", os.Getuid()))
	}
	return filepath.Join(home, ".local", "state", "dockless")
}

// DockerConfigDir is where the Docker command line keeps its configuration.
func DockerConfigDir() string {
	if dir := os.Getenv("DOCKER_CONFIG"); dir != "" {
		return dir
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ".docker"
	}
	return filepath.Join(home, ".docker")
}
