package buildxsetup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

// errElsewhere says that a node's disk cannot be seen from here.
var errElsewhere = errors.New("its buildkitd is not on this machine, or hides where its root is")

// Volume looks at the disk of the node's root. That is possible for a buildkitd
// on this machine, behind a unix socket: the kernel names the process at its
// other end, whose command line and configuration name the root. The protocol
// has no question for it. Every other node has an error.
func (n Node) Volume(ctx context.Context) (buildkitconf.Volume, error) {
	root, err := n.root(ctx)
	if err != nil {
		return buildkitconf.Volume{}, err
	}
	return buildkitconf.StatVolume(root)
}

// root returns the node's root directory as this process reaches it.
func (n Node) root(ctx context.Context) (string, error) {
	socket, ok := strings.CutPrefix(n.Endpoint, "unix://")
	if !ok {
		return "", errElsewhere
	}
	peer, err := peerOf(ctx, socket)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errElsewhere, err)
	}
	proc := fmt.Sprintf("/proc/%d", peer.Pid)
	argv, err := os.ReadFile(proc + "/cmdline")
	if err != nil {
		return "", fmt.Errorf("%w: %w", errElsewhere, err)
	}
	args := strings.Split(string(bytes.TrimRight(argv, "\x00")), "\x00")
	if filepath.Base(args[0]) != "buildkitd" {
		return "", errElsewhere // systemd, a proxy
	}
	root, config := flagOf(args, "root"), flagOf(args, "config")
	// Of another user's buildkitd that is rootless, nobody tells us the home.
	known, rootless := peer.Uid == 0 || int(peer.Uid) == os.Geteuid(), peer.Uid != 0
	if config == "" && known {
		config = buildkitconf.DefaultFile(rootless)
	}
	if root == "" {
		root = configuredRoot(proc, config)
	}
	if root == "" && known {
		root = buildkitconf.DefaultRoot(rootless)
	}
	if !filepath.IsAbs(root) {
		return "", errElsewhere
	}
	// Its lock tells the root from a directory of the same name on our side: the
	// process may be in a container, and may not let us look through its eyes.
	for _, seen := range []string{proc + "/root" + root, root} {
		if _, err := os.Lstat(filepath.Join(seen, "buildkitd.lock")); err == nil {
			return seen, nil
		}
	}
	return "", errElsewhere
}

// peerOf returns who listens on a unix socket.
func peerOf(ctx context.Context, socket string) (*unix.Ucred, error) {
	const dialTimeout = time.Second // connecting to a local socket waits for its backlog only
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // nothing was written
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return nil, err
	}
	if peer.Pid <= 0 {
		return nil, errors.New("its process is in another namespace")
	}
	return peer, nil
}

// flagOf returns the value of a flag on a command line.
func flagOf(args []string, name string) string {
	for i, arg := range args {
		trimmed := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
		if trimmed == arg {
			continue
		}
		if trimmed == name && i+1 < len(args) {
			return args[i+1]
		}
		if value, ok := strings.CutPrefix(trimmed, name+"="); ok {
			return value
		}
	}
	return ""
}

// configuredRoot returns the root that the process's configuration file names, if
// we may read it.
func configuredRoot(proc, file string) string {
	if !filepath.IsAbs(file) {
		return ""
	}
	document, err := os.ReadFile(proc + "/root" + file)
	if err != nil {
		return ""
	}
	return buildkitconf.Root(string(document))
}
