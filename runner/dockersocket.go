package runner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/dockerapi"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

// socketName is the file of the job's Docker API.
const socketName = "docker.sock"

// dockerSocket is what the docker command of a job's scripts finds: a Docker API
// of the job's own and a Docker configuration of its own. The zero value is none.
type dockerSocket struct {
	api    *dockerapi.Server // nil: there is no Podman
	dir    string            // holds the socket
	config string            // Docker configuration of the job; empty: none
}

// openDocker gives the job its Docker API, when there is Podman, and a Docker
// configuration with the operator's credentials, so that a login of a script
// ends with the job.
func (x *execution) openDocker(ctx context.Context, n *node) error {
	if err := x.seedConfig(n); err != nil {
		return err
	}
	if x.cfg.Podman == nil {
		return nil
	}
	dir := socketDir(x.folders.work)
	if err := tidy.Remove(ctx, dir); err != nil { // what a crash left
		return fmt.Errorf("making the directory of the job's Docker API: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil { // not MkdirAll: it takes what somebody else put there
		return fmt.Errorf("making the directory of the job's Docker API: %w", err)
	}
	x.socket.dir = dir
	api, err := dockerapi.Open(ctx, filepath.Join(dir, socketName), x.cfg.Podman,
		dockerapi.Config{Owner: x.owner(), Insecure: x.insecureRegistries()}, x.log)
	if err != nil {
		return hint.With(err, "set AZP_WORK or TMPDIR to a shorter path")
	}
	x.socket.api = api
	return nil
}

// socketDir is in the work folder, or in the system's temporary directory when
// the path would be too long for a socket. It is the same for every job of a
// work folder, so that the next one removes what a crash has left.
func socketDir(work string) string {
	dir := filepath.Join(work, "_docker")
	if len(dir)+len("/"+socketName) <= dockerapi.MaxSocket {
		return dir
	}
	sum := sha256.Sum256([]byte(work))
	return filepath.Join(os.TempDir(), fmt.Sprintf("dockless-%x", sum[:8]))
}

// closeDocker ends the job's Docker API: nothing is created through it after.
func (x *execution) closeDocker(ctx context.Context) error {
	var err error
	if x.socket.api != nil {
		err = x.socket.api.Close(ctx)
	}
	if x.socket.dir != "" {
		err = errors.Join(err, tidy.Remove(ctx, x.socket.dir))
	}
	x.socket = dockerSocket{}
	return err
}

// insecureRegistries are the operator's and those of connections with http://.
func (x *execution) insecureRegistries() []string {
	all := slices.Clone(x.cfg.Insecure)
	for _, e := range x.m.Resources.Endpoints {
		if host, insecure := registryHost(e.URL); insecure && strings.EqualFold(e.Type, "dockerregistry") {
			all = append(all, host)
		}
	}
	return all
}

// seedConfig makes the Docker configuration of the job from the operator's. It
// lies in the temp directory, which nobody else can read.
func (x *execution) seedConfig(n *node) error {
	base := x.cfg.DockerConfig
	if base == "" {
		return nil
	}
	dir := filepath.Join(x.folders.temp, "docker")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("making the job's Docker configuration: %w", err)
	}
	if err := linkConfig(base, dir); err != nil {
		return err
	}
	data, err := x.readFile(filepath.Join(base, "config.json"))
	switch {
	case err == nil:
		err = os.WriteFile(filepath.Join(dir, "config.json"), data, 0o600)
	case errors.Is(err, fs.ErrNotExist):
		err = nil
	case errors.Is(err, fs.ErrPermission):
		n.warning(fmt.Sprintf("The agent's Docker configuration in %s cannot be read, so the job has none of its credentials.", base))
		err = nil
	}
	if err != nil {
		return fmt.Errorf("making the job's Docker configuration: %w", err)
	}
	x.socket.config = dir
	return nil
}

// dockerEnvironment adds what leads the docker command, podman --remote and
// Testcontainers to the job's own API and configuration. What is marked as a
// wish gives way to what the agent was started with.
func (x *execution) dockerEnvironment(env environment) {
	wish := func(name, value string) {
		if _, ok := env[name]; !ok {
			env[name] = value
		}
	}
	if x.socket.config != "" {
		env["DOCKER_CONFIG"] = x.socket.config
	}
	if x.socket.api == nil {
		if _, elsewhere := env["DOCKER_HOST"]; !elsewhere {
			// A build without an output would fail where nobody takes the image.
			wish("BUILDX_NO_DEFAULT_LOAD", "true")
		}
		return
	}
	path := filepath.Join(x.socket.dir, socketName)
	env["DOCKER_HOST"], env["CONTAINER_HOST"] = "unix://"+path, "unix://"+path
	// What is left is removed at the job's end, so nobody needs Ryuk and its image.
	wish("TESTCONTAINERS_RYUK_DISABLED", "true")
	wish("TESTCONTAINERS_HOST_OVERRIDE", x.cfg.Podman.PublishedHost())
	wish("TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE", path)
}
