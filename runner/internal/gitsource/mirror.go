package gitsource

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/runner/internal/plainfile"
)

// Mirrors is a directory with a copy of each repository that was checked out
// through it. It may be used by several processes at once, and nothing is
// believed that is found there: jobs can write to it.
//
//	<Dir>/<name>-<digest of the URL>/objects       packs
//	<Dir>/<name>-<digest of the URL>/packed-refs   branches and tags
//	<Dir>/<name>-<digest of the URL>.lock          held during an update
//	<Dir>/<name>-<digest of the URL>.use           shared by its readers, held to remove packs
//
// It has no configuration and no hooks, because git would obey them. Each use puts
// a repository of its own in front of the objects, in Scratch, and what comes
// from there into a checkout travels as a pack whose every object git hashes.
type Mirrors struct {
	Dir     string // empty: none
	Scratch string // a directory that is the job's own
	Run     Git    // like that of Source, but free from the variables of the job
	// Wait is how long others may work on the mirror of a repository before a
	// checkout goes without it.
	Wait time.Duration
}

// mirror is the copy of one repository.
type mirror struct {
	*Source

	dir     string
	scratch string // the repository in front of it
}

// mirrorName is the name of the mirror of an address. The digest makes it unique,
// the rest is for people.
func mirrorName(address string) string {
	name := address
	if u, err := url.Parse(address); err == nil && u.Path != "" {
		name = u.Path
	}
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '-'
	}, strings.TrimSuffix(path.Base(name), ".git"))
	digest := sha256.Sum256([]byte(address))
	return strings.Trim(name[:min(len(name), 40)], "-") + "-" + hex.EncodeToString(digest[:12])
}

// seed brings a new repository what a mirror has of it, so that the fetch that
// follows transfers the rest. A mirror that cannot be used is left alone, with a
// line that says so; an error says that the repository itself cannot be used.
// When the update failed, blamed is to be called once the server has proved to be
// well without the mirror.
func (s *Source) seed(ctx context.Context) (blamed func(context.Context), err error) {
	if s.reused || s.Mirrors.Dir == "" {
		return nil, nil
	}
	if s.Filter != "" {
		s.Log("No mirror is used, because the checkout has a filter.")
		return nil, nil
	}
	m := &mirror{Source: s, dir: filepath.Join(s.Mirrors.Dir, mirrorName(s.URL))}
	if err := m.open(); err != nil {
		m.unused(err)
		return nil, nil
	}
	defer func() { err = errors.Join(err, m.close()) }()
	err = m.update(ctx)
	if err == nil {
		if err = m.copyTo(ctx); err != nil && ctx.Err() == nil {
			m.unused(err)
			m.discard(ctx)
			// A new repository has nothing in it that half a fetch left.
			for _, do := range []func(context.Context) error{s.begin, s.configure, s.sparse} {
				if err := do(ctx); err != nil {
					return nil, err
				}
			}
			return nil, nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		m.unused(err)
	}
	if errors.Is(err, errBroken) {
		m.discard(ctx)
	}
	if errors.Is(err, errFetch) {
		blamed = m.test
	}
	return blamed, nil
}

// test updates the mirror once more, after an update that failed although the
// server is well, and removes it when that fails again.
func (m *mirror) test(ctx context.Context) {
	if err := m.open(); err != nil {
		m.unused(err)
		return
	}
	err := errors.Join(m.update(ctx), m.close())
	if errors.Is(err, errFetch) && ctx.Err() == nil {
		m.discard(ctx)
	}
}

// open makes a place for the repository in front of the mirror.
func (m *mirror) open() (err error) {
	m.scratch, err = os.MkdirTemp(m.Mirrors.Scratch, "mirror-")
	return err
}

func (m *mirror) close() error { return os.RemoveAll(m.scratch) }

func (m *mirror) unused(err error) {
	m.Log("##[warning]The mirror of the repository in " + m.dir + " is not used: " + err.Error())
}

// discard removes a mirror that is broken. The next checkout makes a new one.
func (m *mirror) discard(ctx context.Context) {
	ctx, cancel := m.patient(ctx)
	defer cancel()
	err := m.locked(ctx, ".lock", false, func() error {
		return m.locked(ctx, ".use", false, func() error { return m.remove(ctx, m.dir) })
	})
	if err != nil {
		m.Log("##[warning]The mirror of the repository in " + m.dir + " is broken and could not be removed: " + err.Error())
		return
	}
	m.Log("The mirror of the repository in " + m.dir + " was broken and has been removed.")
}

// patient bounds the wait for a lock.
func (m *mirror) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	wait := m.Mirrors.Wait
	return context.WithTimeoutCause(ctx, wait, fmt.Errorf("another agent has been working on it for %s", wait))
}

// locked runs do with the lock of the mirror that ends in suffix.
func (m *mirror) locked(ctx context.Context, suffix string, shared bool, do func() error) error {
	release, err := plainfile.Lock{Path: m.dir + suffix, Shared: shared}.Take(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(), release())
}

// copyTo fetches from the mirror into the checkout what is going to be fetched from
// the server. It goes through a pack, so the checkout has its objects to itself and
// none that is not what its name says.
func (m *mirror) copyTo(ctx context.Context) error {
	s := m.Source
	args := append(s.fetchOptions(), "--progress", "--no-recurse-submodules", "--no-write-fetch-head")
	if s.Depth > 0 {
		args = append(args, "--depth="+strconv.Itoa(s.Depth))
	}
	refspecs := s.refspecs()
	if refspecs == nil {
		refspecs = []string{everyBranch}
	}
	args = append(append(args, m.scratch), refspecs...)
	wait, cancel := m.patient(ctx)
	defer cancel()
	return m.locked(wait, ".use", true, func() error {
		if s.Depth > 0 && s.Commit != "" && !s.pull() &&
			m.git(ctx, nil, "rev-parse", "--quiet", "--verify", s.Commit+"^{commit}") != nil {
			m.Log("The mirror does not have the commit.")
			return nil
		}
		if err := m.Mirrors.Run(ctx, s.Dir, nil, args...); err != nil {
			return fmt.Errorf("fetching from the mirror: %w", err)
		}
		return nil
	})
}
