// Package explain knows why a build ran a step again.
//
// A [Record] describes what a build was made of: its instructions with the build
// arguments, secrets, base images and files that each of them reads. Comparing
// the record of the last good build with this one's gives a [Reason] for every
// step that ran. Records are kept in a [Store]. Nothing here talks to BuildKit.
package explain

import "fmt"

// Kind is what a reason is about.
type Kind string

// The kinds of reasons.
const (
	FirstBuild         Kind = "first-build"         // there is no record of an earlier build to compare with
	InstructionChanged Kind = "instruction-changed" // Was and Now are the two lines
	ArgumentChanged    Kind = "argument-changed"    // of a build argument; Was and Now are its values
	SecretChanged      Kind = "secret-changed"      // another secret id; values are never looked at
	BaseChanged        Kind = "base-changed"        // Was and Now are digests
	FilesChanged       Kind = "files-changed"       // Files are their names
	ContextChanged     Kind = "context-changed"     // a named context, or what a URL or a repository delivers
	ParentRebuilt      Kind = "parent-rebuilt"      // Parent is the step that it builds on
	NoCacheAsked       Kind = "no-cache"            // --no-cache or --no-cache-filter
	NeverExported      Kind = "never-exported"      // the earlier build left no cache that this node could read
	Evicted            Kind = "evicted"             // nothing changed: the result is in no cache any more
)

// Reason says why one step ran.
type Reason struct {
	Step     string `json:"step"` // as BuildKit shows it
	Platform string `json:"platform,omitempty"`
	Line     int    `json:"line,omitempty"` // in the Dockerfile, counted from one; zero when unknown
	Kind     Kind   `json:"kind"`
	Text     string `json:"text"` // one sentence for people, without the step's name
	// What the kind says of it; each may be empty.
	Name   string   `json:"name,omitempty"` // of the argument, secret, base image or context
	Was    string   `json:"was,omitempty"`
	Now    string   `json:"now,omitempty"`
	Files  []string `json:"files,omitempty"` // at most [MaxFiles]
	More   int      `json:"more,omitempty"`  // further files
	Parent string   `json:"parent,omitempty"`
}

// MaxFiles is how many changed files a reason names: more than a line of a log
// holds, and people look at the first few only.
const MaxFiles = 10

func (r Reason) String() string { return fmt.Sprintf("%s: %s", r.Step, r.Text) }
