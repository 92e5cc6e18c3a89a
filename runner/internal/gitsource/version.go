package gitsource

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// version is that of a git program: its first two numbers.
type version [2]int

var (
	// oldest is the first git that takes settings, and so the credentials, from its
	// environment (Documentation/RelNotes/2.31.0.txt). It knows everything else
	// that a checkout asks for.
	oldest = version{2, 31}
	// oldestMirror is the first git that joins the packs of a mirror a few at a
	// time (Documentation/RelNotes/2.33.0.txt).
	oldestMirror = version{2, 33}
)

func (v version) before(other version) bool {
	return v[0] < other[0] || v[0] == other[0] && v[1] < other[1]
}

func (v version) String() string { return strconv.Itoa(v[0]) + "." + strconv.Itoa(v[1]) }

// parseVersion reads what `git version` prints.
func parseVersion(text string) (version, bool) {
	rest, ok := strings.CutPrefix(strings.TrimSpace(text), "git version ")
	numbers := strings.SplitN(rest, ".", 3)
	if !ok || len(numbers) < 2 {
		return version{}, false
	}
	var v version
	for i := range v {
		digits := numbers[i]
		if end := strings.IndexFunc(digits, func(r rune) bool { return r < '0' || r > '9' }); end > 0 {
			digits = digits[:end]
		}
		n, err := strconv.Atoi(digits)
		if err != nil || n < 0 {
			return version{}, false
		}
		v[i] = n
	}
	return v, true
}

// checkVersion refuses a git that would check out something else, or without
// the credentials, and not say why.
func (s *Source) checkVersion(ctx context.Context) error {
	out, err := s.Ask(ctx, "version")
	if err != nil {
		return fmt.Errorf("asking git for its version: %w", err)
	}
	v, ok := parseVersion(out)
	if !ok {
		s.Log("The version of git is not known; it needs to be " + oldest.String() + " or later.")
		return nil
	}
	if v.before(oldest) {
		return hint.With(fmt.Errorf("checking out %s: git is of version %s, and %s or later is needed", s.URL, v, oldest), "install a newer git")
	}
	if s.Mirrors.Dir != "" && v.before(oldestMirror) {
		s.Log("No mirror is used: git is of version " + v.String() + ", and mirrors need " + oldestMirror.String() + " or later.")
		s.Mirrors.Dir = ""
	}
	return nil
}

// Oldest returns the first git that can check out.
func Oldest() (major, minor int) { return oldest[0], oldest[1] }
