package imagebuild

import (
	"fmt"
	"strings"
)

// Notes are what a reader of the build's log should know about its caches, one
// sentence each, without a full stop. A failed export is not among them.
func (r *Result) Notes() []string {
	var out []string
	if e := r.Export; e != nil {
		switch {
		case e.Skipped != "":
			out = append(out, "The build cache was not exported: "+e.Skipped)
		case e.Background:
			out = append(out, "The build cache goes to "+e.Ref+" behind the build")
		case e.Err == nil:
			out = append(out, fmt.Sprintf("Wrote the build cache %s in %.1f s", e.Ref, e.Duration.Seconds()))
		}
	}
	if n := cacheMounts(r.Steps); n > 0 && (r.Export != nil || len(r.Imports) > 0) {
		out = append(out, fmt.Sprintf("%s, which stay on the builder %s and are not part of the registry cache", plural(n, "step uses", "steps use")+" cache mounts", r.Node))
	}
	return out
}

// cacheMounts counts the steps that ran with RUN --mount=type=cache. Their names
// are the instructions as they were written, flags included.
func cacheMounts(steps []Step) (n int) {
	for _, s := range steps {
		if s.Ran && mountsCache(s.Name) {
			n++
		}
	}
	return n
}

func mountsCache(name string) bool {
	_, instruction, _ := strings.Cut(name, "] ")
	words := strings.Fields(instruction)
	if len(words) == 0 || !strings.EqualFold(words[0], "RUN") {
		return false
	}
	for _, word := range words[1:] {
		if !strings.HasPrefix(word, "--") {
			return false
		}
		settings, ok := strings.CutPrefix(word, "--mount=")
		if !ok {
			continue
		}
		for setting := range strings.SplitSeq(strings.Trim(settings, `"'`), ",") {
			if strings.EqualFold(strings.Trim(setting, `"' `), "type=cache") {
				return true
			}
		}
	}
	return false
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
