package launch

import (
	"fmt"
	"path/filepath"
	"syscall"
)

// nodeName is the name by which this program starts Node.js.
const nodeName = "node"

// Files are the parts of a Node.js that brings the loader and the libraries it was
// made with, and so runs whatever an image has.
type Files struct{ Program, Loader, Libraries, Preload string }

// NodeFiles returns where those are of a Node.js in dir.
func NodeFiles(dir string) Files {
	return Files{
		Program: filepath.Join(dir, "bin", "node.real"), Loader: filepath.Join(dir, "lib", "ld.so"),
		Libraries: filepath.Join(dir, "lib"), Preload: filepath.Join(dir, "bin", "preload.js"),
	}
}

// NodeLink returns the link by which the Node.js in dir is started again, as tasks
// do that fork. It leads to this program: a script would lose the variables whose
// names no shell knows, such as those of service connections.
func NodeLink(dir string) string { return filepath.Join(dir, "bin", nodeName) }

// NodePreload names that link to Node.js, which takes the loader for its program.
const NodePreload = "process.execPath = __dirname + '/" + nodeName + "'\n"

// Node returns the command line that starts the Node.js in dir.
func Node(dir string) []string {
	f := NodeFiles(dir)
	return []string{f.Loader, "--library-path", f.Libraries, f.Program, "-r", f.Preload}
}

// Main does what a command line asks for when that is a task of this package, and
// reports whether it was. The environment is that of the program.
func Main(args, env []string) (asked bool, err error) {
	switch {
	case len(args) == 3 && args[1] == Command:
		return true, Serve(args[2], env)
	case len(args) > 0 && filepath.Base(args[0]) == nodeName:
		node := append(Node(filepath.Dir(filepath.Dir(args[0]))), args[1:]...)
		err := syscall.Exec(node[0], node, env)
		return true, fmt.Errorf("starting Node.js: %w", err)
	}
	return false, nil
}
