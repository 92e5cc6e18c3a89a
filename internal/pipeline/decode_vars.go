package pipeline

import (
	"maps"
	"slices"

	"github.com/dockless-ci/dockless/internal/job"
)

// variables reads a block of variables, in mapping or list form.
func (d *decoder) variables(n *node) []variable {
	if n.isEmpty() {
		return nil
	}
	var all []variable
	switch n.kind {
	case mappingNode:
		for _, p := range n.pairs {
			all = append(all, variable{name: p.key.text, value: d.scalar(p.value), locked: true, at: p.value})
		}
	case sequenceNode:
		for _, item := range n.items {
			all = append(all, d.variableItem(item)...)
		}
	case scalarNode:
		d.add(n, "Expected a mapping or a sequence")
	}
	for _, v := range all {
		if v.locked {
			d.checkRuntime(v.at)
			if _, ok := job.Lookup(d.given.Variables, v.name); ok {
				d.warn(v.at, "the variable '%s' is declared in the file and cannot be set when the run starts", v.name)
			}
		}
	}
	return all
}

func (d *decoder) variableItem(n *node) []variable {
	o := d.object(n)
	if o == nil {
		return nil
	}
	defer o.finish()
	o.refuse("template")
	if n.get("template") != nil {
		o.accept("parameters")
		return nil
	}
	if group := o.take("group"); group != nil {
		return d.group(group)
	}
	name := o.take("name")
	if name.isEmpty() {
		d.add(n, "There's not enough info to determine what you meant. Add one of these properties: name, group, template")
		return nil
	}
	value := o.take("value")
	v := variable{name: d.scalar(name), value: d.scalar(value), locked: true, at: value}
	v.flags.IsReadOnly = d.boolean(o.take("readonly"), false)
	if v.at == nil {
		v.at = name
	}
	return []variable{v}
}

// group returns the variables of a group, which only the caller of Load knows.
func (d *decoder) group(n *node) []variable {
	name := d.scalar(n)
	group, ok := job.Lookup(d.given.Groups, name)
	if !ok {
		d.warn(n, "the variable group '%s' is unknown here: its variables are not set", name)
	}
	var all []variable
	for _, key := range slices.Sorted(maps.Keys(group)) {
		all = append(all, variable{name: key, value: group[key].Value, flags: group[key], at: n})
	}
	return all
}
