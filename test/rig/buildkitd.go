package rig

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// BuildkitdOptions say how a buildkitd differs from a plain one. The zero value
// is usable: a unix socket, no mirror.
type BuildkitdOptions struct {
	// Mirror is the host:port of a registry that stands for docker.io, spoken to
	// over plain HTTP. Empty leaves docker.io alone.
	Mirror string
	// Insecure lists further registries (host:port) to speak plain HTTP to. Those
	// on 127.0.0.1 need no entry.
	Insecure []string
	// TCP makes buildkitd listen on a free port of 127.0.0.1 as well.
	TCP bool
	// TLS holds the server's side of mTLS for the TCP address; nil is plain text.
	TLS *TLSFiles
	// Disk makes its state lie on a volume of its own of this size, in bytes; zero
	// is the disk of the machine.
	Disk int64
	// Snapshotter keeps its layers; empty is overlayfs.
	Snapshotter string
	// Extra is added to the end of buildkitd.toml.
	Extra string
	// Env is added to buildkitd's environment, KEY=value.
	Env []string
}

// TLSFiles are PEM files.
type TLSFiles struct{ CA, Cert, Key string }

// Buildkitd is a running buildkitd with private state. Its methods may be
// called concurrently.
type Buildkitd struct {
	dir      *privateDir
	proc     *process
	binary   string
	env      []string
	buildctl string
	tcp      string
	mounted  bool // whether its state is a volume of its own
}

// StartBuildkitd starts buildkitd with its OCI worker on Debian's runc and waits
// until it answers. It wraps [ErrMissing] when a program is not installed.
func StartBuildkitd(ctx context.Context, opts BuildkitdOptions) (_ *Buildkitd, err error) {
	if err := needRoot("buildkitd"); err != nil {
		return nil, err
	}
	b := &Buildkitd{}
	if b.binary, err = Bin("buildkitd"); err != nil {
		return nil, err
	}
	runc, err := Bin("runc")
	if err != nil {
		return nil, err
	}
	if b.buildctl, err = Bin("buildctl"); err != nil {
		return nil, err
	}
	if b.dir, err = makeDir(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.Stop(ctx))
		}
	}()
	if opts.TCP {
		port, err := FreePorts(ctx, 1)
		if err != nil {
			return nil, err
		}
		b.tcp = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	}
	if opts.Disk > 0 {
		if err := os.Mkdir(b.Root(), 0o711); err != nil { //nolint:gosec // as buildkitd makes it
			return nil, err
		}
		if err := unix.Mount("tmpfs", b.Root(), "tmpfs", 0, fmt.Sprintf("size=%d", opts.Disk)); err != nil {
			return nil, fmt.Errorf("mounting a volume for buildkitd: %w", err)
		}
		b.mounted = true
	}
	if err := os.WriteFile(b.dir.join("buildkitd.toml"), []byte(b.config(opts, runc)), 0o600); err != nil {
		return nil, fmt.Errorf("configuring buildkitd: %w", err)
	}
	b.env = append(append(os.Environ(), "TMPDIR="+b.dir.path), opts.Env...)
	return b, b.start(ctx)
}

// start starts the program on what is in the directory and waits for its answer.
func (b *Buildkitd) start(ctx context.Context) (err error) {
	cmd := &exec.Cmd{Path: b.binary, Args: []string{b.binary, "--config", b.dir.join("buildkitd.toml")}, Env: b.env}
	if b.proc, err = startProcess("buildkitd", cmd, b.Log()); err != nil {
		return err
	}
	return b.proc.waitReady(ctx, b.ping)
}

// Kill ends buildkitd as the kernel does when memory runs out. Its state stays.
func (b *Buildkitd) Kill() error {
	if err := syscall.Kill(b.proc.pid, syscall.SIGKILL); err != nil {
		return fmt.Errorf("killing buildkitd: %w", err)
	}
	<-b.proc.done
	return nil
}

// Restart starts a buildkitd that was killed on the same state and address. It
// must not be called beside other methods.
func (b *Buildkitd) Restart(ctx context.Context) error { return b.start(ctx) }

// Addr is buildkitd's address on its unix socket, as BUILDKIT_HOST takes it.
func (b *Buildkitd) Addr() string { return "unix://" + b.dir.join("bk.sock") }

// TCPAddr is buildkitd's tcp:// address, or empty without [BuildkitdOptions].TCP.
func (b *Buildkitd) TCPAddr() string {
	if b.tcp == "" {
		return ""
	}
	return "tcp://" + b.tcp
}

// Root is the directory of its state.
func (b *Buildkitd) Root() string { return b.dir.join("state") }

// Log is the path of buildkitd's output.
func (b *Buildkitd) Log() string { return b.dir.join("buildkitd.log") }

// Pid is buildkitd's process id.
func (b *Buildkitd) Pid() int { return b.proc.pid }

// Prune empties the builder: every cache record that no build is using.
func (b *Buildkitd) Prune(ctx context.Context) error {
	_, err := b.Buildctl(ctx, "prune", "--all")
	return err
}

// BuildctlCommand returns a command line of buildctl against this buildkitd.
func (b *Buildkitd) BuildctlCommand(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, b.buildctl, append([]string{"--addr", b.Addr()}, args...)...)
	cmd.WaitDelay = pipeGrace
	return cmd
}

// Buildctl runs buildctl against this buildkitd and returns its output.
func (b *Buildkitd) Buildctl(ctx context.Context, args ...string) (string, error) {
	out, err := b.BuildctlCommand(ctx, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("running buildctl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Stop ends buildkitd and deletes its state. It works when ctx has ended and
// may be repeated.
func (b *Buildkitd) Stop(ctx context.Context) error {
	var errs []error
	if b.proc != nil {
		errs = append(errs, b.proc.stop(context.WithoutCancel(ctx)))
	}
	if b.mounted {
		b.mounted = false
		errs = append(errs, unix.Unmount(b.Root(), unix.MNT_DETACH))
	}
	if b.dir != nil {
		errs = append(errs, b.dir.remove(ctx))
	}
	b.proc, b.dir = nil, nil
	return errors.Join(errs...)
}

// ping asks whether the worker is there, which implies that the API answers.
func (b *Buildkitd) ping(ctx context.Context) error {
	_, err := b.Buildctl(ctx, "debug", "workers")
	return err
}

// config returns buildkitd.toml.
func (b *Buildkitd) config(opts BuildkitdOptions, runc string) string {
	addresses := fmt.Sprintf("%q", b.Addr())
	if b.tcp != "" {
		addresses += fmt.Sprintf(", %q", b.TCPAddr())
	}
	var t strings.Builder
	fmt.Fprintf(&t, "root = %q\n", b.Root())
	t.WriteString("insecure-entitlements = [\"network.host\", \"security.insecure\"]\n\n")
	fmt.Fprintf(&t, "[grpc]\n  address = [%s]\n", addresses)
	if opts.TLS != nil {
		fmt.Fprintf(&t, "\n[grpc.tls]\n  ca = %q\n  cert = %q\n  key = %q\n", opts.TLS.CA, opts.TLS.Cert, opts.TLS.Key)
	}
	// The snapshotter is named because "auto" falls back to copying whole trees
	// without a word. Host networking lets build steps reach the registries on
	// 127.0.0.1 and needs no CNI configuration on the machine.
	fmt.Fprintf(&t, "\n[worker.oci]\n  enabled = true\n  binary = %q\n  snapshotter = %q\n  networkMode = \"host\"\n", runc, cmp.Or(opts.Snapshotter, "overlayfs"))
	t.WriteString("\n[worker.containerd]\n  enabled = false\n\n[cdi]\n  disabled = true\n")
	if opts.Mirror != "" {
		fmt.Fprintf(&t, "\n[registry.\"docker.io\"]\n  mirrors = [%q]\n\n[registry.%q]\n  http = true\n", opts.Mirror, opts.Mirror)
	}
	for _, host := range opts.Insecure {
		if host != opts.Mirror {
			fmt.Fprintf(&t, "\n[registry.%q]\n  http = true\n", host)
		}
	}
	return t.String() + opts.Extra
}
