package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// decoder reads the expanded nodes into the model. Nothing it meets is ignored: what it
// does not know it reports.
type decoder struct {
	*problems
	given      Options
	containers map[string]*container // resources.containers by folded alias
	repos      map[string]*repository
}

// object reads the keys of one mapping. Keys that were not taken when it finishes are
// unknown.
type object struct {
	d     *decoder
	n     *node
	taken map[string]bool
}

// object returns n as an object, or nil after reporting that it is none.
func (d *decoder) object(n *node) *object {
	if n == nil || n.kind != mappingNode {
		if n != nil {
			d.add(n, "Expected a mapping")
		}
		return nil
	}
	return &object{d, n, make(map[string]bool)}
}

// take returns the value of key, or nil when there is none.
func (o *object) take(key string) *node {
	o.taken[key] = true
	return o.n.get(key)
}

func (o *object) text(key string) string { return o.d.scalar(o.take(key)) }

// refuse reports keys that are part of the language and not of this program.
func (o *object) refuse(keys ...string) {
	for _, key := range keys {
		if o.take(key) != nil {
			o.d.add(o.key(key), "'%s' is not supported yet", key)
		}
	}
}

// accept takes keys that were read before.
func (o *object) accept(keys ...string) {
	for _, key := range keys {
		o.taken[key] = true
	}
}

// idle takes a key that changes nothing outside the service, and warns when it is there.
// why says what does not happen.
func (o *object) idle(key, why string) {
	if o.take(key) != nil {
		o.d.warn(o.key(key), "'%s' has no effect here: %s", key, why)
	}
}

// idleChoice is idle for a key with few values, which are checked.
func (o *object) idleChoice(key, why string, values ...string) {
	if text := o.d.scalar(o.n.get(key)); text != "" && !slices.Contains(values, text) {
		o.d.add(o.n.get(key), "Unexpected value '%s'", text)
	}
	o.idle(key, why)
}

// idleBool is idle for a boolean, of which only the value active does something on the
// service.
func (o *object) idleBool(key, why string, active bool) {
	if n := o.take(key); o.d.boolean(n, !active) == active {
		o.idle(key, why)
	}
}

// key returns the node of a key, for messages about it.
func (o *object) key(name string) *node {
	for _, p := range o.n.pairs {
		if p.key.text == name {
			return p.key
		}
	}
	return o.n
}

// finish reports every key that nobody took.
func (o *object) finish() {
	for _, p := range o.n.pairs {
		if o.taken[p.key.text] {
			continue
		}
		advice := ""
		for known := range o.taken {
			if strings.EqualFold(known, p.key.text) {
				advice = fmt.Sprintf("write '%s': keys have exactly this case", known)
			}
		}
		o.d.advise(p.key, advice, "Unexpected value '%s'", p.key.text)
	}
}

// scalar returns the text of n, and "" for an absent one.
func (d *decoder) scalar(n *node) string {
	switch {
	case n == nil:
		return ""
	case n.kind != scalarNode:
		d.add(n, "A %s was not expected", n.kind)
		return ""
	}
	return n.text
}

// items returns the items of a sequence; a scalar that is not empty is a list of one.
func (d *decoder) items(n *node) []*node {
	switch {
	case n.isEmpty():
		return nil
	case n.kind == sequenceNode:
		return n.items
	case n.kind == scalarNode:
		return []*node{n}
	}
	d.add(n, "Expected a sequence")
	return nil
}

// sequence is items without the list of one.
func (d *decoder) sequence(n *node) []*node {
	if n.isEmpty() || n.kind == sequenceNode {
		return d.items(n)
	}
	d.add(n, "Expected a sequence")
	return nil
}

func (d *decoder) texts(n *node) []string {
	var texts []string
	for _, item := range d.items(n) {
		texts = append(texts, d.scalar(item))
	}
	return texts
}

// textMap reads a mapping of texts; the order of its keys is not kept.
func (d *decoder) textMap(n *node) map[string]string {
	if n.isEmpty() {
		return nil
	}
	if n.kind != mappingNode {
		d.add(n, "Expected a mapping")
		return nil
	}
	texts := make(map[string]string, len(n.pairs))
	for _, p := range n.pairs {
		texts[p.key.text] = d.scalar(p.value)
	}
	return texts
}

// parseBool reads a boolean as the service's schema does.
func parseBool(text string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true", "y", "yes", "on":
		return true, true
	case "false", "n", "no", "off":
		return false, true
	}
	return false, false
}

func (d *decoder) boolean(n *node, byDefault bool) bool {
	if n.isEmpty() {
		return byDefault
	}
	value, ok := parseBool(d.scalar(n))
	if !ok && n.kind == scalarNode {
		d.add(n, "Unexpected value '%s'", n.text)
	}
	return value
}

// deferred is a field that may hold $[ ] or $( ) and is read when the job starts. Its
// zero value is absent.
type deferred struct{ n *node }

func (f deferred) text() string {
	if f.n == nil {
		return ""
	}
	return f.n.text
}

// isLate reports whether the text is known only when the job starts.
func isLate(text string) bool {
	return strings.HasPrefix(strings.TrimSpace(text), "$[") || strings.Contains(text, "$(")
}

// lateBool checks n as far as it is known now.
func (d *decoder) lateBool(n *node) deferred {
	if n != nil && !isLate(n.text) {
		d.boolean(n, false)
	}
	return deferred{n}
}

func (d *decoder) lateInt(n *node) deferred {
	if !n.isEmpty() && !isLate(n.text) {
		d.integer(n)
	}
	return deferred{n}
}

func (d *decoder) integer(n *node) int {
	if n.isEmpty() {
		return 0
	}
	value, err := strconv.Atoi(strings.TrimSpace(d.scalar(n)))
	if err != nil || value < 0 {
		d.add(n, "Unexpected value '%s'", n.text)
	}
	return max(0, value)
}
