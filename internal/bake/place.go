package bake

import (
	"fmt"
	"path"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

// herePrefix marks a path of the directory that bake runs in. It tells that from
// the repository where buildx reads the bake files of a URL; our files are always
// here, as is everything that they name without it.
const herePrefix = "cwd://"

// remote reports whether BuildKit fetches a context itself.
func remote(where string) bool {
	return !strings.HasPrefix(where, herePrefix) && imagebuild.IsRemote(where)
}

// here returns a directory of this machine so that nobody takes it for anything
// else: "github.com/a/b" after herePrefix is no repository.
func here(dir string) string {
	dir = path.Clean(dir)
	if _, local := imagebuild.LocalContext(dir); !local || strings.HasPrefix(dir, linkPrefix) {
		return "./" + dir
	}
	return dir
}

// settled returns t with the context and the Dockerfile that every target has. It
// is the last step for a target, whoever resolved it: no context has herePrefix
// after it.
func (t Target) settled() (*Target, error) {
	if t.Context == nil {
		t.Context = set(".")
	}
	if !remote(*t.Context) {
		t.Context = set(here(strings.TrimPrefix(*t.Context, herePrefix)))
	}
	if t.Dockerfile == nil || *t.Dockerfile == "" {
		t.Dockerfile = set("Dockerfile")
	}
	for _, s := range t.SSH {
		if strings.Contains(s.ID, "=") {
			return nil, hint.With(fmt.Errorf("target %s: the id %q of an ssh agent has a \"=\" in it", t.Name, s.ID), "list sockets or keys as its paths")
		}
	}
	return &t, nil
}

// places returns the named contexts as a build takes them, without those that are
// other targets. In the plan they stand as written, since buildx prints them so.
func (t *Target) places() map[string]string {
	out := make(map[string]string)
	for name, where := range t.Contexts {
		if dir, ok := strings.CutPrefix(where, herePrefix); ok {
			out[name] = here(dir)
		} else if !strings.HasPrefix(where, linkPrefix) {
			out[name] = where
		}
	}
	return out
}
