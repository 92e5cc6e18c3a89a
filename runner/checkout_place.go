package runner

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/gitsource"
)

// checkouts counts the checkout steps of the job. `checkout: none` is a step that
// never runs.
func (x *execution) checkouts() int {
	count := 0
	for _, s := range x.m.Steps {
		repository, _ := job.Lookup(s.Inputs, "repository")
		if strings.EqualFold(s.Reference.ID, checkoutID) && (s.Enabled == nil || *s.Enabled) && !strings.EqualFold(repository, "none") {
			count++
		}
	}
	return count
}

// checkoutDir returns where a repository goes, which is inside the workspace.
func (x *execution) checkoutDir(in inputs, r job.Repository) (string, error) {
	if path := in.text("path", ""); path != "" {
		dir := filepath.Join(x.folders.pipeline, path)
		inside, err := filepath.Rel(x.folders.pipeline, dir)
		if err != nil || !filepath.IsLocal(inside) || inside == "." || filepath.IsAbs(path) {
			return "", fmt.Errorf("checking out %s: the path %q leads out of the workspace", r.Alias, path)
		}
		if link := linkBelow(x.folders.pipeline, filepath.Dir(inside)); link != "" {
			return "", fmt.Errorf("checking out %s: the path %q goes through the link %s, which may lead out of the workspace", r.Alias, path, link)
		}
		return dir, nil
	}
	if x.checkouts() <= 1 {
		return x.folders.sources, nil
	}
	name := r.Text("name")
	if name == "" {
		name = r.Alias
	}
	name = name[strings.LastIndex(name, "/")+1:]
	if !filepath.IsLocal(name) || name == "." {
		return "", fmt.Errorf("checking out %s: the name %q is no directory", r.Alias, name)
	}
	if link := linkBelow(x.folders.pipeline, filepath.Base(x.folders.sources)); link != "" {
		return "", fmt.Errorf("checking out %s: the directory of the sources is the link %s, which may lead out of the workspace", r.Alias, link)
	}
	return filepath.Join(x.folders.sources, name), nil
}

// linkBelow returns the first symbolic link on the way from base down to the
// relative path inside, or "". An earlier job may have left one, and the
// checkout removes what it finds at its destination.
func linkBelow(base, inside string) string {
	dir := base
	for part := range strings.SplitSeq(inside, string(filepath.Separator)) {
		dir = filepath.Join(dir, part)
		if info, err := os.Lstat(dir); err == nil && info.Mode()&os.ModeSymlink != 0 && dir != base {
			return dir
		}
	}
	return ""
}

// checkedOut updates the variables that say where the sources are and how they
// came there (language §1.14).
func (x *execution) checkedOut(a *attempt, alias string, s *gitsource.Source) {
	single := x.checkouts() <= 1
	if single {
		x.define("build.sourcesDirectory", s.Dir)
		x.define("system.defaultWorkingDirectory", s.Dir)
	} else if a.in.truth("workspaceRepo", false) {
		x.define("system.defaultWorkingDirectory", s.Dir)
	}
	if !strings.EqualFold(alias, "self") {
		return
	}
	if single || a.in.text("path", "") != "" {
		x.define("build.repository.localPath", s.Dir)
	}
	truth := map[bool]string{false: "False", true: "True"}
	x.define("build.repository.clean", truth[s.Clean])
	x.define("build.repository.git.submoduleCheckout", truth[s.Submodules != ""])
}
