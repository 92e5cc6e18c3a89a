package runner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/conceal"
)

const (
	// oldestNode is the major version below which published tasks and the task
	// library do not run any more.
	oldestNode = 16
	// usualNode is the one that they are written for, of those that are maintained.
	usualNode = 20
	// nodeTimeout bounds the question for the version: Node starts in 50 ms, and
	// a cold image on a slow disk has needed a hundred times that.
	nodeTimeout = 30 * time.Second
)

var errNodeTimeout = fmt.Errorf("no version within %s", nodeTimeout)

// nodejs is the Node that runs downloaded tasks. One runs the handlers for all
// versions of it (protocol §8.4).
type nodejs struct {
	path    string
	version string // as in 20.20.2
	major   int
}

// NodeVersions remembers the versions of Node programs. Its zero value is ready
// to use, and its methods may be called concurrently.
type NodeVersions struct {
	mu    sync.Mutex
	known map[nodeFile]nodejs
}

// nodeFile is a program until somebody replaces it.
type nodeFile struct {
	path     string
	modified time.Time
	size     int64
}

// findNode returns the Node of the settings. It is looked for on the PATH that
// steps start with, not on what they make of it.
func (x *execution) findNode(ctx context.Context) (nodejs, error) {
	if x.cfg.Node == "" {
		return nodejs{}, adviseNode(errors.New("downloaded tasks need Node.js, and DOCKLESS_NODE names none"))
	}
	dirs := slices.Clone(x.cfg.Path)
	if inherited, _ := x.cfg.environ("PATH"); inherited != "" {
		dirs = append(dirs, inherited)
	}
	env := environment{"PATH": strings.Join(dirs, string(os.PathListSeparator))}
	path, err := env.look(x.cfg.Node)
	var info fs.FileInfo
	if err == nil {
		info, err = os.Stat(path)
	}
	if err != nil {
		return nodejs{}, adviseNode(fmt.Errorf("downloaded tasks need Node.js, which is not installed here: %w", err))
	}
	if path, err = filepath.Abs(path); err != nil {
		return nodejs{}, fmt.Errorf("finding Node.js: %w", err)
	}
	versions := x.cfg.Nodes
	if versions == nil {
		versions = &NodeVersions{}
	}
	n, err := versions.of(ctx, nodeFile{path: path, modified: info.ModTime(), size: info.Size()}, x.cfg.Environment, x.veil)
	if err != nil {
		return nodejs{}, adviseNode(fmt.Errorf("asking %s for its version: %w", path, err))
	}
	if n.major < oldestNode {
		return nodejs{}, adviseNode(fmt.Errorf("downloaded tasks need Node.js %d or later; %s is %s", oldestNode, path, n.version))
	}
	return n, nil
}

func adviseNode(err error) error {
	return hint.With(err, "install Node.js %d or later in the agent's image (%d is what tasks expect), or set DOCKLESS_NODE to its program", oldestNode, usualNode)
}

// of returns what is known of a program, and asks it when nothing is.
func (v *NodeVersions) of(ctx context.Context, f nodeFile, env []string, veil *conceal.Veil) (nodejs, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n, ok := v.known[f]; ok {
		return n, nil
	}
	n, err := askNode(ctx, f.path, env, veil)
	if err != nil {
		return nodejs{}, err
	}
	if v.known == nil {
		v.known = make(map[nodeFile]nodejs)
	}
	v.known[f] = n
	return n, nil
}

var nodeVersion = regexp.MustCompile(`^v((\d{1,4})\.\d+\.\d+\S*)\s*$`)

// askNode runs the program beneath the veil: an earlier job may have put it there.
func askNode(ctx context.Context, path string, env []string, veil *conceal.Veil) (nodejs, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, nodeTimeout, errNodeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = env
	// What it may have started must not keep the pipe, and us, open.
	cmd.WaitDelay = time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	err := veil.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nodejs{}, err
	}
	match := nodeVersion.FindSubmatch(out.Bytes())
	if match == nil {
		return nodejs{}, errors.New("its answer is not that of Node.js")
	}
	major, err := strconv.Atoi(string(match[2]))
	if err != nil {
		return nodejs{}, err
	}
	return nodejs{path: path, version: string(match[1]), major: major}, nil
}
