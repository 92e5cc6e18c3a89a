package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// base says what changed in the base of stage i, which is of no other stage.
func (c *comparison) base(platform, i int) (Reason, bool) {
	p := c.pairs[platform]
	if p == nil || p.stages[i] < 0 {
		return Reason{}, false
	}
	now, was := &p.now.Stages[i], &p.last.Stages[p.last.root(p.stages[i])]
	if now.Image != was.Image || now.Platform != was.Platform || (now.Context >= 0) != (was.Context >= 0) {
		for _, f := range c.facts(p, &Step{Uses: now.Uses}, &Step{Uses: was.Uses}) {
			for _, name := range append(argumentsOf(f.was), argumentsOf(f.now)...) {
				if c.last.argument(name) != c.now.argument(name) {
					return argumentReason([]string{name}, c.last, c.now), true
				}
			}
			if f.was != nil && f.now != nil && f.was.Text != f.now.Text {
				return lineReason(f.was.Text, f.now.Text), true
			}
		}
		if now.Text != was.Text {
			return lineReason(was.Text, now.Text), true
		}
		return Reason{Kind: BaseChanged, Was: shown(was.Digest), Now: shown(now.Digest), Text: "it starts from another image"}, true
	}
	if now.Digest != was.Digest && now.Digest != "" && was.Digest != "" {
		return Reason{
			Kind: BaseChanged, Name: imageOf(now.Text), Was: shown(was.Digest), Now: shown(now.Digest),
			Text: fmt.Sprintf("the base image changed from %s to %s", shortDigest(was.Digest), shortDigest(now.Digest)),
		}, true
	}
	if now.Context >= 0 && was.Context >= 0 {
		return c.context(&c.now.Contexts[now.Context], &c.last.Contexts[was.Context], "the context "+shown(c.now.Contexts[now.Context].Name))
	}
	return Reason{}, false
}

// imageOf returns the image in a FROM line as it is written.
func imageOf(from string) string {
	for _, f := range strings.Fields(from)[min(1, len(strings.Fields(from))):] {
		if !strings.HasPrefix(f, "--") {
			return shown(f)
		}
	}
	return ""
}

// moved says whether a step follows another one than before, though none of the
// two is new: an instruction between them is gone, or the order is another.
func (c *comparison) moved(p *pairs, at place) (Reason, bool) {
	old := p.steps[place{0, at.stage, at.step}]
	wasStage, wasStep, hadOne := p.last.before(p.stages[at.stage], old)
	i, k, hasOne := p.now.before(at.stage, at.step)
	if hasOne {
		l, ok := p.steps[place{0, i, k}]
		if !ok {
			return Reason{}, false // it is new, and a better reason
		}
		if hadOne && p.stages[i] == wasStage && l == wasStep {
			return Reason{}, false
		}
	}
	if !hasOne && !hadOne || !hadOne {
		return Reason{}, false
	}
	was := p.last.Stages[wasStage].Steps[wasStep].Text
	r := lineReason(was, "")
	if hasOne {
		now := p.now.Stages[i].Steps[k].Text
		r.Text = "it follows another instruction: " + fromTo(shown(was), shown(now))
		if !slices.ContainsFunc(p.now.Stages[at.stage].Steps, func(s Step) bool { return s.Text == was }) {
			r.Text = "the instruction before it is gone: " + shown(was)
		}
	}
	return r, true
}

// files says which of the files that a step reads changed.
func (c *comparison) files(step, old *Step) (Reason, bool) {
	for _, f := range step.Files {
		if why := c.now.Contexts[f.Context].Incomplete; why != "" {
			return Reason{Kind: Undescribed, Text: "the files that it reads were not compared: " + why}, true
		}
	}
	for _, f := range old.Files {
		if c.last.Contexts[f.Context].Incomplete != "" {
			return Reason{Kind: Undescribed, Text: "the files that it read in the earlier build are not known"}, true
		}
	}
	a, b := uncommon(c.last.files(old), c.now.files(step))
	was, now := sums(a), sums(b)
	var changed []string
	mark := func(sign string, key [2]string) {
		changed = append(changed, sign+" "+cleanTo(key[1], 120))
	}
	ignored := true // nothing but files that came and went
	for key, sum := range now {
		if before, ok := was[key]; !ok {
			mark("+", key)
		} else if before != sum {
			mark("~", key)
			ignored = false
		}
	}
	for key := range was {
		if _, ok := now[key]; !ok {
			mark("-", key)
		}
	}
	if len(changed) == 0 {
		return Reason{}, false
	}
	slices.SortFunc(changed, func(a, b string) int { return cmp.Or(cmp.Compare(a[2:], b[2:]), cmp.Compare(a, b)) })
	r := Reason{Kind: FilesChanged, Files: changed[:min(len(changed), MaxFiles)], More: max(0, len(changed)-MaxFiles)}
	r.Text = "files changed: " + strings.Join(r.Files, ", ")
	if r.More > 0 {
		r.Text += fmt.Sprintf(", and %d more", r.More)
	}
	if ignored && c.ignoreChanged(step, old) {
		r.Text += " (the ignore file changed)"
	}
	return r, true
}

func (c *comparison) ignoreChanged(step, old *Step) bool {
	for i, f := range step.Files {
		if i < len(old.Files) && c.now.Contexts[f.Context].Ignore != c.last.Contexts[old.Files[i].Context].Ignore {
			return true
		}
	}
	return false
}

// contexts says which of the sources behind a step's named contexts changed.
func (c *comparison) contexts(step, old *Step) (Reason, bool) {
	for i, source := range step.Sources {
		if i < len(old.Sources) && old.Sources[i] != source {
			return Reason{Kind: ContextChanged, Text: "it takes files of another source"}, true
		}
	}
	if len(step.Sources) != len(old.Sources) || len(step.Files) != len(old.Files) {
		return Reason{Kind: ContextChanged, Text: "it takes files of another source"}, true
	}
	return Reason{}, false
}

// context says what changed in a context that is not a directory.
func (c *comparison) context(now, was *Context, what string) (Reason, bool) {
	r := Reason{Kind: ContextChanged, Name: shown(now.Name)}
	a, b := c.last.Sources[was.Source], c.now.Sources[now.Source]
	switch {
	case now.Source != was.Source:
		r.Text = what + " comes from another place"
	case a != "" && b != "" && a != b:
		r.Was, r.Now = shown(a), shown(b)
		r.Text = what + " changed from " + shortDigest(a) + " to " + shortDigest(b)
	default:
		return Reason{}, false
	}
	return r, true
}
