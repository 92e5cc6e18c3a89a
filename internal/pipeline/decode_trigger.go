package pipeline

// trigger reads root trigger: which pushes start a run.
func (d *decoder) trigger(n *node) *Trigger {
	t, o := d.triggerShape(n)
	if o == nil {
		return t
	}
	t.Batch = d.boolean(o.take("batch"), false)
	t.Branches, t.Paths, t.Tags = d.filter(o.take("branches")), d.filter(o.take("paths")), d.filter(o.take("tags"))
	o.finish()
	return t
}

// pullRequest reads root pr.
func (d *decoder) pullRequest(n *node) *Trigger {
	t, o := d.triggerShape(n)
	if o == nil {
		return t
	}
	t.AutoCancel = d.boolean(o.take("autoCancel"), true)
	t.Drafts = d.boolean(o.take("drafts"), true)
	t.Branches, t.Paths = d.filter(o.take("branches")), d.filter(o.take("paths"))
	o.finish()
	return t
}

// triggerShape reads the short forms: none, one branch, and a list of branches. The
// object is nil unless there are keys left to read.
func (d *decoder) triggerShape(n *node) (*Trigger, *object) {
	switch {
	case n.isEmpty():
		return nil, nil
	case n.kind == scalarNode && n.text == "none":
		return &Trigger{None: true}, nil
	case n.kind == mappingNode:
		return new(Trigger), d.object(n)
	}
	return &Trigger{Branches: Filter{Include: d.texts(n)}, AutoCancel: true, Drafts: true}, nil
}

func (d *decoder) filter(n *node) Filter {
	if n.isEmpty() || n.kind != mappingNode {
		return Filter{Include: d.texts(n)}
	}
	o := d.object(n)
	f := Filter{Include: d.texts(o.take("include")), Exclude: d.texts(o.take("exclude"))}
	o.finish()
	return f
}

func (d *decoder) schedules(n *node) []Schedule {
	var all []Schedule
	for _, item := range d.sequence(n) {
		o := d.object(item)
		if o == nil {
			continue
		}
		all = append(all, Schedule{
			Cron: o.text("cron"), DisplayName: o.text("displayName"), Branches: d.filter(o.take("branches")),
			Batch: d.boolean(o.take("batch"), false), Always: d.boolean(o.take("always"), false),
		})
		o.finish()
	}
	return all
}
