package explain

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

// dispatchStage describes the steps of stage i as BuildKit's frontend builds
// them: what is in the cache key of each, and which lines put it there.
func (p *platform) dispatchStage(i int) error {
	st := &p.out.Stages[i]
	s := newState()
	switch {
	case st.Base >= 0:
		s = p.ends[st.Base].clone()
	case st.Image == "" && st.Context < 0:
		s.dir = "/" // scratch
	}
	p.ends[i] = s
	list, inherited := p.commands(i)
	if st.Image != "" || st.Context >= 0 {
		st.Total++
	}
	for n, c := range list {
		step, err := p.dispatch(s, i, c)
		if err != nil {
			return err
		}
		if step == nil {
			continue
		}
		if step.OnBuild = n < inherited; step.OnBuild {
			step.Line = st.Line
		}
		st.Steps, st.Total = append(st.Steps, *step), st.Total+1
	}
	return nil
}

// dispatch notes what an instruction sets, and returns the step of one that is
// run.
func (p *platform) dispatch(s *state, stage int, c instructions.Command) (*Step, error) {
	var uses []int
	expand := func(word string) (string, error) {
		v, used, err := p.expand(word, s)
		uses = union(uses, used)
		return v, err
	}
	if _, isArg := c.(*instructions.ArgCommand); !isArg {
		if e, ok := c.(instructions.SupportsSingleWordExpansion); ok {
			if err := e.Expand(expand); err != nil {
				return nil, err
			}
		}
	}
	line, text := 0, fmt.Sprint(c)
	if l := c.Location(); len(l) > 0 {
		line = l[0].Start.Line
	}
	switch c := c.(type) {
	case *instructions.ArgCommand:
		return nil, p.argument(s, c)
	case *instructions.EnvCommand:
		for _, e := range c.Env {
			p.set(s, varSlot+e.Key, e.Value, text, line, uses)
		}
	case *instructions.UserCommand:
		s.user = c.User
		p.set(s, userSlot, c.User, text, line, uses)
	case *instructions.ShellCommand:
		p.set(s, shellSlot, strings.Join(c.Shell, "\x00"), text, line, nil)
	case *instructions.WorkdirCommand:
		s.dir = path.Join(s.dir, c.Path)
		if path.IsAbs(c.Path) {
			s.dir = path.Clean(c.Path)
		}
		p.set(s, dirSlot, s.dir, text, line, union(uses, s.use(dirSlot)))
		step := p.step("WORKDIR", text, line, uses, s.dir, s.user)
		step.Uses, step.Silent = union(step.Uses, s.use(userSlot)), s.dir == "/"
		return step, nil
	case *instructions.RunCommand:
		return p.run(s, stage, c, text, line), nil
	case *instructions.CopyCommand:
		step := p.copy(s, c.SourcesAndDest, "COPY", text, line, uses, c.Chown, c.Chmod, fmt.Sprint(c.Link, c.Parents), strings.Join(c.ExcludePatterns, "\x00"))
		p.sources(step, stage, c.From, c.SourcePaths, c.ExcludePatterns, c.Parents)
		return step, nil
	case *instructions.AddCommand:
		keep, unpack := c.KeepGitDir != nil && *c.KeepGitDir, c.Unpack == nil || *c.Unpack
		step := p.copy(s, c.SourcesAndDest, "ADD", text, line, uses, c.Chown, c.Chmod, c.Checksum, fmt.Sprint(c.Link, keep, unpack), strings.Join(c.ExcludePatterns, "\x00"))
		var local []string
		for _, source := range c.SourcePaths {
			if isURL(source) {
				step.Sources = append(step.Sources, Sum(source))
			} else {
				local = append(local, source)
			}
		}
		p.sources(step, stage, "", local, c.ExcludePatterns, false)
		return step, nil
	}
	return nil, nil //nolint:nilnil // an instruction that only the image's configuration knows of
}

// use returns the facts of a slot: one or none.
func (s *state) use(slot string) []int {
	if i, ok := s.slots[slot]; ok {
		return []int{i}
	}
	return nil
}

func (p *platform) step(word, text string, line int, uses []int, key ...string) *Step {
	return &Step{Word: word, Text: cutText(text), Line: line, Uses: uses, Key: Sum(word + "\x00" + strings.Join(key, "\x00"))}
}

// run describes a RUN: it sees every variable in scope.
func (p *platform) run(s *state, stage int, c *instructions.RunCommand, text string, line int) *Step {
	for _, f := range c.Files {
		text += "\n" + f.Data + f.Name
	}
	var uses []int
	key := []string{text}
	for _, slot := range slices.Sorted(maps.Keys(s.slots)) {
		if slot == shellSlot && !c.PrependShell {
			continue
		}
		uses = append(uses, s.slots[slot])
		key = append(key, slot+string(p.out.Facts[s.slots[slot]].Sum))
	}
	for _, name := range sortedKeys(p.b.Options) {
		key = append(key, name, p.b.Options[name])
	}
	slices.Sort(uses)
	step := p.step("RUN", text, line, uses, key...)
	step.Options = true
	p.mounts(step, stage, c)
	step.Plain = Sum(secretID.ReplaceAllString(text, "$1"))
	return step
}

// secretID matches the id in a mount of a secret or an SSH agent.
var secretID = regexp.MustCompile(`(--mount=(?:\S*,)?type=(?:secret|ssh)\S*?[, ]?(?:id|source|src)=)[^,\s]+`)

// mounts notes the secrets and sources of a step's mounts. An id that a build
// argument is part of is not told: it would hold the value.
func (p *platform) mounts(step *Step, stage int, c *instructions.RunCommand) {
	id := func(expanded string) string {
		if strings.Contains(step.Text, "$") && !strings.Contains(step.Text, expanded) {
			return "of a build argument"
		}
		return cleanTo(expanded, longestValue)
	}
	for _, m := range instructions.GetMounts(c) {
		switch m.Type {
		case instructions.MountTypeSecret:
			step.Secrets = append(step.Secrets, id(firstOf(m.CacheID, m.Source, path.Base(m.Target))))
		case instructions.MountTypeSSH:
			step.Secrets = append(step.Secrets, "ssh:"+id(firstOf(m.CacheID, m.Source, "default")))
		case instructions.MountTypeBind, instructions.MountTypeCache:
			if m.From != "" || m.Type == instructions.MountTypeBind {
				p.sources(step, stage, m.From, []string{m.Source}, nil, false)
			}
		}
	}
}

// copy describes a COPY or an ADD without its sources.
func (p *platform) copy(s *state, c instructions.SourcesAndDest, word, text string, line int, uses []int, key ...string) *Step {
	dest := c.DestPath
	if !path.IsAbs(dest) {
		dest = s.dir + "/./" + dest // a slash at its end counts
		uses = union(uses, s.use(dirSlot))
	}
	key = append(key, dest)
	key = append(key, c.SourcePaths...)
	for _, f := range c.SourceContents {
		data := f.Data
		if f.Expand {
			if v, used, err := p.expand(data, s); err == nil {
				data, uses = v, union(uses, used)
			}
		}
		key = append(key, f.Path, data)
		text += "\n" + f.Data + f.Path
	}
	return p.step(word, text, line, uses, key...)
}

// sources notes what a step reads: of a stage, an image, or a context.
func (p *platform) sources(step *Step, stage int, from string, list, excludes []string, parents bool) {
	context := 0
	if from != "" {
		if j := p.stageOf(from, stage); j >= 0 {
			step.Stages = append(step.Stages, j)
			return
		}
		if context = p.namedContext(from, p.target); context < 0 {
			if from != "scratch" {
				step.Sources = append(step.Sources, Sum(from))
			}
			return
		}
	}
	if src := p.record.Contexts[context].Source; src != "" {
		step.Sources = append(step.Sources, src)
		return
	}
	if len(list) > 0 && p.out.Stages[stage].Needed {
		p.reads = append(p.reads, read{
			platform: p.at, stage: stage, step: len(p.out.Stages[stage].Steps),
			context: context, sources: list, excludes: excludes, parents: parents,
		})
	}
}

func isURL(source string) bool {
	return strings.Contains(source, "://") || strings.HasPrefix(source, "git@")
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

// longestText is how much of an instruction a record keeps: what it shows of one
// is far shorter. A hash stands for the rest.
const longestText = 4096

func cutText(s string) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= longestText {
		return s
	}
	sum := sha256.Sum256([]byte(s))
	at := longestText
	for !utf8.RuneStart(s[at]) {
		at--
	}
	return s[:at] + "… " + hex.EncodeToString(sum[:8])
}
