package runner

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/gitsource"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

const checkoutID = "6d15af64-176c-496d-b583-fd2ae21d4df4"

// sourceTasks are the built-ins that fetch sources.
func sourceTasks() map[string]task {
	return map[string]task{
		checkoutID + "@1": {
			name: "checkout", title: "Get sources", description: "Get sources from a repository with git.",
			run: runCheckout, after: forgetCredentials,
		},
	}
}

// runCheckout is the checkout step (protocol §8.2, language §1.14).
func runCheckout(ctx context.Context, a *attempt) error {
	x := a.x
	if x.vars.Bool("agent.source.skip", false) || !x.vars.Bool("build.syncSources", true) {
		a.node.print("The sources are not fetched, because agent.source.skip or build.syncSources says so.")
		return nil
	}
	source, repository, err := a.source()
	if err != nil {
		return err
	}
	if source.LFS {
		if _, err := a.env.look("git-lfs"); err != nil {
			return hint.With(fmt.Errorf("large files are asked for: %w", err), "install git-lfs, or remove lfs from the checkout step")
		}
	}
	a.node.print("Syncing repository: " + repository.Text("name") + " (" + repository.Text("type") + ")")
	if err := source.Checkout(ctx); err != nil {
		return err
	}
	x.repos[repository.Alias] = source.Dir
	x.checkedOut(a, repository.Alias, source.Dir)
	return nil
}

// source describes the checkout of the step.
func (a *attempt) source() (*gitsource.Source, job.Repository, error) {
	x := a.x
	alias := a.in.text("repository", "self")
	repository, ok := x.m.Repository(alias)
	if !ok {
		return nil, repository, fmt.Errorf("checking out %s: the job has no such repository", alias)
	}
	switch strings.ToLower(repository.Text("type")) {
	case "tfvc", "svn", "tfsversioncontrol":
		return nil, repository, hint.With(fmt.Errorf("checking out %s: a repository of type %s is not supported", alias, repository.Text("type")),
			"use a git repository")
	}
	git := x.cfg.Git
	if git == "" {
		found, err := a.env.look("git")
		if err != nil {
			return nil, repository, hint.With(err, "install git, or name its directory in PATH")
		}
		git = found
	}
	dir, err := x.checkoutDir(a.in, repository)
	if err != nil {
		return nil, repository, err
	}
	address, credentials := x.withoutPassword(repository.Text("url"), x.gitCredentials(repository))
	options := x.checkoutOptions(a.in, repository)
	depth, err := strconv.Atoi(options("fetchDepth", "0"))
	if override := x.vars.Value("agent.source.git.shallowFetchDepth"); override != "" {
		depth, err = strconv.Atoi(override)
	}
	if err != nil || depth < 0 {
		return nil, repository, errors.New("checking out: fetchDepth is no number of commits")
	}
	submodules := strings.ToLower(options("submodules", ""))
	switch {
	case submodules == "recursive":
	case vars.Truth(submodules, false):
		submodules = "true"
	default:
		submodules = ""
	}
	s := &gitsource.Source{
		Dir: dir, URL: address, Ref: repository.Text("ref"), Commit: repository.Text("version"),
		Depth: depth, Filter: options("fetchFilter", ""), Tags: vars.Truth(options("fetchTags", ""), true),
		Clean:      vars.Truth(options("clean", ""), x.vars.Bool("build.clean", false)),
		Submodules: submodules, LFS: vars.Truth(options("lfs", ""), x.vars.Bool("agent.source.git.lfs", false)),
		Sparse: strings.Fields(options("sparseCheckoutDirectories", "")), Patterns: nonEmptyLines(options("sparseCheckoutPatterns", "")),
		Persist: vars.Truth(options("persistCredentials", ""), false), Credentials: credentials,
		Log: a.node.print, Read: x.readFile,
	}
	s.Run = func(ctx context.Context, dir string, config map[string]string, args ...string) error {
		a.node.print("##[command]git " + strings.Join(args, " "))
		err := a.process(ctx, program{path: git, args: args, dir: dir, env: withGitConfig(a.env, config), redraws: true})
		return exitError("git", err)
	}
	return s, repository, nil
}

// withGitConfig adds settings of git to an environment, behind those that are
// in it already. Unlike arguments, others cannot read an environment.
func withGitConfig(env environment, config map[string]string) environment {
	out := make(environment, len(env)+2*len(config)+1)
	maps.Copy(out, env)
	count, err := strconv.Atoi(env["GIT_CONFIG_COUNT"])
	if err != nil {
		count = 0
	}
	for name, value := range config {
		out["GIT_CONFIG_KEY_"+strconv.Itoa(count)] = name
		out["GIT_CONFIG_VALUE_"+strconv.Itoa(count)] = value
		count++
	}
	if len(config) > 0 {
		out["GIT_CONFIG_COUNT"] = strconv.Itoa(count)
	}
	return out
}

// checkoutOptions returns a look-up of options: the step's inputs before those
// of the repository.
func (x *execution) checkoutOptions(in inputs, r job.Repository) func(name, otherwise string) string {
	var defaults map[string]any
	if raw, ok := job.Lookup(r.Properties, "checkoutOptions"); ok {
		defaults = looseObject(raw)
	}
	return func(name, otherwise string) string {
		if v := in.text(name, ""); v != "" {
			return v
		}
		if v, ok := job.Lookup(defaults, name); ok && v != nil {
			return x.expand(fmt.Sprint(v))
		}
		return otherwise
	}
}

// checkouts counts the checkout steps of the job.
func (x *execution) checkouts() int {
	count := 0
	for _, s := range x.m.Steps {
		if strings.EqualFold(s.Reference.ID, checkoutID) && (s.Enabled == nil || *s.Enabled) {
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

// checkedOut updates the variables that say where the sources are.
func (x *execution) checkedOut(a *attempt, alias, dir string) {
	single := x.checkouts() <= 1
	if single {
		x.define("build.sourcesDirectory", dir)
		x.define("system.defaultWorkingDirectory", dir)
	} else if a.in.truth("workspaceRepo", false) {
		x.define("system.defaultWorkingDirectory", dir)
	}
	if strings.EqualFold(alias, "self") && (single || a.in.text("path", "") != "") {
		x.define("build.repository.localPath", dir)
	}
}

// gitCredentials returns the value of the AUTHORIZATION header for r, which is
// masked, or "" for a repository without an endpoint.
func (x *execution) gitCredentials(r job.Repository) string {
	if r.Endpoint == nil {
		return ""
	}
	e, ok := x.m.Endpoint(r.Endpoint.ID)
	if !ok {
		if e, ok = x.m.Endpoint(r.Endpoint.Name); !ok {
			return ""
		}
	}
	user, password, ok := basicCredentials(e)
	if !ok {
		return ""
	}
	if strings.EqualFold(e.Authorization.Scheme, "OAuth") && strings.EqualFold(r.Text("type"), "Git") {
		return "bearer " + password
	}
	basic := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	x.masks.Add(basic)
	return "basic " + basic
}

// withoutPassword moves a password out of an address, because git takes
// addresses on its command line and keeps them in its configuration. It goes
// into credentials, unless the endpoint of the repository brought some.
func (x *execution) withoutPassword(address, credentials string) (string, string) {
	u, err := url.Parse(address)
	if err != nil || u.User == nil || u.Scheme != "https" && u.Scheme != "http" {
		return address, credentials
	}
	password, _ := u.User.Password()
	if password == "" {
		return address, credentials
	}
	basic := base64.StdEncoding.EncodeToString([]byte(u.User.Username() + ":" + password))
	x.masks.Add(password, basic)
	if credentials == "" {
		credentials = "basic " + basic
	}
	if name := u.User.Username(); name != "" {
		u.User = url.User(name)
	} else {
		u.User = nil
	}
	return u.String(), credentials
}

// forgetCredentials is the post-job part of the checkout step.
func forgetCredentials(ctx context.Context, a *attempt) error {
	alias := a.in.text("repository", "self")
	repository, _ := a.x.m.Repository(alias)
	dir, ok := a.x.repos[repository.Alias]
	if !ok {
		// The checkout did not end, but may have come far enough.
		var err error
		if dir, err = a.x.checkoutDir(a.in, repository); err != nil {
			return nil //nolint:nilerr // the checkout said so, and left nothing
		}
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		return nil //nolint:nilerr // there is no repository
	}
	a.node.print("Removing credentials from the configuration of " + repository.Alias + ".")
	return (&gitsource.Source{Dir: dir, Read: a.x.readFile}).Forget(ctx)
}
