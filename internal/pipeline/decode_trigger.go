package pipeline

// What starts a run is the service's business: these keys are checked and have no
// effect, as everybody expects of a run that a person starts.

// trigger checks root trigger: which pushes start a run.
func (d *decoder) trigger(n *node) {
	o := d.triggerKeys(n)
	if o == nil {
		return
	}
	d.boolean(o.take("batch"), false)
	d.filter(o.take("branches"))
	d.filter(o.take("paths"))
	d.filter(o.take("tags"))
	o.finish()
}

// pullRequest checks root pr: which pull requests do.
func (d *decoder) pullRequest(n *node) {
	o := d.triggerKeys(n)
	if o == nil {
		return
	}
	d.boolean(o.take("autoCancel"), true)
	d.boolean(o.take("drafts"), true)
	d.filter(o.take("branches"))
	d.filter(o.take("paths"))
	o.finish()
}

// triggerKeys checks the short forms: none, one branch, and a list of branches. It
// returns nil unless there are keys left to check.
func (d *decoder) triggerKeys(n *node) *object {
	if !n.isEmpty() && n.kind == mappingNode {
		return d.object(n)
	}
	d.texts(n)
	return nil
}

// filter checks a list of patterns, or two.
func (d *decoder) filter(n *node) {
	if n.isEmpty() || n.kind != mappingNode {
		d.texts(n)
		return
	}
	o := d.object(n)
	d.texts(o.take("include"))
	d.texts(o.take("exclude"))
	o.finish()
}

// schedules checks root schedules: when a run starts by itself.
func (d *decoder) schedules(n *node) {
	for _, item := range d.sequence(n) {
		o := d.object(item)
		if o == nil {
			continue
		}
		if o.take("cron").isEmpty() {
			d.add(item, "There's not enough info to determine what you meant. Add one of these properties: cron")
		}
		o.text("displayName")
		d.filter(o.take("branches"))
		d.boolean(o.take("batch"), false)
		d.boolean(o.take("always"), false)
		o.finish()
	}
}
