package explain

import (
	"crypto/sha256"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// state is what the lines so far have set for the steps behind them.
type state struct {
	slots  map[string]int    // facts by slot
	values map[string]string // variables; those of the base image are not known
	dir    string            // working directory; not absolute: below the base image's
	user   string
}

func newState() *state { return &state{slots: make(map[string]int), values: make(map[string]string)} }

func (s *state) clone() *state {
	c := *s
	c.slots, c.values = maps.Clone(s.slots), maps.Clone(s.values)
	return &c
}

// Get and Keys make a state what BuildKit's lexer expands variables from.
func (s *state) Get(name string) (string, bool) {
	v, ok := s.values[name]
	return v, ok
}

// Keys returns the names of all variables.
func (s *state) Keys() []string { return slices.Collect(maps.Keys(s.values)) }

// Slots of facts. Variables are below varSlot.
const (
	varSlot   = "$"
	userSlot  = "USER"
	dirSlot   = "WORKDIR"
	shellSlot = "SHELL"
)

// longestValue is how long the value of a variable is kept; a longer one is
// replaced by its hash.
const longestValue = 4096

// set notes that a line sets a slot, with the facts that its value is made of.
func (p *platform) set(s *state, slot, value, text string, line int, uses []int, given ...string) {
	arguments := slices.Clone(given)
	for _, u := range uses {
		arguments = append(arguments, p.out.Facts[u].Arguments...)
	}
	slices.Sort(arguments)
	if name, ok := strings.CutPrefix(slot, varSlot); ok {
		if len(value) > longestValue {
			sum := sha256.Sum256([]byte(value))
			value = string(sum[:])
		}
		s.values[name] = value
	}
	p.out.Facts = append(p.out.Facts, Fact{Slot: slot, Text: cutText(text), Line: line, Sum: Sum("=" + value), Arguments: slices.Compact(arguments)})
	s.slots[slot] = len(p.out.Facts) - 1
}

// expand expands the variables in a word, and returns the facts it used.
func (p *platform) expand(word string, s *state) (string, []int, error) {
	if n := strings.Count(word, "$"); n == 0 {
		// Quotes and escapes may still have to go.
	} else if n*longestValue > maxExpanded && n*s.longest() > maxExpanded {
		return "", nil, errTooLarge
	}
	result, err := p.lex.ProcessWordWithMatches(word, s)
	if err != nil {
		return "", nil, err
	}
	var uses []int
	for name := range result.Matched {
		if i, ok := s.slots[varSlot+name]; ok {
			uses = append(uses, i)
		}
	}
	slices.Sort(uses)
	return result.Result, uses, nil
}

func (s *state) longest() (n int) {
	for _, v := range s.values {
		n = max(n, len(v))
	}
	return n
}

// globals dispatches the ARG lines before the first FROM.
func (p *platform) globals(list []instructions.ArgCommand) error {
	p.global = newState()
	native := p.target
	if len(p.b.Native) > 0 {
		native = p.b.Native[0]
	}
	stage := p.b.Target
	if stage == "" {
		if stage = p.stages[len(p.stages)-1].Name; stage == "" {
			stage = "default"
		}
	}
	for prefix, pl := range map[string]ocispecs.Platform{"BUILD": native, "TARGET": p.target} {
		p.predefined(prefix+"PLATFORM", platforms.FormatAll(pl))
		p.predefined(prefix+"OS", pl.OS)
		p.predefined(prefix+"OSVERSION", pl.OSVersion)
		p.predefined(prefix+"ARCH", pl.Architecture)
		p.predefined(prefix+"VARIANT", pl.Variant)
	}
	p.predefined("TARGETSTAGE", stage)
	for _, c := range list {
		for _, a := range c.Args {
			if v, ok := p.b.Arguments[a.Key]; ok {
				p.set(p.global, varSlot+a.Key, v, c.String(), lineOf(c.Location()), nil, a.Key)
			} else if a.Value != nil {
				v, uses, err := p.expand(*a.Value, p.global)
				if err != nil {
					return err
				}
				p.set(p.global, varSlot+a.Key, v, c.String(), lineOf(c.Location()), uses)
			}
		}
	}
	return nil
}

func (p *platform) predefined(name, value string) {
	var given []string
	if v, ok := p.b.Arguments[name]; ok {
		value, given = v, []string{name}
	}
	p.set(p.global, varSlot+name, value, "", 0, nil, given...)
}

// notInEnvironment are arguments that BuildKit keeps from steps.
var notInEnvironment = []string{"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"}

// argument dispatches an ARG line of a stage: what was given, else its default,
// else what was said before the first FROM.
func (p *platform) argument(s *state, c *instructions.ArgCommand) error {
	for _, a := range c.Args {
		if slices.Contains(notInEnvironment, a.Key) {
			continue
		}
		slot, line := varSlot+a.Key, lineOf(c.Location())
		if v, ok := p.b.Arguments[a.Key]; ok {
			p.set(s, slot, v, c.String(), line, nil, a.Key)
			continue
		}
		if a.Value != nil {
			v, uses, err := p.expand(*a.Value, s)
			if err != nil {
				return err
			}
			p.set(s, slot, v, c.String(), line, uses)
			continue
		}
		if v, ok := p.global.values[a.Key]; ok {
			// The line that gave it its value is what people look for.
			g := p.out.Facts[p.global.slots[slot]]
			if g.Text == "" {
				g.Text, g.Line = c.String(), line
			}
			p.set(s, slot, v, g.Text, g.Line, nil, g.Arguments...)
		}
	}
	return nil
}
