package buildxsetup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
)

// stopTimeout is how long a buildkitd of our own may take to end its builds and
// close its database after SIGTERM before it is killed.
const stopTimeout = 10 * time.Second

// daemon is a buildkitd that belongs to this process.
type daemon struct {
	cmd    *exec.Cmd
	socket string
	log    string        // file with its output
	exited chan struct{} // closed by the goroutine that waits for it
	err    error         // why it ended; set before exited is closed
}

// startOwn starts buildkitd from PATH, rootless when we are not root, and points
// the builder at it. It is where another way to get one belongs.
func startOwn(ctx context.Context, c Config, log *slog.Logger) (_ *Builder, err error) {
	if c.StateDir == "" {
		return nil, hint.With(errors.New("there is no buildkitd to build with"), "set BUILDKIT_HOST to the address of a running buildkitd")
	}
	d, err := startDaemon(ctx, filepath.Join(c.StateDir, "buildkit"), log)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.stop())
		}
	}()
	waitCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-d.exited:
			cancel(d.failure())
		case <-waitCtx.Done():
		}
	}()
	b, err := point(waitCtx, c, []Node{{Name: c.Name + "0", Endpoint: "unix://" + d.socket}}, log)
	cancel(nil)
	<-watched
	if err != nil {
		return nil, err
	}
	b.own = d
	return b, nil
}

// startDaemon starts buildkitd with its socket, its root and its configuration in
// dir.
func startDaemon(ctx context.Context, dir string, log *slog.Logger) (*daemon, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("starting buildkitd: %w", err)
	}
	argv, err := daemonCommand(os.Geteuid() == 0, exec.LookPath)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("starting buildkitd: %w", err)
	}
	if err := unwedge(ctx, filepath.Join(dir, "root"), argv, log); err != nil {
		log.WarnContext(ctx, "the disk of our buildkitd is full, and its cache stays", "error", err)
	}
	d := &daemon{socket: filepath.Join(dir, "buildkitd.sock"), log: filepath.Join(dir, "buildkitd.log"), exited: make(chan struct{})}
	argv = append(argv, "--addr", "unix://"+d.socket, "--root", filepath.Join(dir, "root"), "--containerd-worker=false")
	if config := ownConfig(ctx, dir, os.Geteuid() != 0, log); config != "" {
		argv = append(argv, "--config", config)
	}
	out, err := os.Create(d.log)
	if err != nil {
		return nil, fmt.Errorf("starting buildkitd: %w", err)
	}
	d.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx // found in PATH by name; it outlives the context that started it, until stop
	d.cmd.Stdout, d.cmd.Stderr = out, out
	d.cmd.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // an interrupt on the terminal is for us; we end it in order
		Pdeathsig: syscall.SIGTERM, // it must not outlive us, even killed
	}
	started := make(chan error, 1)
	go func() {
		// The parent-death signal belongs to the thread that started the child, so
		// this thread stays until the child has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(d.exited)
		err := d.cmd.Start()
		started <- err
		if err == nil {
			err = d.cmd.Wait()
		}
		d.err = errors.Join(err, out.Close())
	}()
	if err := <-started; err != nil {
		<-d.exited
		return nil, fmt.Errorf("starting buildkitd: %w", err)
	}
	return d, nil
}

// daemonCommand finds what to run. Without root, buildkitd runs inside
// rootlesskit, which gives it a user namespace of its own.
func daemonCommand(root bool, lookPath func(string) (string, error)) ([]string, error) {
	buildkitd, err := lookPath("buildkitd")
	if err != nil {
		return nil, hint.With(fmt.Errorf("there is no buildkitd to build with: %w", err),
			"set BUILDKIT_HOST to the address of a running buildkitd, or install buildkitd and runc")
	}
	if root {
		return []string{buildkitd}, nil
	}
	rootlesskit, err := lookPath("rootlesskit")
	if err != nil {
		return nil, hint.With(fmt.Errorf("buildkitd needs rootlesskit when we are not root: %w", err),
			"set BUILDKIT_HOST to the address of a running buildkitd, or install rootlesskit and slirp4netns")
	}
	return []string{rootlesskit, "--net=slirp4netns", "--copy-up=/etc", "--disable-host-loopback", buildkitd, "--rootless"}, nil
}

// failure describes an end that nobody asked for, with the daemon's last words.
// It is called after exited is closed.
func (d *daemon) failure() error {
	err := d.err
	if err == nil {
		err = errors.New("exit status 0")
	}
	text := fmt.Errorf("buildkitd ended: %w", err)
	if line := lastLine(d.log); line != "" {
		text = fmt.Errorf("buildkitd ended: %w: %s", err, line)
	}
	return hint.With(text, "read %s, or set BUILDKIT_HOST to the address of a running buildkitd", d.log)
}

// lastLine returns the last line of a log file that is not empty.
func lastLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	data = bytes.TrimSpace(data)
	if i := bytes.LastIndexByte(data, '\n'); i >= 0 {
		data = data[i+1:]
	}
	return strings.TrimSpace(string(data))
}

// stop ends the daemon and waits for it.
func (d *daemon) stop() error {
	select {
	case <-d.exited:
		return nil
	default:
	}
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stopping buildkitd: %w", err)
	}
	timer := time.NewTimer(stopTimeout)
	defer timer.Stop()
	select {
	case <-d.exited:
		return nil
	case <-timer.C:
	}
	if err := syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("killing buildkitd: %w", err)
	}
	<-d.exited
	return fmt.Errorf("buildkitd had to be killed: it did not end within %s", stopTimeout)
}
