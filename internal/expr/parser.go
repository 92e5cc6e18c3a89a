package expr

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// Limits of the service.
const (
	maxDepth  = 50    // nested functions and indexers
	maxLength = 21000 // UTF-16 units of one expression
)

// ParseError says what is wrong with the text of an expression and where.
type ParseError struct {
	Problem    string // for example "Unexpected symbol"
	Token      string // the offending word; empty when the whole text is the problem
	Position   int    // 1-based place of Token in UTF-16 units
	Expression string
}

// Error returns the message in the service's own form.
func (e *ParseError) Error() string {
	if e.Token == "" {
		return e.Problem
	}
	return fmt.Sprintf("%s: '%s'. Located at position %d within expression: %s.", e.Problem, e.Token, e.Position, e.Expression)
}

// Signature describes a function that a [Scope] offers beside the general ones.
type Signature struct {
	Name     string
	Min, Max int // number of arguments
}

// Scope says which names an expression may use. Names ignore case.
type Scope struct {
	Values    []string
	Functions []Signature
	// AnyName accepts unknown names and functions, which then fail only when they
	// are evaluated.
	AnyName bool
}

// Expr is a parsed expression.
type Expr struct {
	root node
	text string
}

// Parse parses text for scope. An error is a *[ParseError].
func Parse(text string, scope Scope) (*Expr, error) {
	if len(utf16.Encode([]rune(text))) > maxLength {
		return nil, &ParseError{Problem: fmt.Sprintf("Exceeded max expression length %d", maxLength)}
	}
	p := &parser{scope: scope, text: text, lexer: lexer{source: []rune(text)}}
	p.advance()
	if p.token.kind == tokenEnd {
		return nil, &ParseError{Problem: "An expression was expected"}
	}
	root, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.token.kind != tokenEnd {
		return nil, p.unexpected()
	}
	return &Expr{root, text}, nil
}

// String returns the text the expression was parsed from.
func (e *Expr) String() string { return e.text }

type parser struct {
	scope Scope
	text  string
	lexer lexer
	token token
	depth int
}

func (p *parser) advance() token {
	before := p.token
	p.token = p.lexer.next()
	return before
}

func (p *parser) fail(problem string, at token) error {
	return &ParseError{Problem: problem, Token: at.text, Position: at.position, Expression: p.text}
}

// unexpected complains about the current token.
func (p *parser) unexpected() error {
	if p.token.kind == tokenUnrecognized {
		return p.fail("Unrecognized value", p.token)
	}
	return p.fail("Unexpected symbol", p.token)
}

// expression parses a literal, a reference or a call with everything accessed on it.
func (p *parser) expression() (node, error) {
	switch p.token.kind {
	case tokenLiteral:
		return &literal{p.advance().value}, nil
	case tokenName:
		root, err := p.reference()
		if err != nil {
			return nil, err
		}
		return p.accesses(root)
	case tokenEnd, tokenSymbol, tokenUnrecognized:
	}
	return nil, p.unexpected()
}

func (p *parser) reference() (node, error) {
	name := p.advance()
	if signature, builtin, ok := p.function(name.text); ok {
		if !p.token.is("(") {
			return nil, p.fail("Expected '(' to follow a function", name)
		}
		return p.call(name, signature, builtin)
	}
	for _, value := range p.scope.Values {
		if strings.EqualFold(value, name.text) {
			return &named{name.text}, nil
		}
	}
	switch {
	case name.text == "null": // not a name: a literal the language does not have
		return nil, p.fail("Unrecognized value", name)
	case !p.scope.AnyName && p.token.is("("):
		return nil, p.fail("Unrecognized function", name)
	case !p.scope.AnyName:
		return nil, p.fail("Unrecognized named-value", name)
	case p.token.is("("):
		return p.call(name, Signature{name.text, 0, maxArguments}, nil)
	}
	return &named{name.text}, nil
}

func (p *parser) function(name string) (Signature, *builtin, bool) {
	for _, s := range p.scope.Functions {
		if strings.EqualFold(s.Name, name) {
			return s, nil, true
		}
	}
	if b, ok := builtins[strings.ToLower(name)]; ok {
		return b.Signature, b, true
	}
	return Signature{}, nil, false
}

func (p *parser) call(name token, signature Signature, builtin *builtin) (node, error) {
	if err := p.enter(name); err != nil {
		return nil, err
	}
	defer p.leave()
	p.advance() // (
	c := &call{name: signature.Name, builtin: builtin}
	for !p.token.is(")") {
		if p.token.kind == tokenEnd {
			return nil, p.fail("Unclosed function", name)
		}
		if len(c.args) == signature.Max {
			return nil, p.unexpected()
		}
		arg, err := p.argument(name)
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		if !p.token.is(",") {
			continue
		}
		if len(c.args) == signature.Max {
			return nil, p.unexpected()
		}
		p.advance()
		if p.token.is(")") {
			return nil, p.unexpected()
		}
	}
	if len(c.args) < signature.Min {
		return nil, p.unexpected()
	}
	p.advance()
	return c, nil
}

// argument parses one argument and insists that a comma, a closing parenthesis or the
// end follows it.
func (p *parser) argument(function token) (node, error) {
	arg, err := p.expression()
	switch {
	case err != nil:
		return nil, err
	case p.token.kind == tokenEnd:
		return nil, p.fail("Unclosed function", function)
	case !p.token.is(",") && !p.token.is(")"):
		return nil, p.unexpected()
	}
	return arg, nil
}

// accesses parses any number of .name, .*, [index] and [*] that follow target.
func (p *parser) accesses(target node) (node, error) {
	for {
		var index node
		var err error
		switch {
		case p.token.is("."):
			index, err = p.property()
		case p.token.is("["):
			index, err = p.indexer()
		default:
			return target, nil
		}
		if err != nil {
			return nil, err
		}
		target = &access{target, index}
	}
}

func (p *parser) property() (node, error) {
	dot := p.advance()
	switch {
	case p.token.kind == tokenEnd:
		return nil, p.fail("Expected a property name to follow the dereference operator '.'", dot)
	case p.token.is("*"):
		p.advance()
		return wildcard{}, nil
	case p.token.kind == tokenName:
		return &literal{Text(p.advance().text)}, nil
	}
	return nil, p.fail("Unexpected symbol", p.token)
}

func (p *parser) indexer() (node, error) {
	if err := p.enter(p.token); err != nil {
		return nil, err
	}
	defer p.leave()
	bracket := p.advance()
	var index node
	var err error
	switch {
	case p.token.kind == tokenEnd:
		return nil, p.fail("Unclosed indexer", bracket)
	case p.token.is("*"):
		p.advance()
		index = wildcard{}
	default:
		if index, err = p.expression(); err != nil {
			return nil, err
		}
	}
	switch {
	case p.token.kind == tokenEnd:
		return nil, p.fail("Unclosed indexer", bracket)
	case !p.token.is("]"):
		return nil, p.unexpected()
	}
	p.advance()
	return index, nil
}

func (p *parser) enter(at token) error {
	p.depth++
	if p.depth > maxDepth {
		return p.fail(fmt.Sprintf("Exceeded max expression depth %d", maxDepth), at)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }
