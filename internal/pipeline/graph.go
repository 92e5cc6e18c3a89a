package pipeline

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// graph checks names and dependencies of stages and jobs.
func (d *decoder) graph(p *Pipeline) {
	if !p.implicit {
		var vertices []vertex
		for _, s := range p.Stages {
			vertices = append(vertices, vertex{s.Name, s.DependsOn, s.at})
		}
		d.acyclic(vertices, "stage", "")
	}
	for _, s := range p.Stages {
		var vertices []vertex
		for _, def := range s.Jobs {
			vertices = append(vertices, vertex{def.Name, def.DependsOn, def.at})
		}
		prefix := ""
		if !p.implicit {
			prefix = "Stage " + s.Name + " "
		}
		d.acyclic(vertices, "job", prefix)
	}
}

// vertex is a stage or job of a dependency graph.
type vertex struct {
	name    string
	depends []string
	at      *node
}

// acyclic reports bad names, unknown dependencies and cycles.
func (d *decoder) acyclic(all []vertex, what, prefix string) {
	title := strings.ToUpper(what[:1]) + what[1:]
	subject := func(name string) string {
		if prefix != "" {
			return prefix + what + " " + name
		}
		return title + " " + name
	}
	roots := 0
	index := make(map[string]vertex)
	for _, v := range all {
		if !isName(v.name) {
			d.add(v.at, "%s has an invalid name. Valid names may only contain alphanumeric characters and '_' and may not start with a number.", subject(v.name))
		}
		if _, again := index[strings.ToLower(v.name)]; again {
			if what == "stage" {
				d.add(v.at, "The stage name %s appears more than once. Stage names must be unique within a pipeline.", v.name)
			} else {
				d.add(v.at, "%s appears more than once. Job names must be unique within a stage.", subject(v.name))
			}
		}
		index[strings.ToLower(v.name)] = v
		if len(v.depends) == 0 {
			roots++
		}
	}
	unknown := false
	for _, v := range all {
		for _, name := range v.depends {
			if _, ok := index[strings.ToLower(name)]; !ok {
				if unknown = true; len(d.found) == maxProblems {
					return
				}
				d.advise(v.at, didYouMean(near(name, slices.Collect(maps.Keys(index)))), "%s depends on unknown %s %s.", subject(v.name), what, name)
			}
		}
	}
	if unknown || len(all) == 0 {
		return
	}
	if roots == 0 {
		text := fmt.Sprintf("%smust contain at least one job with no dependencies.", prefix)
		if prefix == "" {
			text = fmt.Sprintf("The pipeline must contain at least one %s with no dependencies.", what)
		}
		d.add(all[0].at, "%s", text)
		return
	}
	d.cycles(all, index, what, subject)
}

// cycles reports the first dependency that closes a cycle.
func (d *decoder) cycles(all []vertex, index map[string]vertex, what string, subject func(string) string) {
	const visiting, done = 1, 2
	state := make(map[string]int)
	var visit func(v vertex) bool
	visit = func(v vertex) bool {
		key := strings.ToLower(v.name)
		state[key] = visiting
		for _, name := range v.depends {
			next := strings.ToLower(name)
			if state[next] == visiting {
				d.add(v.at, "%s depends on %s %s which creates a cycle in the dependency graph.", subject(v.name), what, name)
				return false
			}
			if state[next] == 0 && !visit(index[next]) {
				return false
			}
		}
		state[key] = done
		return true
	}
	for _, v := range all {
		if state[strings.ToLower(v.name)] == 0 && !visit(v) {
			return
		}
	}
}

// isName reports whether text is a legal name of a stage, job or step.
func isName(text string) bool {
	for i, r := range text {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return text != ""
}
