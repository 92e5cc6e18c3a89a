// Package buildcache knows which build caches a build reads and writes in a
// registry. It talks to nobody: a [Policy] names them, and internal/imagebuild
// hands the entries to BuildKit.
package buildcache

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"slices"
	"strings"
	"time"
)

// Entry is one cache import or export: a type of BuildKit's and its settings.
type Entry struct {
	Type  string
	Attrs map[string]string
}

// Policy says which caches a build reads and writes in a registry: it reads
// those of its branch, of the branch a pull request goes to, and of the default
// branch, and writes its own branch's. Without Repo it does nothing.
type Policy struct {
	Repo string // repository prefix, for example registry.ci.svc:5000/cache
	// Name tells the builds of one Repo apart: the repository, or the image's name
	// where one repository builds several. Empty is "build"; a build completes it
	// from its first tag or its context.
	Name string

	Branch        string // branch that is built, also as refs/heads/… or refs/pull/…
	TargetBranch  string // branch that a pull request goes to
	DefaultBranch string
	// Fork, when set, names the fork that a pull request comes from. It reads
	// everybody's caches but writes only into a scope of its own.
	Fork string

	// Mode says when the cache is exported. [ModeOff] writes nothing.
	Mode Mode
	// ExportTimeout bounds the export; zero is five minutes.
	ExportTimeout time.Duration
	// ImportTimeout bounds the wait for a registry to say whether it has a cache;
	// the build then goes on without. Zero is ten seconds.
	ImportTimeout time.Duration
}

const (
	// DefaultExportTimeout lets a cache of some gigabytes through a busy registry.
	DefaultExportTimeout = 5 * time.Minute
	// DefaultImportTimeout is far above the tens of milliseconds of a registry
	// that works, and below what people wait for without asking why.
	DefaultImportTimeout = 10 * time.Second
)

// maxTag is how long a tag may be by the distribution specification.
const maxTag = 128

// Repository returns where the caches are, and "" when there are none.
func (p Policy) Repository() string {
	if p.Repo == "" {
		return ""
	}
	return strings.TrimRight(p.Repo, "/") + "/" + repositoryName(cmp.Or(p.Name, "build"))
}

// Scopes returns the tags to read from, in order, and the one to write to.
func (p Policy) Scopes(platform string) (read []string, write string) {
	own := scope(p.Branch)
	if p.Fork != "" {
		own = forkScope(p.Fork, p.Branch)
	}
	own = cmp.Or(own, "default")
	for _, s := range []string{own, scope(p.TargetBranch), scope(p.DefaultBranch)} {
		if s = withPlatform(s, platform); s != "" && !slices.Contains(read, s) {
			read = append(read, s)
		}
	}
	return read, withPlatform(own, platform)
}

// scope returns the tag of a branch. Two branches never share one: what a tag
// cannot hold is replaced, and a part of the branch's hash keeps such names apart.
func scope(branch string) string {
	branch = strings.TrimPrefix(branch, "refs/heads/")
	branch = strings.TrimPrefix(branch, "refs/")
	if strings.HasPrefix(branch, forkPrefix) || strings.HasPrefix(branch, ownPrefix) {
		return ownPrefix + tagName(branch, shortHash)
	}
	return tagName(branch, nil)
}

const (
	forkPrefix = "fork."  // begins the tags of forks, and no other
	ownPrefix  = "_fork." // begins the tags of branches of ours that are named like these
)

// forkScope returns the tag of a branch of a fork. Whoever owns a fork chooses
// both names, so it is a whole hash that keeps its tag apart from other forks'.
func forkScope(fork, branch string) string {
	return forkPrefix + tagName(fork+"\x00"+branch, longHash)
}

// suffixRoom is kept free behind a branch's tag for a platform, or two.
const suffixRoom = 40

// tagName makes name a tag, with a hash of it where hash says so or letters had
// to be replaced.
func tagName(name string, hash func(string) string) string {
	if name == "" {
		return ""
	}
	var b strings.Builder
	for i, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', i > 0 && (c == '.' || c == '-'):
			b.WriteRune(c)
		default:
			b.WriteByte('-')
		}
	}
	out := strings.TrimLeft(b.String(), "-.")
	const room = maxTag - suffixRoom - len(ownPrefix)
	if out != name || hash != nil || len(out) > room {
		if hash == nil {
			hash = shortHash
		}
		tail := hash(name)
		out = strings.Trim(out[:min(len(out), room-len(tail)-1)], "-.")
		out = strings.TrimLeft(out+"-"+tail, "-")
	}
	return out
}

// shortHash keeps names apart that look the same in a tag; nothing depends on
// nobody finding two names with the same one.
func shortHash(name string) string { return longHash(name)[:8] }

// longHash has 128 bits: nobody finds two names with the same one.
func longHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:16])
}

func withPlatform(tag, platform string) string {
	if platform == "" || tag == "" {
		return tag
	}
	suffix := strings.NewReplacer("/", "-", ",", "-").Replace(platform)
	if len(suffix) >= suffixRoom {
		suffix = shortHash(platform)
	}
	return tag + "-" + suffix
}

// maxRepository leaves room for the prefix: with it, a repository's name may have
// 255 characters.
const maxRepository = 160

// repositoryName makes name a path of a repository: lower case, and only the
// separators that the distribution specification allows between its parts.
func repositoryName(name string) string {
	var parts []string
	for part := range strings.SplitSeq(path.Clean("/"+strings.ToLower(name)), "/") {
		var b strings.Builder
		sep := false
		for _, c := range part {
			if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
				if sep && b.Len() > 0 {
					b.WriteByte('-')
				}
				sep = false
				b.WriteRune(c)
				continue
			}
			sep = true
		}
		if b.Len() > 0 {
			parts = append(parts, b.String())
		}
	}
	if len(parts) == 0 {
		return "build"
	}
	out := strings.Join(parts, "/")
	if len(out) > maxRepository {
		out = strings.TrimRight(out[:maxRepository-9], "-/") + "-" + shortHash(name)
	}
	return out
}

// Imports returns the cache imports of the policy for a platform, empty for the
// node's own.
func (p Policy) Imports(platform string) []Entry {
	repo := p.Repository()
	if repo == "" {
		return nil
	}
	read, _ := p.Scopes(platform)
	entries := make([]Entry, 0, len(read))
	for _, tag := range read {
		entries = append(entries, Entry{Type: "registry", Attrs: map[string]string{"ref": repo + ":" + tag}})
	}
	return entries
}

// Export returns the cache export of the policy in the best form, [FormZstd]; its
// type is empty when there is none.
func (p Policy) Export(platform string) Entry {
	repo := p.Repository()
	if repo == "" || p.Mode == ModeOff {
		return Entry{}
	}
	_, write := p.Scopes(platform)
	return Entry{Type: "registry", Attrs: map[string]string{
		"ref":            repo + ":" + write,
		"mode":           "max",
		"oci-mediatypes": "true",
		"image-manifest": "true",
		"compression":    "zstd",
		"ignore-error":   "true",
	}}
}
