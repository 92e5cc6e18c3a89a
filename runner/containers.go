package runner

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/launch"
	"github.com/dockless-ci/dockless/podmanrun"
	"github.com/dockless-ci/dockless/runner/internal/kit"
	"github.com/dockless-ci/dockless/runner/internal/mounts"
	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

// Where a container of the job finds what is the agent's (language §1.8).
const (
	insideWork      = "/__w"
	insideTools     = "/__t"
	insideHome      = "/__a"
	insideExternals = insideHome + "/externals"
	insideLauncher  = insideHome + "/dockless"
	insideRun       = insideHome + "/run"
	insideSocket    = "/var/run/docker.sock"
)

const (
	// launcherName and launchSocketare files of the kit.
	launcherName = "dockless"
	launchSocket = "launch"
	// nodeLabel is the label by which an image names its own Node.js for tasks.
	nodeLabel = "com.azure.dev.pipelines.agent.handler.node.path"
	// readyTimeout bounds the wait for the server in a container that runs. It
	// needs 30 ms, and a cold disk has needed a hundred times that.
	readyTimeout = 30 * time.Second
)

var errNotReady = fmt.Errorf("nothing answered in it within %s", readyTimeout)

// table returns what the containers of the job see of the agent's directories.
func (x *execution) table() mounts.Table {
	f := x.folders
	return mounts.Table{
		{Host: f.pipeline, Inside: path.Join(insideWork, filepath.Base(f.pipeline))},
		{Host: f.temp, Inside: insideWork + "/_temp"},
		{Host: filepath.Join(f.work, "_tasks"), Inside: insideWork + "/_tasks"},
		{Host: f.tools, Inside: insideTools},
		{Host: filepath.Join(f.kit, "externals"), Inside: insideExternals, ReadOnly: true},
	}
}

// readOnly names the mounts as readOnlyMounts does.
func (x *execution) readOnly(m mounts.Mount, names []string) bool {
	name := map[string]string{
		x.folders.pipeline: "work", filepath.Join(x.folders.work, "_tasks"): "tasks", x.folders.tools: "tools",
	}[m.Host]
	return m.ReadOnly || slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// pack lays out what every container of the job needs of the agent's.
func (x *execution) pack(ctx context.Context) error {
	if x.cfg.Launcher == "" {
		return errors.New("this agent has no program that could start steps in a container")
	}
	externals := filepath.Join(x.folders.kit, "externals")
	if err := os.MkdirAll(externals, 0o755); err != nil { //nolint:gosec // containers read it as other users
		return fmt.Errorf("making the directory of the containers: %w", err)
	}
	if err := kit.Launcher(x.cfg.Launcher, filepath.Join(x.folders.kit, "bin", launcherName)); err != nil {
		return err
	}
	if x.nodejs.path == "" {
		return nil // no step is run by it
	}
	return kit.Node(ctx, x.nodejs.path, filepath.Join(externals, "node"), path.Join(insideLauncher, launcherName), x.veil)
}

// blameTools adds what to do when Podman cannot have the folder of tools, which is
// the only one of the table that the operator may have put outside the work folder.
// Podman tells it by nothing but the path in its message.
func (x *execution) blameTools(err error) error {
	below, rerr := filepath.Rel(x.folders.work, x.folders.tools)
	if rerr == nil && filepath.IsLocal(below) || !strings.Contains(err.Error(), x.folders.tools) {
		return err
	}
	return hint.With(err, "AGENT_TOOLSDIRECTORY names %s, outside the work folder: let Podman see it under the same path, or unset the variable", x.folders.tools)
}

// prospect is a container that is going to be one of the job's.
type prospect struct {
	container
	service podmanrun.Service
}

// prospects describes the containers that steps run in, by their names in the stack.
func (x *execution) prospects(ctx context.Context, taken map[string]podmanrun.Service) (map[string]*prospect, error) {
	targets := x.targets()
	if len(targets) == 0 {
		return nil, nil
	}
	if err := x.pack(ctx); err != nil {
		return nil, err
	}
	all := make(map[string]*prospect, len(targets))
	for i, alias := range targets {
		c, ok := x.m.Container(alias)
		if !ok {
			return nil, fmt.Errorf("the job runs in container %s, which it does not describe", alias)
		}
		p, err := x.prospect(ctx, c, strconv.Itoa(i))
		if err != nil {
			return nil, fmt.Errorf("container %s: %w", alias, err)
		}
		name := dnsName(alias)
		for taken[name].Image != "" || all[name] != nil {
			name += "-steps"
		}
		all[name] = p
	}
	return all, nil
}

// dnsName makes an alias a name in a network.
func dnsName(alias string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, alias)
}

// prospect describes one of them. The environment that the pipeline gives it is
// kept for its steps: in the configuration of the container everybody could read
// the secrets in it.
func (x *execution) prospect(ctx context.Context, c job.Container, number string) (*prospect, error) {
	service, err := x.service(ctx, c)
	if err != nil {
		return nil, err
	}
	run := filepath.Join(x.folders.kit, "run", number)
	err = os.MkdirAll(filepath.Dir(run), 0o755) //nolint:gosec // Podman may be another user
	if err == nil {
		err = os.Mkdir(run, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("making its directory: %w", err)
	}
	home := filepath.Join(x.folders.temp, "home-"+number)
	if err := os.Mkdir(home, 0o755); err != nil { //nolint:gosec // _temp keeps others out
		return nil, fmt.Errorf("making its user's home: %w", err)
	}
	sees := x.sees
	p := &prospect{service: service, container: container{
		alias: c.Alias, podman: x.cfg.Podman, socket: filepath.Join(run, launchSocket), sees: sees, home: sees.Inside(home), env: environment{},
	}}
	maps.Copy(p.env, service.Env)
	p.service.Env = nil
	p.service.Keeper = &podmanrun.Keeper{
		User:       x.user,
		Entrypoint: []string{path.Join(insideLauncher, launcherName), launch.Command, path.Join(insideRun, launchSocket)},
		Mounts: []podmanrun.Mount{
			{Source: filepath.Join(x.folders.kit, "bin"), Target: insideLauncher, ReadOnly: true},
			{Source: run, Target: insideRun},
		},
	}
	for _, m := range sees {
		p.service.Keeper.Mounts = append(p.service.Keeper.Mounts, podmanrun.Mount{
			Source: m.Host, Target: m.Inside, ReadOnly: x.readOnly(m, c.Properties.ReadOnlyMounts),
		})
	}
	if socket := x.dockerSocket(); socket != "" && (c.Properties.MapDockerSocket == nil || *c.Properties.MapDockerSocket) {
		p.service.Keeper.Mounts = append(p.service.Keeper.Mounts, podmanrun.Mount{Source: socket, Target: insideSocket})
	}
	return p, nil
}

// dockerSocket is the socket on which a container of the job finds the job's own
// Docker API; empty when there is none.
func (x *execution) dockerSocket() string {
	if x.socket.api == nil {
		return ""
	}
	return filepath.Join(x.socket.dir, socketName)
}

// move takes the containers into use that are up now.
func (x *execution) move(ctx context.Context, stack *podmanrun.Stack, prospects map[string]*prospect) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, errNotReady)
	defer cancel()
	for name, p := range prospects {
		c := &p.container
		c.id = stack.ContainerID(name)
		c.node = launch.Node(insideExternals + "/node")
		if own := stack.Label(name, nodeLabel); own != "" {
			c.node = []string{own}
		}
		if err := launch.AwaitReady(ctx, c.socket); err != nil {
			return hint.With(c.explain(ctx, fmt.Errorf("reaching container %s: %w", c.alias, err)),
				"Podman must run on this machine, and see the work folder under the same path")
		}
		if err := x.probe(ctx, c); err != nil {
			return err
		}
		x.mu.Lock()
		if x.containers == nil {
			x.containers = make(map[string]*container)
		}
		x.containers[c.alias] = c
		x.mu.Unlock()
	}
	if c := x.containers[x.targetOf(job.Step{})]; c != nil {
		x.define("agent.containerId", c.id)
	}
	return nil
}

// endContainers forgets the containers, which are gone, and what they needed.
func (x *execution) endContainers(ctx context.Context) error {
	x.mu.Lock()
	x.containers = nil
	x.mu.Unlock()
	if err := tidy.Remove(ctx, x.folders.kit); err != nil {
		return fmt.Errorf("removing the files of the containers: %w", err)
	}
	return nil
}
