package jobcache

import (
	"slices"
	"strings"
)

// Policy says what a job may read and write. Its fields are the server's words, not
// those of a step.
type Policy struct {
	Project string // what keeps caches apart in any case: server, pipeline, repository
	Branch  string // that is built, as refs/heads/… or refs/pull/…
	Target  string // that a pull request goes to
	Default string // of the repository
	Fork    string // that a pull request comes from; empty: none
}

// Scope is where entries are kept: a name for files and tags. Two branches never
// have the same one, nor has a fork one of a branch.
type Scope string

// Scopes returns the scopes to read from, in their order, and the one to write to,
// which is always the job's own: a pull request never writes into that of its
// target.
func (p Policy) Scopes() (read []Scope, write Scope) {
	write = p.scope(p.Branch, p.Fork)
	read = []Scope{write}
	for _, branch := range []string{p.Target, p.Default} {
		if s := p.scope(branch, ""); branch != "" && !slices.Contains(read, s) {
			read = append(read, s)
		}
	}
	return read, write
}

// readable is how much of a branch's name is in that of its scope, for people.
const readable = 24

func (p Policy) scope(branch, fork string) Scope {
	if branch != "" && !strings.HasPrefix(branch, "refs/") {
		branch = "refs/heads/" + branch
	}
	short := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, strings.TrimPrefix(strings.TrimPrefix(branch, "refs/heads/"), "refs/"))
	short = strings.Trim(short[:min(len(short), readable)], "-")
	switch {
	case fork != "":
		short = "fork-" + short
	case short == "":
		short = "none"
	}
	return Scope(short + "-" + nameOf(p.Project, fork, branch))
}
