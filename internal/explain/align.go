package explain

import (
	"slices"
	"strings"
)

// pairs says which parts of a record for one platform are the same parts of an
// older one, perhaps changed.
type pairs struct {
	last, now *Platform
	stages    []int         // of now: index in last, or -1
	back      map[int]int   // the other way
	steps     map[place]int // of now, with platform zero: index in the paired stage
}

// pair finds the pairs: stages by name, then by what they do, then by their
// place; their steps by text, then by their place between equal ones.
func pair(last, now *Platform) *pairs {
	p := &pairs{last: last, now: now, stages: make([]int, len(now.Stages)), back: make(map[int]int), steps: make(map[place]int)}
	for i := range p.stages {
		p.stages[i] = -1
	}
	for _, same := range []func(a, b *Stage, i, j int) bool{
		func(a, b *Stage, _, _ int) bool { return a.Name != "" && strings.EqualFold(a.Name, b.Name) },
		func(a, b *Stage, i, j int) bool {
			return a.Name == "" && b.Name == "" && i == j && len(now.Stages) == len(last.Stages)
		},
		func(a, b *Stage, _, _ int) bool { return len(a.Steps) > 0 && sameTexts(a.Steps, b.Steps) },
		func(a, b *Stage, i, j int) bool { return i == j && len(now.Stages) == len(last.Stages) },
		func(_, _ *Stage, i, j int) bool { return i == len(now.Stages)-1 && j == len(last.Stages)-1 },
	} {
		for i := range now.Stages {
			for j := range last.Stages {
				if _, taken := p.back[j]; p.stages[i] < 0 && !taken && same(&now.Stages[i], &last.Stages[j], i, j) {
					p.stages[i], p.back[j] = j, i
				}
			}
		}
	}
	for i, j := range p.stages {
		if j >= 0 {
			for k, l := range alignSteps(now.Stages[i].Steps, last.Stages[j].Steps) {
				p.steps[place{0, i, k}] = l
			}
		}
	}
	return p
}

func sameTexts(a, b []Step) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Text != b[i].Text {
			return false
		}
	}
	return true
}

// maxAlign bounds the table of alignSteps; stages have tens of steps.
const maxAlign = 1000

// alignSteps pairs steps of equal text in order, as many as possible, and in the
// gaps between them steps of the same instruction.
func alignSteps(a, b []Step) map[int]int {
	out := make(map[int]int)
	if len(a) > maxAlign || len(b) > maxAlign {
		for i := range min(len(a), len(b)) {
			out[i] = i
		}
		return out
	}
	best := make([][]int16, len(a)+1)
	for i := range best {
		best[i] = make([]int16, len(b)+1)
	}
	for i := range slices.Backward(a) {
		for j := range slices.Backward(b) {
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if a[i].Text == b[j].Text {
				best[i][j] = max(best[i][j], best[i+1][j+1]+1)
			}
		}
	}
	i, j, fromI, fromJ := 0, 0, 0, 0
	for i < len(a) && j < len(b) {
		switch {
		case a[i].Text == b[j].Text && best[i][j] == best[i+1][j+1]+1:
			fillGap(a, b, fromI, i, fromJ, j, out)
			out[i] = j
			i, j = i+1, j+1
			fromI, fromJ = i, j
		case best[i+1][j] >= best[i][j+1]:
			i++
		default:
			j++
		}
	}
	fillGap(a, b, fromI, len(a), fromJ, len(b), out)
	return out
}

func fillGap(a, b []Step, i, toI, j, toJ int, out map[int]int) {
	for ; i < toI; i++ {
		for k := j; k < toJ; k++ {
			if a[i].Word == b[k].Word {
				out[i], j = k, k+1
				break
			}
		}
	}
}

// before returns the step that a step of stage i follows, in its stage or in
// those that it starts from, or ok false: it follows the base.
func (p *Platform) before(i, k int) (stage, step int, ok bool) {
	for {
		for k--; k >= 0; k-- {
			if !p.Stages[i].Steps[k].Silent {
				return i, k, true
			}
		}
		if p.Stages[i].Base < 0 {
			return i, 0, false
		}
		i = p.Stages[i].Base
		k = len(p.Stages[i].Steps)
	}
}

// end returns the last step of what stage i is.
func (p *Platform) end(i int) (stage, step int, ok bool) { return p.before(i, len(p.Stages[i].Steps)) }
