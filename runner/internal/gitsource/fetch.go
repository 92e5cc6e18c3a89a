package gitsource

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// fetchAttempts is how often a fetch is tried (protocol §8.2).
	fetchAttempts = 3
	// firstPause and lastPause bound the random pause between two attempts.
	firstPause, lastPause = time.Second, 10 * time.Second
)

const everyBranch = "+refs/heads/*:refs/remotes/origin/*"

// fetchAll fetches the branch or the pull request, then the commit itself when
// that did not bring it.
func (s *Source) fetchAll(ctx context.Context) error {
	blamed, err := s.seed(ctx)
	if err != nil {
		return err
	}
	if err := s.fetch(ctx, s.refspecs()...); err != nil {
		return err
	}
	if blamed != nil {
		blamed(ctx) // for the server is well
	}
	if s.has(ctx, s.target()) {
		return nil
	}
	if target := s.target(); target != s.Commit {
		return hint.With(fmt.Errorf("checking out %s: the repository %s has no such branch or tag, or is empty", s.Ref, s.URL),
			"if it was deleted while the run waited, start a new one")
	}
	if err := s.fetch(ctx, "+"+s.Commit); err != nil {
		return hint.With(err, "if the commit was removed by a push with force, start a new run")
	}
	return nil
}

// refspecs returns what to fetch (protocol §8.2); nothing is the remote's own
// default.
func (s *Source) refspecs() []string {
	shallow := s.Depth > 0
	switch {
	case s.pull():
		return []string{everyBranch, "+" + s.Ref + ":" + tracking(s.Ref)}
	case shallow && s.Commit != "":
		return []string{"+" + s.Commit + ":refs/remotes/origin/" + s.Commit}
	case shallow && s.Ref != "", s.Ref != "" && !strings.HasPrefix(s.Ref, "refs/heads/"):
		return []string{"+" + s.Ref + ":" + tracking(s.Ref)}
	}
	return nil
}

func (s *Source) pull() bool { return strings.HasPrefix(s.Ref, "refs/pull/") }

// tracking returns where a ref of the remote is kept here.
func tracking(ref string) string {
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		return "refs/remotes/origin/" + branch
	}
	if pull, ok := strings.CutPrefix(ref, "refs/pull/"); ok {
		return "refs/remotes/pull/" + pull
	}
	return ref
}

// target returns what is checked out.
func (s *Source) target() string {
	if s.pull() || s.Commit == "" {
		return tracking(s.Ref)
	}
	return s.Commit
}

func (s *Source) has(ctx context.Context, commit string) bool {
	return s.Run(ctx, s.Dir, nil, "rev-parse", "--quiet", "--verify", commit+"^{commit}") == nil
}

func (s *Source) fetch(ctx context.Context, refspecs ...string) error {
	args := append(s.fetchOptions(), "--progress", "--no-recurse-submodules", "origin")
	switch {
	case s.Depth > 0:
		args = append(args, "--depth="+strconv.Itoa(s.Depth))
	case there(s.file("shallow")):
		args = append(args, "--unshallow") // an earlier checkout was content with less
	}
	if s.Filter != "" {
		args = append(args, "--filter="+s.Filter)
	}
	return s.again(ctx, "fetching from "+s.URL, append(args, refspecs...)...)
}

func (s *Source) fetchOptions() []string {
	if s.Tags {
		return []string{"fetch", "--force", "--tags", "--prune", "--prune-tags"}
	}
	// With --prune-tags it would fetch them all the same: git adds a refspec for it.
	return []string{"fetch", "--force", "--no-tags", "--prune"}
}

// again runs a git command that talks to the server, with the credentials, and
// tries three times.
func (s *Source) again(ctx context.Context, what string, args ...string) error {
	return s.repeat(ctx, what, func() error { return s.Run(ctx, s.Dir, s.header(), args...) })
}

func (s *Source) repeat(ctx context.Context, what string, do func() error) error {
	for attempt := 1; ; attempt++ {
		err := do()
		if err == nil {
			return nil
		}
		err = fmt.Errorf("%s: %w", what, err)
		if attempt == fetchAttempts || ctx.Err() != nil {
			return err
		}
		pause := retry.Between(firstPause, lastPause)
		if s.Pause != nil {
			pause = s.Pause()
		}
		s.Log(fmt.Sprintf("git failed; trying again (%d of %d) in %s.", attempt+1, fetchAttempts, pause.Round(time.Second)))
		if werr := retry.Wait(ctx, pause); werr != nil {
			return errors.Join(werr, err)
		}
	}
}
