package explain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Build says what is built, as far as the results of steps depend on it.
type Build struct {
	Dockerfile []byte // nil: it cannot be read, because BuildKit fetches it
	Ignore     []byte // the Dockerfile's own ignore file; nil: that of the context
	// Context is a directory, or a URL when Remote is set.
	Context   string
	Remote    bool
	Contexts  map[string]string // named contexts, as in --build-context
	Target    string
	Arguments map[string]string
	// Options are flags that every RUN step sees, by their names: network,
	// add-host, ulimit and so on.
	Options map[string]string
	// Platforms are what is built for; the first of Native is where steps run.
	// Multi says that several were asked for.
	Platforms []ocispecs.Platform
	Native    []ocispecs.Platform
	Open      func(string) (*os.File, error) // nil is os.Open
}

// maxExpanded bounds what variables may expand to, in bytes: variables made of
// variables can double in length with every line.
const maxExpanded = 4 << 20

var errTooLarge = errors.New("the Dockerfile's variables grow too large")

// Describe finds out what a build is made of. It reads the files of instructions
// with the help of sums, which may be nil, and returns when it has all of them
// or ctx ends.
func Describe(ctx context.Context, b Build, sums *Sums) (_ *Draft, err error) {
	// The parser is made for a process that may die of a hostile Dockerfile. It is
	// the only caller of ours here.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("reading the Dockerfile: %v", p)
		}
	}()
	d := &Draft{record: Record{Version: version, Arguments: values(b.Arguments), Options: values(b.Options)}}
	w := &describing{b: &b, record: &d.record}
	w.addContexts()
	if b.Dockerfile == nil {
		for _, p := range b.Platforms {
			d.record.Platforms = append(d.record.Platforms, Platform{Name: platforms.FormatAll(p)})
		}
		return d, nil
	}
	for _, p := range b.Platforms {
		if err := w.platform(p); err != nil {
			return nil, fmt.Errorf("reading the Dockerfile: %w", err)
		}
	}
	return d, w.readFiles(ctx, sums)
}

func values(m map[string]string) map[string]Sum {
	out := make(map[string]Sum, len(m))
	for k, v := range m {
		out[k] = Sum(v)
	}
	return out
}

// describing carries one description.
type describing struct {
	b      *Build
	record *Record
	named  map[string]int // contexts by name
	dirs   []string       // of the contexts; empty for others
	reads  []read
}

// read is what one step reads of a context, before it is known which files.
type read struct {
	platform, stage, step int
	context               int
	sources               []string
	excludes              []string
	parents               bool
}

func (w *describing) addContexts() {
	w.named = make(map[string]int)
	add := func(name, source string, remote bool) {
		c := Context{Name: name}
		dir := source
		if remote {
			c.Source, dir = Sum(source), ""
		}
		w.record.Contexts, w.dirs = append(w.record.Contexts, c), append(w.dirs, dir)
	}
	add("", w.b.Context, w.b.Remote)
	for _, name := range sortedKeys(w.b.Contexts) {
		source := w.b.Contexts[name]
		w.named[name] = len(w.record.Contexts)
		add(name, source, strings.Contains(source, "://") || strings.HasPrefix(source, "git@"))
	}
}

// namedContext returns the index of the context that replaces an image or a
// stage, or -1. BuildKit looks them up by the short form of an image's name,
// and first by that with a platform.
func (w *describing) namedContext(name string, p ocispecs.Platform) int {
	if strings.EqualFold(name, "scratch") || strings.EqualFold(name, "context") {
		return -1
	}
	if named, err := reference.ParseNormalizedNamed(name); err == nil {
		name = strings.TrimSuffix(reference.FamiliarString(named), ":latest")
	}
	for _, key := range []string{name + "::" + platforms.FormatAll(platforms.Normalize(p)), name} {
		if i, ok := w.named[key]; ok {
			return i
		}
	}
	return -1
}

// platform describes the build for one platform.
func (w *describing) platform(target ocispecs.Platform) error {
	parsed, err := parser.Parse(bytes.NewReader(w.b.Dockerfile))
	if err != nil {
		return err
	}
	stages, global, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return err
	}
	if len(stages) == 0 {
		return errors.New("it has no stages")
	}
	w.record.Platforms = append(w.record.Platforms, Platform{Name: platforms.FormatAll(target), Stages: make([]Stage, len(stages))})
	p := &platform{
		describing: w,
		at:         len(w.record.Platforms) - 1,
		out:        &w.record.Platforms[len(w.record.Platforms)-1],
		target:     target,
		lex:        shell.NewLex(parsed.EscapeToken),
		stages:     stages,
		byName:     make(map[string]int),
		ends:       make([]*state, len(stages)),
	}
	if err := p.globals(global); err != nil {
		return err
	}
	for i := range stages {
		if err := p.from(i); err != nil {
			return err
		}
	}
	p.mark(p.targetStage())
	for i := range stages {
		if err := p.dispatchStage(i); err != nil {
			return err
		}
	}
	return nil
}

// platform is one platform's description in the making.
type platform struct {
	*describing
	at     int
	out    *Platform
	target ocispecs.Platform
	lex    *shell.Lex
	stages []instructions.Stage
	byName map[string]int // stages by lower-case name, so far
	global *state
	ends   []*state // of the stages, once they are dispatched
}

// from finds out what stage i starts from.
func (p *platform) from(i int) error {
	st := &p.stages[i]
	base, uses, err := p.expand(st.BaseName, p.global)
	if err != nil {
		return err
	}
	out := Stage{Name: st.Name, Text: strings.TrimSpace(st.SourceCode), Line: lineOf(st.Location), Base: -1, Context: -1, Uses: uses}
	own := p.target
	if st.Platform != "" {
		name, uses, err := p.expand(st.Platform, p.global)
		if err != nil {
			return err
		}
		if parsed, err := platforms.Parse(name); err == nil {
			own = platforms.Normalize(parsed)
		}
		out.Uses = union(out.Uses, uses)
	}
	if st.Name != "" {
		if out.Context = p.namedContext(st.Name, own); out.Context >= 0 {
			st.Commands = nil
		}
	}
	if out.Context < 0 {
		if b, ok := p.byName[base]; ok {
			out.Base = b
			if st.Platform == "" {
				own, _ = platforms.Parse(p.out.Stages[b].Platform) // we wrote it
			}
		} else if out.Context = p.namedContext(base, own); out.Context < 0 && base != "scratch" {
			out.Image = Sum(base)
		}
	}
	out.Platform = platforms.FormatAll(own)
	if st.Name != "" {
		p.byName[strings.ToLower(st.Name)] = i
	}
	p.out.Stages[i] = out
	return nil
}

// commands returns the instructions of a stage: those that its base stage left
// for it (ONBUILD), then its own.
func (p *platform) commands(i int) (list []instructions.Command, inherited int) {
	if b := p.out.Stages[i].Base; b >= 0 {
		for _, c := range p.stages[b].Commands {
			later, ok := c.(*instructions.OnbuildCommand)
			if !ok {
				continue
			}
			if parsed, err := parser.Parse(strings.NewReader(later.Expression)); err == nil && len(parsed.AST.Children) == 1 {
				if c, err := instructions.ParseCommand(parsed.AST.Children[0]); err == nil {
					list = append(list, c)
				}
			}
		}
	}
	return append(list, p.stages[i].Commands...), len(list)
}

func (p *platform) targetStage() int {
	if p.b.Target != "" {
		if i, ok := p.byName[strings.ToLower(p.b.Target)]; ok {
			return i
		}
		if i, err := strconv.Atoi(p.b.Target); err == nil && i >= 0 && i < len(p.stages) {
			return i
		}
	}
	return len(p.stages) - 1
}

// mark notes which stages the one at i is built of.
func (p *platform) mark(i int) {
	if p.out.Stages[i].Needed {
		return
	}
	p.out.Stages[i].Needed = true
	if b := p.out.Stages[i].Base; b >= 0 {
		p.mark(b)
	}
	list, _ := p.commands(i)
	for _, c := range list {
		for _, name := range fromNames(c) {
			if j := p.stageOf(name, i); j >= 0 {
				p.mark(j)
			}
		}
	}
}

// stageOf returns the stage before i that --from names, or -1.
func (p *platform) stageOf(name string, i int) int {
	j, ok := p.byName[strings.ToLower(name)]
	if n, err := strconv.Atoi(name); !ok && err == nil {
		j, ok = n, true
	}
	if !ok || j < 0 || j >= i {
		return -1
	}
	return j
}

// fromNames returns what an instruction takes files of, as it is written.
func fromNames(c instructions.Command) []string {
	var out []string
	switch c := c.(type) {
	case *instructions.CopyCommand:
		if c.From != "" {
			out = append(out, c.From)
		}
	case *instructions.RunCommand:
		for _, m := range instructions.GetMounts(c) {
			if m.From != "" {
				out = append(out, m.From)
			}
		}
	}
	return out
}

func lineOf(location []parser.Range) int {
	if len(location) == 0 {
		return 0
	}
	return location[0].Start.Line
}

func union(a, b []int) []int {
	out := append(slices.Clone(a), b...)
	slices.Sort(out)
	return slices.Compact(out)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
