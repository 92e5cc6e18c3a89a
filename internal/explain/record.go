package explain

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"time"
)

// version of the format; a record of another one is no record.
const version = 1

// Record describes what one good build was made of. Where it holds a Sum, that
// is a part of a keyed hash of a value which the record itself does not hold.
type Record struct {
	Version   int            `json:"v"`
	Salt      []byte         `json:"salt"` // key of the sums
	Time      time.Time      `json:"time"`
	Export    string         `json:"export,omitempty"` // cache reference that the build wrote; empty: none
	Nodes     []string       `json:"nodes,omitempty"`  // that built: ids of BuildKit's workers
	Arguments map[string]Sum `json:"arguments,omitempty"`
	Options   map[string]Sum `json:"options,omitempty"`  // flags that RUN steps see
	Sources   map[Sum]string `json:"sources,omitempty"`  // by URL or image: what it delivered, a digest or commit
	Contexts  []Context      `json:"contexts,omitempty"` // the first is the build context
	Platforms []Platform     `json:"platforms,omitempty"`
}

// Sum stands for a value: a part of its keyed hash, or in a [Draft] the value.
type Sum string

// Context is a directory or another source that instructions read files of.
type Context struct {
	Name   string   `json:"name,omitempty"`
	Source Sum      `json:"source,omitempty"` // a URL or image; empty for a directory
	Ignore Sum      `json:"ignore,omitempty"` // of its ignore file
	Paths  []string `json:"paths,omitempty"`  // a directory's end in a slash
	Sums   []Sum    `json:"sums,omitempty"`   // of Paths: content, kind and permissions
	// Incomplete says why the files are not known; empty: they are.
	Incomplete string `json:"incomplete,omitempty"`
}

// Platform is a build for one platform.
type Platform struct {
	Name   string  `json:"name"`
	Facts  []Fact  `json:"facts,omitempty"`
	Stages []Stage `json:"stages,omitempty"` // all of the Dockerfile, in its order
}

// Fact is something that a line of the Dockerfile sets for steps behind it: a
// variable, the user, the directory, the shell.
type Fact struct {
	Slot string `json:"slot"`
	Text string `json:"text"`
	Line int    `json:"line"`
	Sum  Sum    `json:"sum"`
	// Arguments are the build arguments that the value is made of.
	Arguments []string `json:"arguments,omitempty"`
}

// Stage is one FROM with the instructions that follow.
type Stage struct {
	Name     string `json:"name,omitempty"`
	Text     string `json:"text"`
	Line     int    `json:"line"`
	Platform string `json:"platform,omitempty"`
	Base     int    `json:"base"`             // stage that it starts from; -1: none
	Image    Sum    `json:"image,omitempty"`  // else the image; empty: scratch or a context
	Digest   string `json:"digest,omitempty"` // of the image, as it was resolved
	Context  int    `json:"context"`          // else the named context; -1: none
	Uses     []int  `json:"uses,omitempty"`   // facts that the FROM line is expanded from
	Needed   bool   `json:"needed,omitempty"` // the target is built of it
	Total    int    `json:"total,omitempty"`  // how many steps BuildKit counts
	Steps    []Step `json:"steps,omitempty"`
}

// Step is an instruction that BuildKit runs.
type Step struct {
	Word    string   `json:"word"` // RUN, COPY, ADD, WORKDIR
	Text    string   `json:"text"`
	Line    int      `json:"line"`
	Key     Sum      `json:"key"` // of everything in its cache key but inputs
	Uses    []int    `json:"uses,omitempty"`
	Options bool     `json:"options,omitempty"` // it sees the build's options
	Secrets []string `json:"secrets,omitempty"` // their ids, those of SSH agents as ssh:ID
	Plain   Sum      `json:"plain,omitempty"`   // of Text without the ids of secrets
	Stages  []int    `json:"stages,omitempty"`  // that it takes files of
	Sources []Sum    `json:"sources,omitempty"` // URLs and images that it takes files of
	Files   []Files  `json:"files,omitempty"`
	OnBuild bool     `json:"onBuild,omitempty"`
	Took    uint32   `json:"took,omitempty"`   // milliseconds when it last ran; zero: unknown
	Silent  bool     `json:"silent,omitempty"` // BuildKit counts it and does nothing: WORKDIR /
}

// Files are entries of a context that a step reads: ranges of its Paths.
type Files struct {
	Context int      `json:"context"`
	Ranges  [][2]int `json:"ranges,omitempty"`
}

// Draft is a record before its values are replaced by sums. It is only ever in
// memory.
type Draft struct{ record Record }

const saltSize, sumSize = 16, 9

// Seal returns the record of d with every value replaced by a part of its hash
// under the salt of last, or under a new one when last is nil, so that the two
// can be compared. Who knows the salt can still try out guesses; the cache
// beside the record allows the same, because its keys are plain hashes of
// everything that a step sees.
func (d *Draft) Seal(last *Record) (Record, error) {
	r := d.record
	if last != nil && len(last.Salt) == saltSize {
		r.Salt = last.Salt
	} else {
		r.Salt = make([]byte, saltSize)
		if _, err := rand.Read(r.Salt); err != nil {
			return Record{}, fmt.Errorf("drawing a salt: %w", err)
		}
	}
	seal := sealer(r.Salt)
	r.Arguments, r.Options = sealValues(r.Arguments, seal), sealValues(r.Options, seal)
	sources := make(map[Sum]string, len(r.Sources))
	for k, v := range r.Sources {
		sources[seal(k)] = v
	}
	r.Sources = sources
	r.Contexts = slices.Clone(r.Contexts)
	for i := range r.Contexts {
		c := &r.Contexts[i]
		c.Source, c.Ignore, c.Sums = seal(c.Source), seal(c.Ignore), sealAll(c.Sums, seal)
	}
	r.Platforms = slices.Clone(r.Platforms)
	for i := range r.Platforms {
		p := &r.Platforms[i]
		p.Facts, p.Stages = slices.Clone(p.Facts), slices.Clone(p.Stages)
		for j := range p.Facts {
			p.Facts[j].Sum = seal(p.Facts[j].Sum)
		}
		for j := range p.Stages {
			st := &p.Stages[j]
			st.Image, st.Steps = seal(st.Image), slices.Clone(st.Steps)
			for k := range st.Steps {
				s := &st.Steps[k]
				s.Key, s.Plain, s.Sources = seal(s.Key), seal(s.Plain), sealAll(s.Sources, seal)
			}
		}
	}
	return r, nil
}

// sealer returns the keyed hash, shortened to what keeps a million values apart.
func sealer(salt []byte) func(Sum) Sum {
	mac := hmac.New(sha256.New, salt)
	return func(v Sum) Sum {
		if v == "" {
			return ""
		}
		mac.Reset()
		mac.Write([]byte(v))
		return Sum(base64.RawStdEncoding.EncodeToString(mac.Sum(nil)[:sumSize]))
	}
}

func sealAll(list []Sum, seal func(Sum) Sum) []Sum {
	var out []Sum
	for _, v := range list {
		out = append(out, seal(v))
	}
	return out
}

// sealValues seals values that may be empty, which is not the same as absent.
func sealValues(values map[string]Sum, seal func(Sum) Sum) map[string]Sum {
	out := make(map[string]Sum, len(values))
	for k, v := range values {
		out[k] = seal("=" + v)
	}
	return out
}

// file is one entry that a step reads.
type file struct {
	context, path string
	sum           Sum
}

// files returns the entries that a step reads, in the order of its contexts.
func (r *Record) files(s *Step) []file {
	var out []file
	for _, f := range s.Files {
		c := &r.Contexts[f.Context]
		for _, span := range f.Ranges {
			for i := span[0]; i < span[1]; i++ {
				out = append(out, file{c.Name, c.Paths[i], c.Sums[i]})
			}
		}
	}
	return out
}

// uncommon returns what is left of two lists without their common beginning and
// end: most builds change a few files of many.
func uncommon(a, b []file) ([]file, []file) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	return a, b
}

// sums returns the sums of entries by context and path.
func sums(list []file) map[[2]string]Sum {
	out := make(map[[2]string]Sum, len(list))
	for _, f := range list {
		out[[2]string{f.context, f.path}] = f.sum
	}
	return out
}

// Complete reports whether the files of every context are known.
func (r *Record) Complete() bool {
	return !slices.ContainsFunc(r.Contexts, func(c Context) bool { return c.Incomplete != "" })
}

// platform returns the platform of a name, or nil.
func (r *Record) platform(name string) *Platform {
	for i := range r.Platforms {
		if r.Platforms[i].Name == name {
			return &r.Platforms[i]
		}
	}
	return nil
}

// SetSource notes what a URL or an image delivered in this build.
func (d *Draft) SetSource(url, delivered string) {
	if d.record.Sources == nil {
		d.record.Sources = make(map[Sum]string)
	}
	d.record.Sources[Sum(url)] = delivered
}

// SourceURLs returns the URLs and images that steps and contexts read, for
// somebody who can find out what they delivered.
func (d *Draft) SourceURLs() []string {
	found := make(map[string]bool)
	for _, c := range d.record.Contexts {
		if c.Source != "" {
			found[string(c.Source)] = true
		}
	}
	for _, p := range d.record.Platforms {
		for _, st := range p.Stages {
			for _, s := range st.Steps {
				for _, u := range s.Sources {
					found[string(u)] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(found))
}
