package runner

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// checkoutOptions returns a look-up of options: the step's inputs before those
// of the repository.
func (x *execution) checkoutOptions(in inputs, r job.Repository) func(name, otherwise string) string {
	var defaults map[string]any
	if raw, ok := job.Lookup(r.Properties, "checkoutOptions"); ok {
		defaults = looseObject(raw)
	}
	return func(name, otherwise string) string {
		if v := in.text(name, ""); v != "" {
			return v
		}
		if v, ok := job.Lookup(defaults, name); ok && v != nil {
			return x.expand(fmt.Sprint(v))
		}
		return otherwise
	}
}

// fetchDepth returns how many commits are fetched; 0 is all.
func (x *execution) fetchDepth(alias string, options func(name, otherwise string) string) (int, error) {
	name, value := "fetchDepth", options("fetchDepth", "0")
	if override := x.vars.Value("agent.source.git.shallowFetchDepth"); override != "" {
		name, value = "agent.source.git.shallowFetchDepth", override
	}
	depth, err := strconv.Atoi(strings.TrimSpace(value))
	if err != nil || depth < 0 {
		return 0, fmt.Errorf("checking out %s: %s is %q, which is no number of commits", alias, name, value)
	}
	return depth, nil
}

// submodules returns which submodules the value of the input asks for.
func submodules(value string) string {
	switch {
	case strings.EqualFold(value, "recursive"):
		return "recursive"
	case vars.Truth(value, false):
		return "true"
	}
	return ""
}

// words splits a list at blanks and line ends, as a command line is split: what is
// in double quotes stays together.
func words(text string) []string {
	var all []string
	var word strings.Builder
	quoted, started := false, false
	for _, r := range text {
		switch {
		case r == '"':
			quoted, started = !quoted, true
		case !quoted && strings.ContainsRune(" \t\r\n", r):
			if started && word.Len() > 0 {
				all = append(all, word.String())
			}
			word.Reset()
			started = false
		default:
			word.WriteRune(r)
			started = true
		}
	}
	if word.Len() > 0 {
		all = append(all, word.String())
	}
	return all
}
