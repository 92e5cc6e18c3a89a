package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

// localRepository describes the Git repository around dir for a replay: sources
// are cloned from its working copy's last commit. Outside of a repository, or
// without a commit, only the name is set.
//
// root is the repository's directory, or dir where there is none.
func localRepository(ctx context.Context, dir string) (r pipeline.Repository, root string) {
	git := func(args ...string) string {
		out, err := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(out))
	}
	top := git("rev-parse", "--show-toplevel")
	if top == "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			abs = dir
		}
		return pipeline.Repository{Name: filepath.Base(abs)}, abs
	}
	branch := git("symbolic-ref", "--quiet", "HEAD")
	if branch == "" {
		branch = "refs/heads/main" // a detached commit belongs to no branch
	}
	return pipeline.Repository{
		Name: filepath.Base(top), URL: "file://" + top, Ref: branch,
		Commit: git("rev-parse", "HEAD"), Message: git("log", "-1", "--format=%s"), Author: git("log", "-1", "--format=%an"),
	}, top
}

// below returns where file lies below root, with slashes. A file elsewhere, for
// example behind a link, is taken as if it lay in its own directory alone.
func below(root, file string) (newRoot, name string, err error) {
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return "", "", fmt.Errorf("finding %s: %w", file, err)
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil || !filepath.IsLocal(rel) {
		return dir, filepath.Base(file), nil //nolint:nilerr // elsewhere is no failure
	}
	return root, filepath.ToSlash(filepath.Join(rel, filepath.Base(file))), nil
}

// gitConfig returns a setting of git, or "".
func gitConfig(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "git", "config", "--get", name).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// listing is one step as `replay --list` shows it.
type listing struct {
	Stage string `json:"stage"`
	Job   string `json:"job"`
	Step  string `json:"step"`
	Title string `json:"displayName"`
}

func listPipeline(w io.Writer, p *pipeline.Pipeline, output string) error {
	var all []listing
	for _, s := range p.Stages {
		for _, j := range s.Jobs {
			for _, step := range j.Steps {
				all = append(all, listing{Stage: s.Name, Job: j.Name, Step: step.Name, Title: step.DisplayName})
			}
		}
	}
	if output == "json" {
		return console.PrintJSON(w, all)
	}
	t := console.NewTable(w)
	console.Say(t, "STAGE\tJOB\tSTEP\tDISPLAY NAME\n")
	for _, l := range all {
		console.Say(t, "%s\t%s\t%s\t%s\n", l.Stage, l.Job, l.Step, l.Title)
	}
	return t.Flush()
}
