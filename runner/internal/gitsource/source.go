// Package gitsource knows how to bring a directory to one commit of a git
// repository with the git program: the commands, their order, and how the
// credentials reach git without being seen on a command line.
//
// One use is one [Source.Checkout]; [Source.Forget] later removes what a
// persistent checkout left in the configuration. The package starts no process
// itself: its caller gives it a function that runs git and logs its output.
package gitsource

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/retry"
)

const (
	// fetchAttempts is how often a fetch is tried (protocol §8.2).
	fetchAttempts = 3
	// firstPause and lastPause bound the random pause between two attempts.
	firstPause, lastPause = time.Second, 10 * time.Second
)

// Git runs git with args in dir. config holds settings, name → value, that
// hold for this one command and may be secret; they must travel in its
// environment. The output goes to the log of the step.
type Git func(ctx context.Context, dir string, config map[string]string, args ...string) error

// Source is one checkout.
type Source struct {
	Dir         string // where the working tree is or will be
	URL         string
	Ref         string // refs/heads/main, refs/pull/1/merge, …; may be empty when Commit is set
	Commit      string // empty: the tip of Ref
	Depth       int    // commits to fetch; 0: all
	Filter      string // partial clone filter
	Tags        bool
	Clean       bool // remove what is not in the repository first
	Submodules  string
	Sparse      []string // directories of a sparse checkout; empty: everything
	Patterns    []string // patterns of a sparse checkout; they win over Sparse
	LFS         bool
	Persist     bool   // keep the credentials in the configuration for later steps
	Credentials string // value of the HTTP header AUTHORIZATION; empty: none

	Run   Git
	Read  func(path string) ([]byte, error) // reads the repository's configuration, which a job can make a link; nil: os.ReadFile
	Log   func(line string)                 // tells what is done; never with a secret
	Pause func() time.Duration              // between two attempts; nil: random, one to ten seconds
}

// Checkout brings Dir to the commit. Whatever stands in the way in an existing
// directory is removed.
func (s *Source) Checkout(ctx context.Context) error {
	for _, text := range []string{s.URL, s.Ref, s.Commit} {
		if strings.HasPrefix(text, "-") {
			return fmt.Errorf("checking out %s: git would take it for an option", text)
		}
	}
	if s.Ref == "" && s.Commit == "" {
		return errors.New("checking out: neither a ref nor a commit is known")
	}
	for _, steps := range []func(context.Context) error{
		s.prepare, s.configure, s.sparse, s.fetchAll, s.largeFiles, s.checkout, s.submodules, s.persist,
	} {
		if err := steps(ctx); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes the repository, or cleans the one that is there.
func (s *Source) prepare(ctx context.Context) error {
	if s.reusable() {
		if !s.Clean {
			return s.clearLocks()
		}
		err := s.clean(ctx)
		if err == nil {
			return s.clearLocks()
		}
		if ctx.Err() != nil {
			return err
		}
		s.Log("Cleaning the repository did not work; starting with a new one.")
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		return fmt.Errorf("removing the old sources: %w", err)
	}
	if err := os.MkdirAll(s.Dir, 0o755); err != nil { //nolint:gosec // containers of the job read it as other users
		return fmt.Errorf("making the directory of the sources: %w", err)
	}
	// Without a name for its first branch git explains at length how to choose
	// one. No branch is ever made here.
	if err := s.Run(ctx, filepath.Dir(s.Dir), nil, "-c", "init.defaultBranch=main", "init", s.Dir); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	if err := s.Run(ctx, s.Dir, nil, "remote", "add", "origin", s.URL); err != nil {
		return fmt.Errorf("naming the remote repository: %w", err)
	}
	return nil
}

// reusable reports whether Dir is a repository of the same origin, and no link
// to one somewhere else. It reads the file itself: a foreign directory could
// have a configuration that makes git start programs.
func (s *Source) reusable() bool {
	if info, err := os.Lstat(s.Dir); err != nil || !info.IsDir() {
		return false
	}
	data, err := s.read(filepath.Join(s.Dir, ".git", "config"))
	if err != nil {
		return false
	}
	section := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = line
		}
		if key, value, ok := strings.Cut(line, "="); ok && section == `[remote "origin"]` && strings.TrimSpace(key) == "url" {
			return strings.TrimSpace(value) == s.URL
		}
	}
	return false
}

func (s *Source) read(path string) ([]byte, error) {
	if s.Read == nil {
		return os.ReadFile(path)
	}
	return s.Read(path)
}

// clearLocks removes locks that a killed git left behind. Nobody else works in
// the directory while the job has it.
func (s *Source) clearLocks() error {
	for _, name := range []string{"index.lock", "HEAD.lock", "shallow.lock", "config.lock"} {
		if err := os.Remove(filepath.Join(s.Dir, ".git", name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing a lock of the repository: %w", err)
		}
	}
	return nil
}

func (s *Source) clean(ctx context.Context) error {
	commands := [][]string{{"clean", "-ffdx"}, {"reset", "--hard", "HEAD"}}
	if s.Submodules != "" {
		commands = append(commands,
			[]string{"submodule", "foreach", "--recursive", "git", "clean", "-ffdx"},
			[]string{"submodule", "foreach", "--recursive", "git", "reset", "--hard", "HEAD"})
	}
	for _, args := range commands {
		if err := s.Run(ctx, s.Dir, nil, args...); err != nil {
			return fmt.Errorf("cleaning the repository: %w", err)
		}
	}
	return nil
}

// configure sets what the checkout relies on and removes credentials that an
// earlier job may have left.
func (s *Source) configure(ctx context.Context) error {
	if err := s.Run(ctx, s.Dir, nil, "config", "gc.auto", "0"); err != nil {
		return fmt.Errorf("configuring the repository: %w", err)
	}
	return s.Forget(ctx)
}

func (s *Source) sparse(ctx context.Context) error {
	mode, paths := "--cone", s.Sparse
	if len(s.Patterns) > 0 {
		mode, paths = "--no-cone", s.Patterns
	}
	if len(paths) == 0 {
		return nil
	}
	args := append([]string{"sparse-checkout", "set", mode, "--end-of-options"}, paths...)
	if err := s.Run(ctx, s.Dir, nil, args...); err != nil {
		return fmt.Errorf("choosing the directories to check out: %w", err)
	}
	return nil
}

// fetchAll fetches the branch or the pull request, then the commit itself when
// that did not bring it.
func (s *Source) fetchAll(ctx context.Context) error {
	if err := s.fetch(ctx, s.refspecs()...); err != nil {
		return err
	}
	if s.Commit == "" || strings.HasPrefix(s.Ref, "refs/pull/") || s.has(ctx, s.Commit) {
		return nil
	}
	return s.fetch(ctx, "+"+s.Commit)
}

// refspecs returns what to fetch (protocol §8.2); nothing is the remote's own
// default.
func (s *Source) refspecs() []string {
	shallow := s.Depth > 0
	switch {
	case strings.HasPrefix(s.Ref, "refs/pull/"):
		pull := "+" + s.Ref + ":" + tracking(s.Ref)
		if shallow {
			return []string{pull}
		}
		return []string{"+refs/heads/*:refs/remotes/origin/*", pull}
	case shallow && s.Commit != "":
		return []string{"+" + s.Commit + ":refs/remotes/origin/" + s.Commit}
	case shallow && s.Ref != "", s.Ref != "" && !strings.HasPrefix(s.Ref, "refs/heads/"):
		return []string{"+" + s.Ref + ":" + tracking(s.Ref)}
	}
	return nil
}

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

func (s *Source) has(ctx context.Context, commit string) bool {
	return s.Run(ctx, s.Dir, nil, "rev-parse", "--quiet", "--verify", commit+"^{commit}") == nil
}

func (s *Source) fetch(ctx context.Context, refspecs ...string) error {
	args := []string{"fetch", "--force", "--no-tags", "--prune"}
	if s.Tags {
		// Without --tags it would fetch them all the same: git adds a refspec for it.
		args = []string{"fetch", "--force", "--tags", "--prune", "--prune-tags"}
	}
	args = append(args, "--progress", "--no-recurse-submodules", "origin")
	if s.Depth > 0 {
		args = append(args, "--depth="+strconv.Itoa(s.Depth))
	}
	if s.Filter != "" {
		args = append(args, "--filter="+s.Filter)
	}
	return s.again(ctx, "fetching from "+s.URL, append(args, refspecs...)...)
}

// again runs a git command that talks to the server, with the credentials, and
// tries three times.
func (s *Source) again(ctx context.Context, what string, args ...string) error {
	for attempt := 1; ; attempt++ {
		err := s.Run(ctx, s.Dir, s.header(), args...)
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

func (s *Source) largeFiles(ctx context.Context) error {
	if !s.LFS {
		return nil
	}
	if err := s.Run(ctx, s.Dir, nil, "lfs", "install", "--local"); err != nil {
		return fmt.Errorf("preparing large files: %w", err)
	}
	return s.again(ctx, "fetching large files", "lfs", "fetch", "origin", s.target())
}

// target returns what is checked out.
func (s *Source) target() string {
	switch {
	case strings.HasPrefix(s.Ref, "refs/pull/"), s.Commit == "":
		return tracking(s.Ref)
	}
	return s.Commit
}

func (s *Source) checkout(ctx context.Context) error {
	config := map[string]string(nil)
	if s.LFS || s.Filter != "" {
		config = s.header() // git asks the server for what is missing
	}
	if err := s.Run(ctx, s.Dir, config, "checkout", "--progress", "--force", s.target()); err != nil {
		return fmt.Errorf("checking out %s: %w", s.target(), err)
	}
	return nil
}

func (s *Source) submodules(ctx context.Context) error {
	if s.Submodules == "" {
		return nil
	}
	sync := []string{"submodule", "sync"}
	update := []string{"submodule", "update", "--init", "--force"}
	if s.Depth > 0 {
		update = append(update, "--depth="+strconv.Itoa(s.Depth))
	}
	if s.Submodules == "recursive" {
		sync, update = append(sync, "--recursive"), append(update, "--recursive")
	}
	if err := s.Run(ctx, s.Dir, nil, sync...); err != nil {
		return fmt.Errorf("updating the addresses of submodules: %w", err)
	}
	return s.again(ctx, "fetching submodules", update...)
}

// site is what git compares an address with to decide about a header: the
// credentials go to the server they are for and to no other.
func (s *Source) site() (string, bool) {
	u, err := url.Parse(s.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return "", false
	}
	return u.Scheme + "://" + u.Host + "/", true
}

// header returns the setting that carries the credentials.
func (s *Source) header() map[string]string {
	site, ok := s.site()
	if s.Credentials == "" || !ok {
		return nil
	}
	return map[string]string{"http." + site + ".extraheader": "AUTHORIZATION: " + s.Credentials}
}
