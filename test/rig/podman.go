package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// The files of the test host's container configuration, as hack/setup.sh
// writes them to .build/containers. They describe a Podman whose state lies in
// .build/podman, whose containers live in 10.160.0.0/16 and whose mirror is at
// 127.0.0.1:5000; each rig gets a copy with its own values.
const (
	containersConf = "containers.conf"
	storageConf    = "storage.conf"
	registriesConf = "registries.conf"

	hostSubnet = "10.160."
	hostMirror = "127.0.0.1:5000"

	// Podman keeps a conmon or two of every command that ran in a container for five
	// minutes, also when the container is gone. The number is deploy/base's, with its
	// reason there.
	engineTable = "[engine]\n"
	execDelay   = "exit_command_delay = 15\n"
)

// PodmanOptions say how a Podman service differs from a plain one. The zero
// value is usable: Debian's Podman with no mirror.
type PodmanOptions struct {
	// Mirror is the host:port of a registry that stands for docker.io, spoken to
	// over plain HTTP. Empty leaves docker.io alone.
	Mirror string
	// Mirrors are the mirrors of further registries, each host:port and spoken to over
	// plain HTTP like the registry itself.
	Mirrors map[string]string
	// Insecure lists further registries (host:port) to speak plain HTTP to.
	Insecure []string
	// Binary is the podman program; empty is the one that DOCKLESS_TEST_PODMAN names,
	// so that the same tests run on another generation, else the one on PATH.
	Binary string
	// Env is added to the environment of the service, KEY=value.
	Env []string
}

// Podman is a running `podman system service` with private state. Its methods
// may be called concurrently.
type Podman struct {
	dir    *privateDir
	binary string
	proc   *process
	subnet *subnet
}

// StartPodman starts a Podman API service and waits until it answers. It wraps
// [ErrMissing] when Podman or the configuration of this host is not installed.
func StartPodman(ctx context.Context, opts PodmanOptions) (_ *Podman, err error) {
	if err := needRoot("Podman"); err != nil {
		return nil, err
	}
	p := &Podman{binary: opts.Binary}
	if p.binary == "" {
		if p.binary, err = Bin(cmp.Or(os.Getenv("DOCKLESS_TEST_PODMAN"), "podman")); err != nil {
			return nil, err
		}
	}
	if p.dir, err = makeDir(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Stop(ctx))
		}
	}()
	if p.subnet, err = reserveSubnet(ctx); err != nil {
		return nil, err
	}
	if err := p.configure(opts); err != nil {
		return nil, err
	}
	// Without --time=0 the service ends after five idle seconds.
	cmd := p.command(opts.Env, "system", "service", "--time=0", p.Addr())
	if p.proc, err = startProcess("podman", cmd, p.Log()); err != nil {
		return nil, err
	}
	if err := p.proc.waitReady(ctx, p.ping); err != nil {
		return nil, err
	}
	return p, nil
}

// Addr is the service's address, unix:///…, as CONTAINER_HOST and DOCKER_HOST
// take it.
func (p *Podman) Addr() string { return "unix://" + p.Socket() }

// Socket is the path of the service's unix socket.
func (p *Podman) Socket() string { return p.dir.join("podman.sock") }

// Log is the path of the service's output.
func (p *Podman) Log() string { return p.dir.join("podman.log") }

// Net is the first two numbers of the addresses of its containers, "10.161". Podman
// itself hands out 10.161.0.0/24 and those from 10.161.128.0 on; the rest is for
// networks that name their subnet.
func (p *Podman) Net() string { return strings.TrimSuffix(p.subnet.prefix, ".") }

// Pid is the process id of the service.
func (p *Podman) Pid() int { return p.proc.pid }

// Command returns a command line of the same Podman on the same state, without
// the service between. Stop kills it when it still runs.
func (p *Podman) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.binary, args...)
	cmd.Env, cmd.WaitDelay = podmanEnv(p.dir.path, nil), pipeGrace
	return cmd
}

// Stop removes all containers, ends the service and deletes its state. It works
// when ctx has ended and may be repeated.
func (p *Podman) Stop(ctx context.Context) error {
	var errs []error
	if p.proc != nil {
		errs = append(errs, p.proc.stop(context.WithoutCancel(ctx)))
	}
	if p.dir != nil {
		errs = append(errs, p.dir.remove(ctx))
	}
	if p.subnet != nil {
		errs = append(errs, p.subnet.release())
	}
	p.proc, p.dir, p.subnet = nil, nil, nil
	return errors.Join(errs...)
}

// configure copies this host's container configuration into the private
// directory, with this rig's values in it.
func (p *Podman) configure(opts PodmanOptions) error {
	root, err := Root()
	if err != nil {
		return err
	}
	values := strings.NewReplacer(
		filepath.Join(root, ".build", "podman"), p.dir.path,
		hostSubnet, p.subnet.prefix,
		engineTable, engineTable+execDelay,
	)
	for _, name := range []string{containersConf, storageConf} {
		text, err := os.ReadFile(filepath.Join(root, ".build", "containers", name))
		if err != nil {
			return missing("container configuration " + name)
		}
		if err := os.WriteFile(p.dir.join(name), []byte(values.Replace(string(text))), 0o600); err != nil {
			return fmt.Errorf("configuring Podman: %w", err)
		}
	}
	if err := os.WriteFile(p.dir.join(registriesConf), []byte(registries(opts)), 0o600); err != nil {
		return fmt.Errorf("configuring Podman: %w", err)
	}
	if err := os.Mkdir(p.dir.join("copy"), 0o700); err != nil {
		return fmt.Errorf("configuring Podman: %w", err)
	}
	return wrapNetavark(p.dir.path, p.subnet.number)
}

// registries returns registries.conf. A short name means docker.io, so that
// `mysql:8` asks nobody which registry was meant.
func registries(opts PodmanOptions) string {
	var b strings.Builder
	b.WriteString("unqualified-search-registries = [\"docker.io\"]\nshort-name-mode = \"permissive\"\n")
	if opts.Mirror != "" {
		fmt.Fprintf(&b, "\n[[registry]]\nlocation = \"docker.io\"\n\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", opts.Mirror)
	}
	for _, host := range slices.Sorted(maps.Keys(opts.Mirrors)) {
		fmt.Fprintf(&b, "\n[[registry]]\nlocation = %q\ninsecure = true\n\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", host, opts.Mirrors[host])
	}
	for _, host := range opts.Insecure {
		fmt.Fprintf(&b, "\n[[registry]]\nlocation = %q\ninsecure = true\n", host)
	}
	return b.String()
}

// command runs podman for the life of the rig, so no context ends it. It works in
// the private directory, where conmon leaves a file when a container's memory ran out.
func (p *Podman) command(env []string, args ...string) *exec.Cmd {
	return &exec.Cmd{Path: p.binary, Args: append([]string{p.binary}, args...), Env: podmanEnv(p.dir.path, env), Dir: p.dir.path}
}

// podmanEnv points a podman command at the state in dir.
func podmanEnv(dir string, more []string) []string {
	// Even empty, these turn the command into a client of another service.
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, "CONTAINER_HOST=") || strings.HasPrefix(entry, "DOCKER_HOST=")
	})
	env = append(env,
		"CONTAINERS_CONF="+filepath.Join(dir, containersConf),
		"CONTAINERS_STORAGE_CONF="+filepath.Join(dir, storageConf),
		"CONTAINERS_REGISTRIES_CONF="+filepath.Join(dir, registriesConf),
		// Podman 5 warns about cgroup v1 on every start otherwise.
		"PODMAN_IGNORE_CGROUPSV1_WARNING=1",
	)
	return append(env, more...)
}

// ping asks the service whether it answers.
func (p *Podman) ping(ctx context.Context) error {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", p.Socket())
		},
		DisableKeepAlives: true,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://podman/v4.0.0/libpod/_ping", nil)
	if err != nil {
		return fmt.Errorf("pinging Podman: %w", err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("pinging Podman: %w", err)
	}
	if err := resp.Body.Close(); err != nil {
		return fmt.Errorf("pinging Podman: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("pinging Podman: status %s", resp.Status)
	}
	return nil
}

// removeContainers ends the containers and networks of the Podman state in dir,
// if there is one. It is Podman's own removal, because a container has more than
// a process and a mount: addresses, port rules and a network namespace.
func removeContainers(ctx context.Context, dir string) error {
	if !exists(filepath.Join(dir, "graph", "libpod")) {
		return nil
	}
	binary, err := Bin("podman")
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"pod", "rm", "--all", "--force", "--time=0"},
		{"rm", "--all", "--force", "--volumes", "--time=0"},
	} {
		for try := 1; ; try++ {
			cmd := exec.CommandContext(ctx, binary, args...)
			cmd.Env, cmd.WaitDelay = podmanEnv(dir, nil), pipeGrace
			out, err := cmd.CombinedOutput()
			if err == nil {
				break
			}
			// Of two that use each other's namespaces Podman may begin with the wrong one.
			if try == 3 || !strings.Contains(string(out), "has dependent containers") {
				return fmt.Errorf("removing containers: podman %s: %w\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
	return nil
}

// needRoot reports that a component cannot run as this user.
func needRoot(what string) error {
	if os.Geteuid() == 0 {
		return nil
	}
	return hint.With(fmt.Errorf("starting %s: not root", what), "run the command as root, for example with sudo -E")
}
