package pipeline

import (
	"path"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/hint"
)

// Limits of the service on templates.
const (
	maxTemplateFiles = 100
	maxTemplateDepth = 100
)

// templateFile names one file: the alias of its repository and its path there.
type templateFile struct{ repository, path string }

// shown returns the file as messages name it.
func (f templateFile) shown() string {
	if f.repository == "self" {
		return "/" + f.path
	}
	return "/" + f.path + "@" + f.repository
}

// listKey returns the key under which a template for items of r has its list, or "".
func (r role) listKey() string {
	return map[role]string{roleStages: "stages", roleJobs: "jobs", roleSteps: "steps", roleVariables: "variables"}[r]
}

// addItem adds an evaluated item to out; one that names a template is replaced by what
// the template contains.
func (e *expander) addItem(out, item *node, s names, r role) {
	name := item.get("template")
	if name == nil || r.listKey() == "" {
		out.items = append(out.items, item)
		return
	}
	for _, p := range item.pairs {
		if p.key.text != "template" && p.key.text != "parameters" {
			e.add(p.key, "Unexpected value '%s'", p.key.text)
		}
	}
	root, inner := e.include(name, item.get("parameters"), s)
	if root == nil {
		return
	}
	e.depth++
	defer func() { e.depth-- }()
	key := r.listKey()
	foreign := false
	for _, p := range root.pairs {
		if p.key.text != key && p.key.text != "parameters" {
			foreign = true
			e.add(p.key, "Unexpected value '%s': a template named here contains '%s'", p.key.text, key)
		}
	}
	list := root.get(key)
	if foreign {
		return
	}
	if list == nil {
		e.add(root, "There's not enough info to determine what you meant. Add one of these properties: %s", key)
		return
	}
	list = e.node(list, inner, r)
	switch {
	case list.kind == sequenceNode:
		out.items = append(out.items, list.items...)
	case list.kind == mappingNode && r == roleVariables:
		out.items = append(out.items, listOfVariables(list).items...)
	case !list.isEmpty():
		e.add(list, "Expected a sequence")
	}
}

// listOfVariables turns the mapping form into the list form.
func listOfVariables(n *node) *node {
	list := &node{kind: sequenceNode, pos: n.pos}
	for _, p := range n.pairs {
		list.items = append(list.items, &node{kind: mappingNode, pos: p.key.pos, pairs: []pair{
			{newScalar(p.key.pos, "name"), p.key}, {newScalar(p.key.pos, "value"), p.value},
		}})
	}
	return list
}

// extend replaces extends by what its template contains, as often as templates extend
// another.
func (e *expander) extend(root *node, s names) *node {
	for {
		extends := root.get("extends")
		if extends == nil || extends.kind != mappingNode || extends.get("template") == nil {
			return root
		}
		for _, p := range extends.pairs {
			if p.key.text != "template" && p.key.text != "parameters" {
				e.add(p.key, "Unexpected value '%s'", p.key.text)
			}
		}
		template, inner := e.include(extends.get("template"), extends.get("parameters"), s)
		if template == nil {
			return root
		}
		e.depth++
		rest := &node{kind: mappingNode, pos: root.pos}
		for _, p := range root.pairs {
			if p.key.text != "extends" {
				rest.pairs = append(rest.pairs, p)
			}
		}
		for _, p := range e.mapping(template, inner, roleRoot).pairs {
			if p.key.text != "parameters" {
				e.insert(rest, p)
			}
		}
		root, s = rest, inner
	}
}

// include reads the template that name names and returns its root, not yet evaluated,
// with the names its expressions see. The root is nil after a mistake.
func (e *expander) include(name, parameters *node, s names) (*node, names) {
	if name.kind != scalarNode {
		e.add(name, "A %s was not expected", name.kind)
		return nil, s
	}
	if e.depth == maxTemplateDepth {
		e.add(name, "Maximum template nesting of %d exceeded", maxTemplateDepth)
		return nil, s
	}
	file, ok := e.resolve(name, s.file)
	if !ok {
		return nil, s
	}
	root := e.read(name, file)
	if root == nil {
		return nil, s
	}
	d := &decoder{problems: e.problems}
	var values []given
	if !parameters.isEmpty() {
		if parameters.kind != mappingNode {
			e.add(parameters, "Expected a mapping")
			return nil, s
		}
		for _, p := range parameters.pairs {
			values = append(values, given{name: p.key.text, node: p.value})
		}
	}
	before := len(e.found)
	_, value := d.parameters(root.get("parameters"), name, values)
	if len(e.found) > before {
		return nil, s
	}
	return root, names{map[string]expr.Value{"parameters": value}, s.variables, file}
}

// resolve returns the file that a reference in from names.
func (e *expander) resolve(name *node, from templateFile) (templateFile, bool) {
	text := strings.ReplaceAll(strings.TrimSpace(name.text), `\`, "/")
	file := templateFile{repository: from.repository}
	if at := strings.LastIndexByte(text, '@'); at >= 0 {
		file.repository = strings.ToLower(text[at+1:])
		text = text[:at]
		from.path = "" // a path of another repository begins at its root
	}
	if !strings.HasPrefix(text, "/") {
		text = path.Join(path.Dir(from.path), text)
	}
	file.path = path.Clean(strings.TrimLeft(text, "/"))
	if file.path == "." || file.path == ".." || strings.HasPrefix(file.path, "../") {
		e.add(name, "The template '%s' is outside of its repository", name.text)
		return file, false
	}
	return file, true
}

// read returns the root of a template, which it reads once.
func (e *expander) read(name *node, file templateFile) *node {
	if root, ok := e.files[file]; ok {
		return root
	}
	e.files[file] = nil // a mistake in it is reported once
	if len(e.files) > maxTemplateFiles {
		e.add(name, "The maximum number of %d template files was exceeded", maxTemplateFiles)
		return nil
	}
	if e.open == nil {
		e.add(name, "The template '%s' cannot be read here", name.text)
		return nil
	}
	content, err := e.open(file.repository, file.path)
	if err != nil {
		e.advise(name, strings.Join(hint.All(err), "; "), "File %s cannot be read: %s", file.shown(), err)
		return nil
	}
	root := read(e.problems, file.shown(), content)
	if root != nil && root.kind != mappingNode {
		e.add(root, "Expected a mapping")
		return nil
	}
	e.files[file] = root
	return root
}
