// Package gitsource knows how to bring a directory to one commit of a git
// repository with the git program: the commands, their order, and how the
// credentials reach git without being seen on a command line.
//
// One use is one [Source.Checkout]; [Source.Forget] later removes what a
// persistent checkout left in the configuration. With [Mirrors] a directory that
// is new takes what it can from a copy on the disk. The package starts no process
// itself: its caller gives it functions that run git and log its output.
package gitsource

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
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
	Clean       bool     // remove what is not in the repository first
	Submodules  string   // "true", "recursive" or, for none, empty
	Sparse      []string // directories of a sparse checkout; they win over Patterns, as the service documents
	Patterns    []string // patterns of a sparse checkout; both empty: everything
	LFS         bool
	Persist     bool   // keep the credentials in the configuration for later steps
	Credentials string // value of the HTTP header AUTHORIZATION; empty: none
	Mirrors     Mirrors

	Run    Git
	Ask    func(ctx context.Context, args ...string) (output string, err error) // runs git for its output, anywhere
	Read   func(path string) ([]byte, error)                                    // reads what a job can make a link; nil: os.ReadFile
	Remove func(ctx context.Context, path string) error                         // removes a directory; nil: os.RemoveAll
	Log    func(line string)                                                    // tells what is done; never with a secret
	Pause  func() time.Duration                                                 // between two attempts; nil: random, one to ten seconds

	reused bool // Dir was a repository of URL before
	smudge bool // it was checked out without large files
}

// mostBytes bounds the files that are read: a configuration has a few hundred bytes,
// the refs of a mirror about 80 each, and a job may have put anything there.
const mostBytes = 64 << 20

// blame says whose fault it may be when a part of a checkout fails.
type blame int

const (
	server blame = iota // the other side's, or a setting's
	disk                // that of the repository in Dir
	anyone              // either's: the server has to be asked
)

// Checkout brings Dir to the commit. Whatever stands in the way in an existing
// directory is removed, a damaged repository among it.
func (s *Source) Checkout(ctx context.Context) error {
	for _, text := range []string{s.URL, s.Ref, s.Commit} {
		if strings.HasPrefix(text, "-") {
			return fmt.Errorf("checking out %s: git would take it for an option", text)
		}
	}
	if s.Ref == "" && s.Commit == "" {
		return errors.New("checking out: neither a ref nor a commit is known")
	}
	if err := s.checkVersion(ctx); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	whose, err := s.bring(ctx)
	if err == nil || !s.reused || ctx.Err() != nil || !s.damaged(ctx, whose) {
		return err
	}
	s.Log("The repository in " + s.Dir + " seems to be damaged; starting with a new one.")
	if err := s.begin(ctx); err != nil {
		return err
	}
	_, err = s.bring(ctx)
	return err
}

// bring takes a repository to the commit. It tells who may be to blame when it
// cannot.
func (s *Source) bring(ctx context.Context) (blame, error) {
	checkout := disk
	if s.LFS || s.Filter != "" {
		checkout = server // which has the content
	}
	for _, part := range []struct {
		whose blame
		do    func(context.Context) error
	}{
		{disk, s.configure},
		{checkout, s.sparse},
		{anyone, s.fetchAll},
		{server, s.largeFiles},
		{checkout, s.checkout},
		{server, s.submodules},
		{disk, s.persist},
	} {
		if err := part.do(ctx); err != nil {
			return part.whose, err
		}
	}
	return server, nil
}

// damaged reports whether the repository in Dir is at fault when something
// failed: it is, where the server answers and has the ref.
func (s *Source) damaged(ctx context.Context, whose blame) bool {
	switch whose {
	case disk:
		return true
	case anyone:
		// With no repository at all: a job may have left one around Dir, too.
		args := []string{"--git-dir=" + os.DevNull, "ls-remote", "--exit-code", s.URL}
		if s.Ref != "" {
			args = append(args, s.Ref)
		} else {
			args = append(args, "HEAD")
		}
		return s.Run(ctx, filepath.Dir(s.Dir), s.header(), args...) == nil
	}
	return false
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

func (s *Source) read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || info.Size() > mostBytes:
		return nil, fmt.Errorf("reading %s: it is no file of at most %d MiB", path, mostBytes>>20)
	case s.Read == nil:
		return os.ReadFile(path)
	}
	return s.Read(path)
}

func (s *Source) remove(ctx context.Context, path string) error {
	if s.Remove == nil {
		return os.RemoveAll(path)
	}
	return s.Remove(ctx, path)
}

// file returns the path of a file of the repository.
func (s *Source) file(name ...string) string {
	return filepath.Join(append([]string{s.Dir, ".git"}, name...)...)
}

// there reports whether something, be it a broken link, has the path.
func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
