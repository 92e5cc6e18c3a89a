package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
)

// maxEvents bounds how many nodes one expansion makes, as on the service.
const maxEvents = 1_000_000

// role tells what a node is in the pipeline, as far as that changes what its
// expressions see: variables of a stage or job are known to the rest of it.
type role uint8

const (
	roleOther role = iota
	roleRoot
	roleStages // the list
	roleStage
	roleJobs
	roleJob
	roleVariables
	roleVariable // one item of the list form
	roleSteps
	roleStep
	roleVerbatim // never evaluated
)

// child returns the role of the value of key.
func (r role) child(key string) role {
	switch {
	case (r == roleRoot || r == roleStage || r == roleJob) && key == "variables":
		return roleVariables
	case r == roleRoot && key == "stages":
		return roleStages
	case (r == roleRoot || r == roleStage) && key == "jobs":
		return roleJobs
	case (r == roleRoot || r == roleJob) && key == "steps":
		return roleSteps
	case r == roleRoot && slices.Contains([]string{"trigger", "pr", "schedules", "parameters"}, key):
		return roleVerbatim
	}
	return roleOther
}

// item returns the role of an item of a list.
func (r role) item() role {
	switch r {
	case roleStages:
		return roleStage
	case roleJobs:
		return roleJob
	case roleVariables:
		return roleVariable
	case roleSteps:
		return roleStep
	case roleVerbatim:
		return roleVerbatim
	}
	return roleOther
}

// expander evaluates the template expressions of a file. It is used by one goroutine.
type expander struct {
	*problems
	open   func(repository, name string) ([]byte, error)
	files  map[templateFile]*node
	depth  int // of templates that include templates
	events int
	bytes  int  // of the texts made so far
	full   bool // a limit was reached and reported
}

// names are what expressions see at one place of the file.
type names struct {
	values    map[string]expr.Value // parameters, resources, loop variables
	variables *expr.Map
	file      templateFile // the file that the place is in
}

func (s names) with(name string, value expr.Value) names {
	values := map[string]expr.Value{name: value}
	for other, value := range s.values {
		if !strings.EqualFold(other, name) {
			values[other] = value
		}
	}
	return names{values, s.variables, s.file}
}

// nested returns names whose variables may change without the outer ones noticing.
func (s names) nested() names {
	variables := new(expr.Map)
	for name, value := range s.variables.All() {
		variables.Set(name, value)
	}
	return names{s.values, variables, s.file}
}

// errTooMuch ends an expansion that has grown out of bounds.
var errTooMuch = errors.New("Maximum events exceeded while evaluating the template. This may indicate an infinite loop or too many nested loops.") //nolint:staticcheck // the service's own sentence

// node returns n with everything evaluated. Mistakes are reported and leave an empty
// scalar behind.
func (e *expander) node(n *node, s names, r role) *node {
	if !e.spend(n) {
		return newScalar(n.pos, "")
	}
	switch n.kind {
	case mappingNode:
		return e.mapping(n, s, r)
	case sequenceNode:
		return e.sequence(n, s, r)
	case scalarNode:
	}
	if r == roleVerbatim {
		return n
	}
	value, ok := e.scalar(n, s)
	if !ok {
		return newScalar(n.pos, "")
	}
	if r == roleVariables {
		s.defineAll(value)
	}
	return value
}

// spend counts one event and reports false once there were too many, of events or of
// mistakes.
func (e *expander) spend(n *node) bool { return e.charge(n, 1, 0) }

// charge counts what the expansion makes at n and reports false once it is too much.
func (e *expander) charge(n *node, events, bytes int) bool {
	e.events, e.bytes = e.events+events, e.bytes+bytes
	switch {
	case e.full:
	case e.events >= maxEvents:
		e.full = true
		e.add(n, "%s", errTooMuch)
	case e.bytes > maxFileBytes:
		e.full = true
		e.add(n, "Maximum object size exceeded")
	}
	return !e.full && len(e.found) < maxProblems
}

// chargeValue counts the nodes that an expression at n became.
func (e *expander) chargeValue(n, value *node) bool {
	for _, p := range value.pairs {
		if !e.chargeValue(n, p.key) || !e.chargeValue(n, p.value) {
			return false
		}
	}
	for _, item := range value.items {
		if !e.chargeValue(n, item) {
			return false
		}
	}
	return e.charge(n, 1, len(value.text))
}

// scalar evaluates a scalar. A scalar that is one expression becomes what it evaluates
// to; ok is false after a mistake.
func (e *expander) scalar(n *node, s names) (result *node, ok bool) {
	if !strings.Contains(n.text, "${{") {
		return n, true
	}
	parts, err := splitTemplate(n.text)
	if err != nil {
		e.add(n, "%s", err)
		return nil, false
	}
	var text strings.Builder
	for _, part := range parts {
		if !part.expression {
			text.WriteString(part.text)
			continue
		}
		if d, _ := directiveOf(part.text); d.word != "" {
			e.misplaced(n, d.word, len(parts) > 1)
			return nil, false
		}
		value, ok := e.eval(n, part.text, s)
		if !ok {
			return nil, false
		}
		if len(parts) == 1 {
			if value.IsNull() {
				return &node{pos: n.pos, plain: true}, true
			}
			made := fromValue(value, n.pos)
			return made, e.chargeValue(n, made)
		}
		piece, ok := value.Text()
		if !ok {
			e.add(n, "Unable to convert from %s to String. Value: %s", value.Kind(), value)
			return nil, false
		}
		if !e.charge(n, 0, len(piece)) {
			return nil, false
		}
		text.WriteString(piece)
	}
	return newScalar(n.pos, text.String()), true
}

func (e *expander) misplaced(n *node, word string, embedded bool) {
	if embedded {
		e.add(n, "The directive '%s' is not allowed in this context. Directives are not supported for expressions that are embedded within a string. Directives are only supported when the entire value is an expression.", word)
		return
	}
	e.add(n, "The expression directive '%s' is not supported in this context", word)
}

// eval evaluates one expression found at n; ok is false after a mistake.
func (e *expander) eval(n *node, text string, s names) (expr.Value, bool) {
	scope := expr.Scope{Values: []string{"variables"}}
	env := expr.Env{Values: map[string]expr.Value{"variables": expr.MappingOf(s.variables)}, MaxBytes: maxFileBytes}
	for name, value := range s.values {
		scope.Values = append(scope.Values, name)
		env.Values[name] = value
	}
	parsed, err := expr.Parse(text, scope)
	var value expr.Value
	if err == nil {
		value, err = parsed.Eval(env)
	}
	if err != nil {
		e.add(n, "%s", err)
	}
	return value, err == nil
}

// key evaluates the key of a pair.
func (e *expander) key(n *node, s names) (*node, bool) {
	key, ok := e.scalar(n, s)
	if !ok {
		return nil, false
	}
	if key.kind != scalarNode {
		e.add(n, "A %s was not expected", key.kind)
		return nil, false
	}
	return key, true
}

// directive returns the directive that a key is, with word "" when it is none.
func (e *expander) directive(n *node) (d directive, ok bool) {
	if !strings.Contains(n.text, "${{") {
		return d, true
	}
	parts, err := splitTemplate(strings.TrimSpace(n.text))
	if err != nil || len(parts) != 1 || !parts[0].expression {
		return d, true // reported when the key is evaluated
	}
	if d, err = directiveOf(parts[0].text); err != nil {
		e.add(n, "%s", err)
		return directive{}, false
	}
	return d, true
}

// checkSyntax looks at the expressions of a branch that is not taken. Names are not
// checked there: they may exist only when the branch is taken.
func (e *expander) checkSyntax(n *node) {
	for _, p := range n.pairs {
		e.checkScalar(p.key, true)
		e.checkSyntax(p.value)
	}
	for _, item := range n.items {
		e.checkSyntax(item)
	}
	e.checkScalar(n, false)
}

func (e *expander) checkScalar(n *node, isKey bool) {
	if n.kind != scalarNode || !strings.Contains(n.text, "${{") {
		return
	}
	parts, err := splitTemplate(n.text)
	if err != nil {
		e.add(n, "%s", err)
		return
	}
	for _, part := range parts {
		if !part.expression {
			continue
		}
		d, err := directiveOf(part.text)
		switch {
		case err != nil:
		case d.word != "" && (!isKey || len(parts) > 1):
			e.misplaced(n, d.word, len(parts) > 1)
		default:
			err = checkExpression(part.text)
		}
		if err != nil {
			e.add(n, "%s", err)
		}
	}
}

func checkExpression(text string) error {
	d, err := directiveOf(text)
	if err != nil {
		return err
	}
	if d.word != "" {
		text = d.text
	}
	if d.word == "else" || d.word == "insert" {
		return nil
	}
	if _, err := expr.Parse(text, expr.Scope{AnyName: true}); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}
