// Package conceal knows how to hide files from the processes of a job although
// those run as the agent's own user: with Landlock, by which a thread gives up
// rights of its own and of every process it starts.
//
// [New] finds out what may be read beside the hidden files and restricts a thread
// to that. [Veil.Do] starts the processes of a job from it, and [Veil.Open] opens
// a file for the agent as such a process could, so that the agent itself cannot
// be asked to read what is hidden.
//
// It talks to the kernel only. Elsewhere than on Linux nothing can be hidden.
package conceal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// ErrImpossible says that files cannot be hidden here. The error that wraps it
// says why, and has a hint.
var ErrImpossible = errors.New("the files of credentials cannot be hidden from jobs")

// impossible returns an ErrImpossible with its reason and the remedy.
func impossible(remedy, reason string, args ...any) error {
	return hint.With(fmt.Errorf("%w: %s", ErrImpossible, fmt.Sprintf(reason, args...)), "%s", remedy)
}

// dataLink is the link in a directory of Kubernetes' that names the current
// state of its files; the kubelet swaps it when they change
// (k8s.io/kubernetes/pkg/volume/util/atomic_writer.go).
const dataLink = "..data"

// target returns what has to be hidden so that nobody reads file: the whole
// mount when it is one for such files, else the file itself.
//
// A mounted Secret or projected token is a directory of its own, in which file is
// a link to ..data/file and ..data a link to a directory that is replaced when
// the secret changes. Hiding today's file would show tomorrow's.
func target(file string, mounted func(string) (bool, error)) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	final, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	for at := final; at != "/"; at = filepath.Dir(at) {
		is, err := mounted(at)
		if err != nil {
			return "", err
		}
		if !is {
			continue
		}
		if _, err := os.Lstat(filepath.Join(at, dataLink)); at == parent || err == nil {
			return at, nil
		}
		break
	}
	return final, nil
}

// tree is what to hide, and the directories above.
type tree struct {
	hidden    []string // none lies below another
	ancestors []string // "/" among them
}

func newTree(targets []string) tree {
	var t tree
	targets = slices.Sorted(slices.Values(targets))
	for _, path := range slices.Compact(targets) { // a directory sorts before what is in it
		if !slices.ContainsFunc(t.hidden, func(h string) bool { return strings.HasPrefix(path, h+"/") }) {
			t.hidden = append(t.hidden, path)
		}
	}
	for _, path := range t.hidden {
		for path != "/" {
			path = filepath.Dir(path)
			t.ancestors = append(t.ancestors, path)
		}
	}
	slices.Sort(t.ancestors)
	t.ancestors = slices.Compact(t.ancestors)
	return t
}

// siblings lists everything that stands beside the hidden files and their
// ancestors. Links are left out: what they lead to stands somewhere itself.
func (t tree) siblings() ([]string, error) {
	var found []string
	for _, dir := range t.ancestors {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.Type()&fs.ModeSymlink != 0 || slices.Contains(t.hidden, path) || slices.Contains(t.ancestors, path) {
				continue
			}
			found = append(found, path)
		}
	}
	return found, nil
}
