package explain

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// own returns the cause that lies in a step itself, or in the base that it is
// the first step on.
func (c *comparison) own(at place) (Reason, bool) {
	p := c.pairs[at.platform]
	step := &p.now.Stages[at.stage].Steps[at.step]
	old := p.paired(at)
	if old == nil {
		return Reason{Kind: InstructionChanged, Now: shown(step.Text), Text: "the instruction is new"}, true
	}
	if step.Key != old.Key {
		return c.definition(p, step, old), true
	}
	if _, _, ok := p.now.before(at.stage, at.step); !ok {
		if r, changed := c.base(at.platform, p.now.root(at.stage)); changed {
			return r, true
		}
	}
	if r, changed := c.moved(p, at); changed {
		return r, true
	}
	if r, changed := c.files(step, old); changed {
		return r, true
	}
	for _, source := range step.Sources {
		was, now := c.last.Sources[source], c.now.Sources[source]
		if was != "" && now != "" && was != now {
			return delivered(step, was, now), true
		}
	}
	if r, changed := c.contexts(step, old); changed {
		return r, true
	}
	return Reason{}, false
}

func delivered(step *Step, was, now string) Reason {
	r := Reason{Kind: ContextChanged, Was: shown(was), Now: shown(now), Text: "what it fetches is not what it was"}
	if step.Word != "ADD" {
		r.Kind, r.Text = BaseChanged, "the image that it takes files of changed from "+shortDigest(was)+" to "+shortDigest(now)
	}
	return r
}

// paired returns what a step was in the last record, or nil.
func (p *pairs) paired(at place) *Step {
	l, ok := p.steps[place{0, at.stage, at.step}]
	if !ok || p.stages[at.stage] < 0 {
		return nil
	}
	return &p.last.Stages[p.stages[at.stage]].Steps[l]
}

// root returns the stage that brings the base of stage i.
func (p *Platform) root(i int) int {
	for p.Stages[i].Base >= 0 {
		i = p.Stages[i].Base
	}
	return i
}

// definition says why the same step has another key than before.
func (c *comparison) definition(p *pairs, step, old *Step) Reason {
	if step.Text != old.Text {
		if step.Plain != "" && step.Plain == old.Plain && !slices.Equal(step.Secrets, old.Secrets) {
			return secretReason(step, old)
		}
		was, now := diff(old.Text, step.Text)
		return Reason{Kind: InstructionChanged, Was: was, Now: now, Text: "the instruction changed: " + fromTo(was, now)}
	}
	changed := c.facts(p, step, old)
	var arguments []string
	for _, f := range changed {
		for _, list := range [][]string{argumentsOf(f.was), argumentsOf(f.now)} {
			for _, name := range list {
				if c.last.argument(name) != c.now.argument(name) && !slices.Contains(arguments, name) {
					arguments = append(arguments, name)
				}
			}
		}
	}
	if len(arguments) > 0 {
		slices.Sort(arguments)
		return argumentReason(arguments, c.last, c.now)
	}
	if !slices.Equal(step.Secrets, old.Secrets) {
		return secretReason(step, old)
	}
	for _, f := range changed {
		var was, now string
		if f.was != nil {
			was = f.was.Text
		}
		if f.now != nil {
			now = f.now.Text
		}
		if was != now {
			return lineReason(was, now)
		}
	}
	if names := differing(c.last.Options, c.now.Options); step.Options && len(names) > 0 {
		return optionReason(names)
	}
	return Reason{Kind: InstructionChanged, Was: shown(old.Text), Now: shown(step.Text), Text: "what the instruction means changed"}
}

func lineReason(was, now string) Reason {
	a, b := diff(was, now)
	r := Reason{Kind: InstructionChanged, Was: a, Now: b}
	switch {
	case was == "":
		r.Text = "the line " + b + " is new"
	case now == "":
		r.Text = "the line " + a + " is gone"
	default:
		r.Text = "a line before it changed: " + fromTo(a, b)
	}
	return r
}

func fromTo(was, now string) string { return "was " + was + ", is " + now }

// factPair is one slot in both records; nil where it is not set.
type factPair struct{ was, now *Fact }

func argumentsOf(f *Fact) []string {
	if f == nil {
		return nil
	}
	return f.Arguments
}

// facts returns the facts that a step uses and that are not what they were, in
// the order of the Dockerfile.
func (c *comparison) facts(p *pairs, step, old *Step) []factPair {
	slots := make(map[string]factPair)
	for _, u := range old.Uses {
		f := &p.last.Facts[u]
		slots[f.Slot] = factPair{was: f}
	}
	for _, u := range step.Uses {
		f := &p.now.Facts[u]
		slots[f.Slot] = factPair{was: slots[f.Slot].was, now: f}
	}
	var out []factPair
	for _, slot := range slices.Sorted(maps.Keys(slots)) {
		if f := slots[slot]; f.was == nil || f.now == nil || f.was.Sum != f.now.Sum {
			out = append(out, f)
		}
	}
	line := func(f factPair) int {
		if f.now != nil {
			return f.now.Line
		}
		return f.was.Line
	}
	slices.SortStableFunc(out, func(a, b factPair) int { return cmp.Compare(line(a), line(b)) })
	return out
}

// argument returns the sum of a build argument's value; without one, "".
func (r *Record) argument(name string) Sum { return r.Arguments[name] }

func differing(was, now map[string]Sum) []string {
	var out []string
	for _, name := range slices.Compact(slices.Sorted(func(yield func(string) bool) {
		for k := range was {
			if !yield(k) {
				return
			}
		}
		for k := range now {
			if !yield(k) {
				return
			}
		}
	})) {
		if was[name] != now[name] {
			out = append(out, name)
		}
	}
	return out
}

func argumentReason(names []string, last, now *Record) Reason {
	r := Reason{Kind: ArgumentChanged, Name: cleanTo(names[0], 60)}
	switch {
	case len(names) > 1:
		r.Text = "build arguments changed: " + clean(strings.Join(names, ", "))
	case last.Arguments[names[0]] == "":
		r.Text = "build argument " + r.Name + " is given now"
	case now.Arguments[names[0]] == "":
		r.Text = "build argument " + r.Name + " is no longer given"
	default:
		r.Text = "build argument " + r.Name + " has another value"
	}
	return r
}

// SyntaxOption is the option that stands for the "# syntax=" line.
const SyntaxOption = "# syntax"

func optionReason(names []string) Reason {
	if names[0] == SyntaxOption {
		return Reason{Kind: OptionChanged, Name: SyntaxOption, Text: "the line # syntax= changed, and with it who reads the Dockerfile"}
	}
	return Reason{Kind: OptionChanged, Name: clean(names[0]), Text: "the option --" + clean(strings.Join(names, ", --")) + " changed"}
}

func secretReason(step, old *Step) Reason {
	only := func(a, b []string) string {
		for _, s := range a {
			if !slices.Contains(b, s) {
				return shown(s)
			}
		}
		return ""
	}
	r := Reason{Kind: SecretChanged, Was: only(old.Secrets, step.Secrets), Now: only(step.Secrets, old.Secrets)}
	r.Name = cmp.Or(r.Now, r.Was)
	switch {
	case r.Was == "":
		r.Text = "it mounts the secret " + r.Now + " now"
	case r.Now == "":
		r.Text = "it no longer mounts the secret " + r.Was
	default:
		r.Text = "it mounts another secret: " + fromTo(r.Was, r.Now)
	}
	return r
}

// shown is a foreign text in a reason.
func shown(s string) string { return cleanTo(s, 120) }

// shortDigest keeps of a digest or commit what tells it from others.
func shortDigest(s string) string {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok {
		return cleanTo(s, 12)
	}
	return cleanTo(algorithm+":"+hex[:min(12, len(hex))], 24)
}
