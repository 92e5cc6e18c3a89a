package pipeline

import (
	"slices"
	"strings"
)

// forms are the keys of which exactly one decides what a file contains.
var forms = []string{"stages", "extends", "jobs", "steps", "phases"}

// root reads the whole file.
func (d *decoder) root(n *node) *Pipeline {
	o := d.object(n)
	if o == nil {
		return nil
	}
	form := d.form(o)
	p := &Pipeline{Name: o.text("name"), containers: d.containers, repos: d.repos}
	o.accept("parameters")
	o.idleBool("appendCommitMessageToRunName", "the run has the name that 'name' gives it", true)
	o.idleChoice("lockBehavior", noLocks, "sequential", "runLatest")
	d.trigger(o.take("trigger"))
	d.pullRequest(o.take("pr"))
	d.schedules(o.take("schedules"))
	d.resources(o.take("resources"))
	p.variables = d.variables(o.take("variables"))
	pool := o.take("pool")
	switch form {
	case "stages":
		for _, item := range d.sequence(o.take("stages")) {
			if stage := d.stage(item, pool); stage != nil {
				p.Stages = append(p.Stages, stage)
			}
		}
		d.nameStages(p.Stages)
	case "jobs":
		p.implicit = true
		stage := &Stage{Name: DefaultName, DisplayName: DefaultName, at: n}
		stage.Jobs = d.jobs(o.take("jobs"), pool)
		if len(stage.Jobs) == 0 && len(d.found) == 0 {
			d.add(o.n.get("jobs"), "At least one job is expected")
		}
		p.Stages = []*Stage{stage}
	case "steps":
		p.implicit = true
		p.Stages = []*Stage{{Name: DefaultName, DisplayName: DefaultName, at: n, Jobs: d.onlyJob(o, pool)}}
	case "extends", "phases":
		o.refuse(form)
	}
	o.finish()
	return p
}

func (d *decoder) form(o *object) string {
	var present []string
	for _, p := range o.n.pairs {
		if slices.Contains(forms, p.key.text) {
			present = append(present, p.key.text)
		}
	}
	o.accept(present...)
	switch len(present) {
	case 0:
		d.add(o.n, "There's not enough info to determine what you meant. Add one of these properties: %s", strings.Join(forms, ", "))
		return ""
	case 1:
		return present[0]
	}
	d.add(o.key(present[1]), "'%s' cannot be combined with '%s'", present[1], present[0])
	return present[0]
}

// onlyJob reads the job keys that a file of steps has at its root.
func (d *decoder) onlyJob(o *object, pool *node) []*Definition {
	def := &Definition{Name: "Job", DisplayName: "Job", at: o.n}
	def.continueOnError = d.lateBool(o.take("continueOnError"))
	d.jobBody(def, o, pool)
	return []*Definition{def}
}

// Why keys have no effect.
const (
	noLocks   = "there are no environments to lock"
	noContext = "nothing reads it once the templates are expanded"
	noStarts  = "nothing but a person starts a run"
)

func (d *decoder) stage(n *node, pool *node) *Stage {
	if n.get("template") != nil {
		d.add(n, "'template' is not supported yet")
		return nil
	}
	o := d.object(n)
	if o == nil {
		return nil
	}
	if n.get("stage") == nil {
		d.add(n, "There's not enough info to determine what you meant. Add one of these properties: stage, template")
		return nil
	}
	s := &Stage{Name: o.text("stage"), DisplayName: o.text("displayName"), at: n}
	s.Condition = d.graphCondition(o.take("condition"))
	depends := o.take("dependsOn")
	s.DependsOn = d.texts(depends)
	if depends != nil && s.DependsOn == nil {
		s.DependsOn = []string{} // not the previous stage
	}
	s.variables = d.variables(o.take("variables"))
	switch trigger := o.text("trigger"); trigger {
	case "manual":
		s.Manual = true
	case "", "automatic":
	default:
		d.add(n.get("trigger"), "Unexpected value '%s'", trigger)
	}
	if s.Manual {
		d.warn(o.key("trigger"), "the stage '%s' runs only when it is asked for by name", s.Name)
	}
	o.idleBool("isSkippable", "whoever starts the run chooses its stages", false)
	o.idleChoice("lockBehavior", noLocks, "sequential", "runLatest")
	o.idle("templateContext", noContext)
	o.idle("group", "stages are shown one by one")
	if own := o.take("pool"); own != nil {
		pool = own
	}
	s.Jobs = d.jobs(o.take("jobs"), pool)
	o.finish()
	return s
}

// nameStages gives unnamed stages their names and every stage without dependsOn its
// predecessor.
func (d *decoder) nameStages(stages []*Stage) {
	names := make([]string, len(stages))
	for i, s := range stages {
		names[i] = s.Name
	}
	number(names, "Stage")
	for i, s := range stages {
		s.Name = names[i]
		if s.DisplayName == "" {
			s.DisplayName = s.Name
		}
		if s.DependsOn == nil && i > 0 {
			s.DependsOn = []string{stages[i-1].Name}
		}
	}
	if len(stages) == 0 {
		d.add(&node{pos: position{line: 1, column: 1}}, "At least one stage is expected")
	}
}

// number fills empty names with prefix1, prefix2, … skipping those that are taken.
func number(names []string, prefix string) {
	next := 1
	for i, name := range names {
		for name == "" {
			candidate := prefix + itoa(next)
			next++
			if !slices.ContainsFunc(names, func(other string) bool { return strings.EqualFold(other, candidate) }) {
				name = candidate
			}
		}
		names[i] = name
	}
}
