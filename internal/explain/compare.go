package explain

import (
	"slices"
	"strings"
	"time"
)

// Asked is what else a build's caller knows.
type Asked struct {
	NoCache       bool
	NoCacheFilter []string // stages
	Imports       []string // cache references that were imported
	// Why says why there is no description of the build; empty: there is one.
	Why string
}

// Outcome is what a comparison found.
type Outcome struct {
	Reasons []Reason      // one for each step that ran, in the order of the steps
	Saved   time.Duration // what the cached steps took when they last ran
}

// Compare says why each of the solved steps ran, and notes in now how long they
// took. The record last is nil when there was no build before; it and now have
// the same salt. With asked.Why set, now may be empty.
func Compare(last, now *Record, solved []Solved, asked Asked) Outcome {
	c := &comparison{last: last, now: now, solved: solved, asked: asked, memo: make(map[place]*verdict), loose: make(map[int]*verdict)}
	c.at, c.of = placed(now, solved)
	for i := range now.Platforms {
		var p *pairs
		if last != nil {
			if old := last.platform(now.Platforms[i].Name); old != nil {
				p = pair(old, &now.Platforms[i])
			}
		}
		c.pairs = append(c.pairs, p)
	}
	var out Outcome
	for i, s := range solved {
		if s.Ran && !s.Base {
			out.Reasons = append(out.Reasons, c.reason(i))
		}
	}
	out.Saved = c.durations()
	return out
}

type comparison struct {
	last, now *Record
	solved    []Solved
	asked     Asked
	at        map[int]place
	of        map[place][]int
	pairs     []*pairs // by platform; nil: no earlier build for it
	memo      map[place]*verdict
	loose     map[int]*verdict // of steps that have no place
}

// verdict is what became of a step: whether its cache key is another one than in
// the last build, and why.
type verdict struct {
	changed bool
	reason  Reason // without the step; Kind is empty when nothing is known to have changed
	root    *verdict
	name    string // of the step
}

func (c *comparison) reason(i int) Reason {
	s := c.solved[i]
	at, ok := c.at[i]
	var v *verdict
	if ok {
		v = c.verdict(at)
	} else {
		v = c.unplaced(i)
	}
	r := v.reason
	if r.Kind == "" {
		r = c.unchanged()
	}
	r.Step = clean(c.shown(s.Name, ""))
	if ok {
		r.Step = c.name(at)
		p := &c.now.Platforms[at.platform]
		r.Platform, r.Line = p.Name, p.Stages[at.stage].Steps[at.step].Line
	} else if l, ok := parseLabel(s.Name); ok {
		r.Platform = l.platform
	}
	if r.Files != nil {
		r.Files = slices.Clone(r.Files)
	}
	return r
}

func (c *comparison) verdict(at place) *verdict {
	if v, ok := c.memo[at]; ok {
		return v
	}
	v := &verdict{name: c.name(at)}
	c.memo[at] = v // a step never builds on itself; a broken record might say so
	c.judge(at, v)
	return v
}

// judge looks for the cause: what was asked, the step itself, what it builds on.
func (c *comparison) judge(at place, v *verdict) {
	st := &c.now.Platforms[at.platform].Stages[at.stage]
	if c.noCache(st.Name) {
		v.changed, v.reason = true, noCacheReason(c.asked.NoCache)
		return
	}
	if c.pairs[at.platform] == nil {
		v.reason = firstBuild
		return
	}
	// A step from a cache whose files are not known read what it read before.
	if r, changed := c.own(at); changed && (r.Kind != Undescribed || !c.cached(at)) {
		v.changed, v.reason = true, r
		return
	}
	if parent := c.changedParent(at); parent != nil {
		v.changed, v.root = true, parent.rootCause()
		v.reason = parentReason(parent, v.root)
	}
}

func (v *verdict) rootCause() *verdict {
	if v.root != nil {
		return v.root
	}
	return v
}

var firstBuild = Reason{Kind: FirstBuild, Text: "there is no record of an earlier build to compare with"}

func noCacheReason(all bool) Reason {
	if all {
		return Reason{Kind: NoCacheAsked, Text: "--no-cache asks for it"}
	}
	return Reason{Kind: NoCacheAsked, Text: "--no-cache-filter asks for it"}
}

func parentReason(parent, root *verdict) Reason {
	r := Reason{Kind: ParentRebuilt, Parent: parent.name}
	if parent == root {
		r.Text = "builds on " + short(parent.name) + ": " + root.reason.Text
	} else {
		r.Text = "builds on " + short(parent.name) + ", because of " + short(root.name) + ": " + root.reason.Text
	}
	return r
}

func (c *comparison) noCache(stage string) bool {
	return c.asked.NoCache || slices.ContainsFunc(c.asked.NoCacheFilter, func(s string) bool { return stage != "" && strings.EqualFold(s, stage) })
}

// name is how BuildKit shows a step, and its text when it did not.
func (c *comparison) name(at place) string {
	if list := c.of[at]; len(list) > 0 {
		return clean(c.shown(c.solved[list[0]].Name, c.text(at)))
	}
	return clean(c.text(at))
}

// text is the instruction as the Dockerfile has it.
func (c *comparison) text(at place) string {
	return c.now.Platforms[at.platform].Stages[at.stage].Steps[at.step].Text
}

// shown is a step's name with the instruction as it is written: BuildKit expands
// the values of build arguments in names. Of a step that is not described only the
// first word is told.
func (c *comparison) shown(name, written string) string {
	l, ok := parseLabel(name)
	if !ok {
		return name
	}
	end := strings.Index(name, "] ") // parseLabel has found it
	if written == "" {
		written = l.word() + " …"
	}
	return name[:end+2] + written
}

// changedParent returns the verdict on a step that this one builds on and that is
// not what it was: the one before it, else one that it takes files of.
//
// What it only takes files of counts by their content. So it does not count for
// a step that was found in the cache: the files were what they were.
func (c *comparison) changedParent(at place) *verdict {
	p := &c.now.Platforms[at.platform]
	if i, k, ok := p.before(at.stage, at.step); ok {
		if v := c.verdict(place{at.platform, i, k}); v.changed {
			return v
		}
	}
	if c.cached(at) {
		return nil
	}
	for _, j := range p.Stages[at.stage].Steps[at.step].Stages {
		if j >= at.stage {
			continue
		}
		if i, k, ok := p.end(j); ok {
			if v := c.verdict(place{at.platform, i, k}); v.changed {
				return v
			}
		} else if r, changed := c.base(at.platform, i); changed {
			return &verdict{changed: true, reason: r, name: clean(p.Stages[i].Text)}
		}
	}
	return nil
}

func (c *comparison) cached(at place) bool {
	list := c.of[at]
	return len(list) > 0 && !slices.ContainsFunc(list, func(i int) bool { return !c.solved[i].Cached })
}

// unplaced judges a step that the description does not have: one that the base
// image brings along, or any step of a build that could not be looked into.
func (c *comparison) unplaced(i int) *verdict {
	if v, ok := c.loose[i]; ok {
		return v
	}
	v := &verdict{name: clean(c.solved[i].Name)}
	c.loose[i] = v
	l, _ := parseLabel(v.name)
	switch {
	case c.noCache(l.stage):
		v.changed, v.reason = true, noCacheReason(c.asked.NoCache)
		return v
	case c.asked.Why != "":
		v.reason = Reason{Kind: Undescribed, Text: clean(c.asked.Why)}
		return v
	case c.last == nil:
		v.reason = firstBuild
		return v
	}
	if r, changed := c.remote(); changed {
		v.changed, v.reason = true, r
		return v
	}
	for pi := range c.now.Platforms {
		for si := range c.now.Platforms[pi].Stages {
			st := &c.now.Platforms[pi].Stages[si]
			if c.pairs[pi] == nil || !st.Needed || !l.of(st.Platform, c.now.Platforms[pi].Name) || !st.called(l.stage, si) {
				continue
			}
			if r, changed := c.base(pi, si); changed {
				v.changed, v.reason = true, r
				return v
			}
		}
	}
	for _, in := range c.solved[i].Inputs {
		if c.solved[in].Base || in >= i {
			continue
		}
		parent := c.loose[in]
		if at, ok := c.at[in]; ok {
			parent = c.verdict(at)
		} else if parent == nil {
			parent = c.unplaced(in)
		}
		if parent.changed {
			v.changed, v.root = true, parent.rootCause()
			v.reason = parentReason(parent, v.root)
			return v
		}
	}
	if l.onBuild && (l.word() == "COPY" || l.word() == "ADD") {
		v.reason = Reason{Kind: ContextChanged, Text: "the base image takes files of the context (ONBUILD), and they or the cache are not what they were"}
	}
	return v
}

// remote says what changed in a build whose context BuildKit fetches itself.
func (c *comparison) remote() (Reason, bool) {
	if len(c.now.Contexts) == 0 || c.now.Contexts[0].Source == "" || len(c.last.Contexts) == 0 {
		return Reason{}, false
	}
	if r, changed := c.context(&c.now.Contexts[0], &c.last.Contexts[0], "the build context"); changed {
		return r, true
	}
	if names := differing(c.last.Arguments, c.now.Arguments); len(names) > 0 {
		return argumentReason(names, c.last, c.now), true
	}
	if names := differing(c.last.Options, c.now.Options); len(names) > 0 {
		return optionReason(names), true
	}
	return Reason{}, false
}

// unchanged says where the result of a step went that is what it was.
func (c *comparison) unchanged() Reason {
	if c.last == nil {
		return firstBuild
	}
	here := slices.ContainsFunc(c.now.Nodes, func(n string) bool { return slices.Contains(c.last.Nodes, n) })
	imported := c.last.Export != "" && slices.Contains(c.asked.Imports, c.last.Export)
	switch {
	case imported:
		return Reason{Kind: Evicted, Text: "nothing changed, and neither the node nor the cache " + clean(c.last.Export) + " has the result any more", Name: clean(c.last.Export)}
	case here:
		return Reason{Kind: Evicted, Text: "nothing changed, and the node has dropped the result"}
	case c.last.Export != "":
		return Reason{Kind: NeverExported, Text: "nothing changed, and the cache " + clean(c.last.Export) + " of the earlier build was not imported", Name: clean(c.last.Export)}
	}
	return Reason{Kind: NeverExported, Text: "nothing changed, and the earlier build ran on another node and exported no cache"}
}

// durations notes how long steps took, and returns what those from a cache took
// when they last ran.
func (c *comparison) durations() (saved time.Duration) {
	for pi := range c.now.Platforms {
		for si := range c.now.Platforms[pi].Stages {
			st := &c.now.Platforms[pi].Stages[si]
			for k := range st.Steps {
				at, s := place{pi, si, k}, &st.Steps[k]
				if p := c.pairs[pi]; p != nil && p.stages[si] >= 0 {
					if l, ok := p.steps[place{0, si, k}]; ok {
						s.Took = p.last.Stages[p.stages[si]].Steps[l].Took
					}
				}
				var took time.Duration
				for _, i := range c.of[at] {
					took += c.solved[i].Duration
				}
				switch {
				case took > 0:
					s.Took = uint32(min(took.Milliseconds(), 1<<31)) //nolint:gosec // bounded
				case c.cached(at):
					saved += time.Duration(s.Took) * time.Millisecond
				}
			}
		}
	}
	return saved
}
