package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
)

// Parameter is one declared parameter of a pipeline.
type Parameter struct {
	Name        string
	DisplayName string
	Type        string
	Values      []string // allowed values; empty: any
	Default     string   // text of a scalar default
	Required    bool     // there is no default
}

var parameterTypes = []string{
	"string", "number", "boolean", "object", "step", "stepList", "job", "jobList", "deployment",
	"deploymentList", "stage", "stageList", "container", "containerList", "stringList", "environment",
	"filePath", "pool", "secureFile", "serviceConnection",
}

// strictParameters refuses names that nobody declared.
type strictParameters struct{ *expr.Map }

func (strictParameters) Missing(key string) error {
	return fmt.Errorf("Unexpected parameter '%s': it is not declared under 'parameters'", key) //nolint:staticcheck // worded like the service
}

// parameters reads the declarations and returns what ${{ parameters }} is.
func (d *decoder) parameters(n *node, given map[string]string) ([]Parameter, expr.Value) {
	values := new(expr.Map)
	var declared []Parameter
	if n.isEmpty() {
		n = &node{kind: sequenceNode, pos: position{1, 1}}
	}
	if n.kind == mappingNode { // the older form, name: default
		n = listOfDefaults(n)
	}
	for _, item := range d.items(n) {
		if p, ok := d.parameter(item, given, values); ok {
			declared = append(declared, p)
		}
	}
	for name := range given {
		if !slices.ContainsFunc(declared, func(p Parameter) bool { return strings.EqualFold(p.Name, name) }) {
			d.add(n, "Unexpected parameter '%s'", name)
		}
	}
	return declared, expr.MappingOf(strictParameters{values})
}

func listOfDefaults(n *node) *node {
	list := &node{kind: sequenceNode, pos: n.pos}
	for _, p := range n.pairs {
		list.items = append(list.items, &node{kind: mappingNode, pos: p.key.pos, pairs: []pair{
			{newScalar(p.key.pos, "name"), p.key}, {newScalar(p.key.pos, "default"), p.value},
		}})
	}
	return list
}

func (d *decoder) parameter(n *node, given map[string]string, values *expr.Map) (Parameter, bool) {
	o := d.object(n)
	if o == nil {
		return Parameter{}, false
	}
	name := o.take("name")
	p := Parameter{DisplayName: o.text("displayName"), Type: o.text("type")}
	byDefault := o.take("default")
	for _, value := range d.items(o.take("values")) {
		p.Values = append(p.Values, d.scalar(value))
	}
	o.finish()
	if name.isEmpty() {
		d.add(n, "A name is expected for every parameter")
		return p, false
	}
	p.Name = d.scalar(name)
	if !isParameterName(p.Name) {
		d.add(name, "Parameter names may only contain letters, digits, '_' and '-': '%s'", p.Name)
		return p, false
	}
	if _, again := values.Get(p.Name); again {
		d.add(name, "'%s' is already defined", p.Name)
		return p, false
	}
	if p.Type == "" {
		p.Type = "string"
	}
	if !slices.Contains(parameterTypes, p.Type) {
		d.add(n.get("type"), "Unexpected value '%s'", p.Type)
		return p, false
	}
	if byDefault == nil && len(p.Values) > 0 {
		byDefault = newScalar(n.pos, p.Values[0])
	}
	p.Required = byDefault == nil
	if byDefault != nil && byDefault.kind == scalarNode {
		p.Default = byDefault.text
	}
	d.noTemplates(byDefault)
	chosen := d.chosen(n, p, byDefault, given)
	if chosen == nil {
		values.Set(p.Name, expr.Value{})
		return p, true
	}
	values.Set(p.Name, d.parameterValue(p, chosen))
	return p, true
}

// noTemplates reports template expressions where there is nothing to evaluate them.
func (d *decoder) noTemplates(n *node) {
	if n == nil {
		return
	}
	if strings.Contains(n.text, "${{") {
		d.add(n, "A template expression is not allowed in this context")
	}
	for _, p := range n.pairs {
		d.noTemplates(p.key)
		d.noTemplates(p.value)
	}
	for _, item := range n.items {
		d.noTemplates(item)
	}
}

func isParameterName(name string) bool {
	return name != "" && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// chosen returns the node that holds the value of p: the given one or the default.
func (d *decoder) chosen(n *node, p Parameter, byDefault *node, given map[string]string) *node {
	for name, text := range given {
		if !strings.EqualFold(name, p.Name) {
			continue
		}
		if p.Type != "string" && p.Type != "number" && p.Type != "boolean" {
			quiet := &problems{file: d.file}
			root := read(quiet, []byte(text))
			if len(quiet.found) == 0 {
				return root
			}
			d.add(n, "The value of the parameter '%s' is not YAML: %s", p.Name, quiet.found[0])
			return nil
		}
		return newScalar(n.pos, text)
	}
	if byDefault == nil {
		d.advise(n, fmt.Sprintf("give it with --param %s=VALUE", p.Name), "A value for the '%s' parameter must be provided.", p.Name)
	}
	return byDefault
}

// parameterValue converts chosen to the type of p.
func (d *decoder) parameterValue(p Parameter, chosen *node) expr.Value {
	scalar := slices.Contains([]string{"string", "number", "boolean", "environment", "filePath", "secureFile", "serviceConnection"}, p.Type)
	if !scalar {
		return chosen.value()
	}
	if chosen.kind != scalarNode {
		d.add(chosen, "A %s was not expected", chosen.kind)
		return expr.Value{}
	}
	text := chosen.text
	if len(p.Values) > 0 && !slices.Contains(p.Values, text) {
		d.add(chosen, "The value '%s' is not one of the allowed values of the parameter '%s': %s", text, p.Name, strings.Join(p.Values, ", "))
	}
	switch p.Type {
	case "boolean":
		switch strings.ToLower(text) {
		case "true":
			return expr.Bool(true)
		case "false":
			return expr.Bool(false)
		}
		d.add(chosen, "The '%s' parameter value '%s' is not a valid Boolean.", p.Name, text)
	case "number":
		number, ok := expr.ParseNumber(text)
		if ok && text != "" {
			return number
		}
		d.add(chosen, "The '%s' parameter value '%s' is not a valid number.", p.Name, text)
	}
	return expr.Text(text)
}
