package pipeline

import (
	"cmp"
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
	"filePath", "pool", "secureFile", "serviceConnection", "legacyObject",
}

// strictParameters refuses names that nobody declared.
type strictParameters struct{ *expr.Map }

func (strictParameters) Missing(key string) error {
	return fmt.Errorf("Unexpected parameter '%s': it is not declared under 'parameters'", key) //nolint:staticcheck // worded like the service
}

// given is the value of one parameter: text from a command line, or a node of the file
// that names a template.
type given struct {
	name string
	text string
	node *node
}

// parameters reads the declarations at n and returns what ${{ parameters }} is. at is
// where the values come from.
func (d *decoder) parameters(n, at *node, values []given) ([]Parameter, expr.Value) {
	if n == nil && at != nil { // a template without declarations takes anything
		n = &node{kind: mappingNode, pos: at.pos}
	}
	if n != nil && n.kind == mappingNode {
		return nil, d.legacyParameters(n, values)
	}
	known := new(expr.Map)
	var declared []Parameter
	for _, item := range d.items(n) {
		if p, ok := d.parameter(item, at, values, known); ok {
			declared = append(declared, p)
		}
	}
	for _, v := range values {
		if !slices.ContainsFunc(declared, func(p Parameter) bool { return strings.EqualFold(p.Name, v.name) }) {
			d.add(cmp.Or(v.node, n, at, beginning), "Unexpected parameter '%s'", v.name)
		}
	}
	return declared, expr.MappingOf(strictParameters{known})
}

// beginning is where a mistake is reported that no part of the file is to blame for.
var beginning = &node{pos: position{line: 1, column: 1}}

// legacyParameters reads the older form, name: default. There every scalar is a text,
// and names that are not declared are fine.
func (d *decoder) legacyParameters(n *node, values []given) expr.Value {
	known := new(expr.Map)
	set := func(name string, v *node) {
		if v.kind == scalarNode {
			known.Set(name, expr.Text(v.text))
			return
		}
		known.Set(name, v.value())
	}
	for _, p := range n.pairs {
		d.noTemplates(p.value)
		set(p.key.text, p.value)
	}
	for _, v := range values {
		if v.node == nil {
			v.node = newScalar(n.pos, v.text)
		}
		set(v.name, v.node)
	}
	return expr.MappingOf(known)
}

func (d *decoder) parameter(n, at *node, given []given, values *expr.Map) (Parameter, bool) {
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
	chosen := d.chosen(n, at, p, byDefault, given)
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
func (d *decoder) chosen(n, at *node, p Parameter, byDefault *node, values []given) *node {
	for _, v := range values {
		if !strings.EqualFold(v.name, p.Name) {
			continue
		}
		if v.node != nil {
			return v.node
		}
		if p.Type != "string" && p.Type != "number" && p.Type != "boolean" {
			quiet := &problems{file: d.file}
			root := read(quiet, "", []byte(v.text))
			if len(quiet.found) == 0 {
				return root
			}
			d.add(n, "The value of the parameter '%s' is not YAML: %s", p.Name, quiet.found[0])
			return nil
		}
		return newScalar(n.pos, v.text)
	}
	switch {
	case byDefault != nil:
	case at != nil: // a template: whoever names it must give the value
		d.add(at, "A value for the '%s' parameter must be provided.", p.Name)
	default:
		d.advise(n, fmt.Sprintf("give it with --param %s=VALUE", p.Name), "A value for the '%s' parameter must be provided.", p.Name)
	}
	return byDefault
}

// parameterValue converts chosen to the type of p.
func (d *decoder) parameterValue(p Parameter, chosen *node) expr.Value {
	scalar := slices.Contains([]string{"string", "number", "boolean", "environment", "filePath", "secureFile", "serviceConnection"}, p.Type)
	if !scalar {
		if p.Type == "step" || p.Type == "stepList" {
			chosen = normalSteps(chosen)
		}
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
