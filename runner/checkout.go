package runner

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/gitsource"
	"github.com/dockless-ci/dockless/runner/internal/tidy"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

const checkoutID = "6d15af64-176c-496d-b583-fd2ae21d4df4"

// sourceTasks are the built-ins that fetch sources.
func sourceTasks() map[string]task {
	return map[string]task{
		checkoutID + "@1": {
			name: "checkout", title: "Get sources", description: "Get sources from a repository with git.",
			run: runCheckout, after: forgetCredentials,
			onlyHere: true, // the server has no package of it
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
	x.checkedOut(a, repository.Alias, source)
	return nil
}

// mirrorTimeout is how long other agents may work on the mirror of a repository
// before a checkout goes without it. Most updates take seconds; the first one of a
// large repository may take longer than anybody should wait.
const mirrorTimeout = 2 * time.Minute

// checkoutDirectory is the task variable by which the post-job part of a checkout
// knows where it went: its path may be made of variables that have changed since.
const checkoutDirectory = "dockless.checkout.directory"

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
	credentials, err := x.gitCredentials(repository)
	if err != nil {
		return nil, repository, err
	}
	address, credentials := x.withoutPassword(repository.Text("url"), credentials)
	options := x.checkoutOptions(a.in, repository)
	depth, err := x.fetchDepth(alias, options)
	if err != nil {
		return nil, repository, err
	}
	s := &gitsource.Source{
		Dir: dir, URL: address, Ref: repository.Text("ref"), Commit: repository.Text("version"),
		Depth: depth, Filter: options("fetchFilter", ""), Tags: vars.Truth(options("fetchTags", ""), true),
		Clean:      vars.Truth(options("clean", ""), x.vars.Bool("build.clean", false)),
		Submodules: submodules(options("submodules", "")), LFS: vars.Truth(options("lfs", ""), x.vars.Bool("agent.source.git.lfs", false)),
		Sparse: words(options("sparseCheckoutDirectories", "")), Patterns: words(options("sparseCheckoutPatterns", "")),
		Persist: vars.Truth(options("persistCredentials", ""), false), Credentials: credentials,
		Log: a.node.print, Read: x.readFile, Remove: tidy.Remove,
		Mirrors: a.mirrors(),
	}
	s.Run = a.gitRunner(git, withoutLargeFiles(a.env, s.LFS))
	s.Ask = func(ctx context.Context, args ...string) (string, error) {
		var out bytes.Buffer
		a.node.print("##[command]git " + strings.Join(args, " "))
		err := a.process(ctx, program{path: git, args: args, dir: x.folders.pipeline, env: a.env, file: &out})
		return out.String(), exitError("git", err)
	}
	a.settings[checkoutDirectory] = dir
	return s, repository, nil
}

// mirrors returns where copies of repositories are, and the git that works on them.
// What a job sets, a program on its PATH among it, has no part in that.
func (a *attempt) mirrors() gitsource.Mirrors {
	x := a.x
	env, git := x.ownEnvironment(), x.cfg.Git
	if git == "" {
		found, err := env.look("git")
		if err != nil {
			return gitsource.Mirrors{}
		}
		git = found
	}
	return gitsource.Mirrors{Dir: x.cfg.GitMirrors, Scratch: x.folders.temp, Wait: mirrorTimeout, Run: a.gitRunner(git, env)}
}

// gitRunner returns a function that runs git with env.
func (a *attempt) gitRunner(git string, env environment) gitsource.Git {
	return func(ctx context.Context, dir string, config map[string]string, args ...string) error {
		a.node.print("##[command]git " + strings.Join(args, " "))
		return exitError("git", a.process(ctx, program{path: git, args: args, dir: dir, env: withGitConfig(env, config), redraws: true}))
	}
}

// forgetCredentials is the post-job part of the checkout step.
func forgetCredentials(ctx context.Context, a *attempt) error {
	alias := a.in.text("repository", "self")
	repository, _ := a.x.m.Repository(alias)
	dir, ok := a.settings[checkoutDirectory]
	if !ok {
		return nil // the checkout did not come that far
	}
	if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
		return nil //nolint:nilerr // there is no repository
	}
	a.node.print("Removing credentials from the configuration of " + repository.Alias + ".")
	return (&gitsource.Source{Dir: dir, Read: a.x.readFile}).Forget(ctx)
}
