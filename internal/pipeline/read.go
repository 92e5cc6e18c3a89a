package pipeline

import (
	"errors"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// coreTags are the explicit tags the service's reader accepts.
var coreTags = []string{"!!str", "!!bool", "!!int", "!!float", "!!null", "!!map", "!!seq", "!"}

// reader turns YAML into nodes and reports what the service's reader refuses.
type reader struct {
	*problems
	file  string
	depth int
}

// read returns the root of content, or nil after reporting why there is none. file is
// how messages show where content comes from; empty is the file that is being loaded.
func read(p *problems, file string, content []byte) *node {
	start := &node{pos: position{1, 1, file}}
	r := &reader{problems: p, file: file}
	if len(content) > maxFileBytes {
		p.add(start, "Maximum object size exceeded")
		return nil
	}
	parsed, err := r.parse(content)
	if err != nil {
		p.addError(err)
		return nil
	}
	var roots []ast.Node
	for _, doc := range parsed.Docs {
		if directive, ok := doc.Body.(*ast.DirectiveNode); ok {
			p.add(&node{pos: r.place(directive)}, "YAML directives are not supported")
		} else if doc.Body != nil {
			roots = append(roots, doc.Body)
		}
	}
	switch len(roots) {
	case 0:
		p.add(start, "The file is empty: one of 'steps', 'jobs' and 'stages' is expected")
		return nil
	case 1:
	default:
		p.add(&node{pos: r.place(roots[1])}, "Only one document per file is supported")
		return nil
	}
	return r.convert(roots[0])
}

// parse returns the syntax tree of content. It guards against the YAML package, which
// has panicked on malformed input before.
func (r *reader) parse(content []byte) (file *ast.File, err error) {
	defer func() {
		if recover() != nil {
			err = r.at(position{1, 1, r.file}, "The file is not YAML")
		}
	}()
	tokens := lexer.Tokenize(strings.ReplaceAll(strings.TrimPrefix(string(content), "\ufeff"), "\r\n", "\n"))
	if t, problem := overLimit(tokens); problem != "" {
		return nil, r.atToken(t, problem)
	}
	// Duplicate keys are found later, because directives may be repeated and keys
	// ignore case.
	file, err = parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if syntax, ok := errors.AsType[*yaml.SyntaxError](err); ok {
		return nil, r.atToken(syntax.Token, syntax.Message)
	}
	if err != nil {
		return nil, r.at(position{1, 1, r.file}, "%s", err)
	}
	return file, nil
}

func (r *reader) atToken(t *token.Token, text string) error {
	pos := placeOfToken(t)
	pos.file = r.file
	return r.at(pos, "%s", text)
}

func placeOfToken(t *token.Token) position {
	if t == nil || t.Position == nil {
		return position{line: 1, column: 1}
	}
	return position{line: t.Position.Line, column: t.Position.Column}
}

// placeOf returns where n begins; a block mapping begins at its first key.
func placeOf(n ast.Node) position {
	switch n := n.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return placeOf(n.Values[0])
		}
	case *ast.MappingValueNode:
		return placeOf(n.Key)
	}
	if n == nil {
		return position{line: 1, column: 1}
	}
	return placeOfToken(n.GetToken())
}

// place returns where n begins, and in which file.
func (r *reader) place(n ast.Node) position {
	pos := placeOf(n)
	pos.file = r.file
	return pos
}

func (r *reader) convert(n ast.Node) *node {
	out := &node{pos: r.place(n)}
	r.depth++
	defer func() { r.depth-- }()
	if r.depth > maxNesting {
		r.add(out, tooDeep)
		return out
	}
	switch n := n.(type) {
	case nil:
		out.plain = true
	case *ast.MappingNode:
		out.kind = mappingNode
		for _, value := range n.Values {
			r.addPair(out, value)
		}
	case *ast.MappingValueNode:
		out.kind = mappingNode
		r.addPair(out, n)
	case *ast.SequenceNode:
		out.kind = sequenceNode
		for _, item := range n.Values {
			out.items = append(out.items, r.convert(item))
		}
	case *ast.AnchorNode:
		r.add(out, "Anchors are not currently supported. Remove the anchor '%s'", n.Name.GetToken().Value)
	case *ast.AliasNode:
		r.add(out, "Aliases are not currently supported. Remove the alias '%s'", n.Value.GetToken().Value)
	case *ast.TagNode:
		if tag := n.GetToken().Value; !slices.Contains(coreTags, tag) {
			r.add(out, "Unexpected tag '%s'", tag)
			return out
		}
		converted := r.convert(n.Value)
		converted.plain = converted.plain && n.GetToken().Value != "!!str" && n.GetToken().Value != "!"
		return converted
	case *ast.LiteralNode:
		out.text = n.Value.Value
	default:
		r.scalar(out, n)
	}
	return out
}

// scalar fills out with the text of a plain or quoted scalar, whatever type YAML sees.
func (r *reader) scalar(out *node, n ast.Node) {
	t := n.GetToken()
	switch {
	case t == nil:
		r.add(out, "A scalar value was expected")
	case t.Type == token.ImplicitNullType:
		out.plain = true
	case t.Type == token.SingleQuoteType || t.Type == token.DoubleQuoteType:
		out.text = t.Value
	default:
		out.text, out.plain = strings.TrimSpace(t.Value), true
	}
}

func (r *reader) addPair(out *node, value *ast.MappingValueNode) {
	key := ast.Node(value.Key)
	switch k := key.(type) {
	case *ast.MergeKeyNode:
		r.add(&node{pos: r.place(k)}, "Merge keys are not supported. Remove the key '<<'")
		return
	case *ast.MappingKeyNode:
		key = k.Value
	}
	name := r.convert(key)
	if name.kind != scalarNode {
		r.add(name, "A %s was not expected", name.kind)
		return
	}
	out.pairs = append(out.pairs, pair{name, r.convert(value.Value)})
}
