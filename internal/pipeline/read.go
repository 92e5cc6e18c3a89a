package pipeline

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Limits of one file, as on the service.
const (
	maxFileBytes = 20 << 20
	maxNesting   = 100
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
	parsed, err := parseYAML(content)
	if err != nil {
		p.addError(r.syntaxProblem(err))
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

// parseYAML guards against the parser, which has panicked on malformed input before.
func parseYAML(content []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the file is not YAML: %v", r)
		}
	}()
	content = []byte(strings.ReplaceAll(strings.TrimPrefix(string(content), "\ufeff"), "\r\n", "\n"))
	// Duplicate keys are found here, because directives may be repeated and keys
	// ignore case.
	return parser.ParseBytes(content, 0, parser.AllowDuplicateMapKey())
}

func (r *reader) syntaxProblem(err error) error {
	syntax, ok := errors.AsType[*yaml.SyntaxError](err)
	if !ok || syntax.Token == nil {
		return r.at(position{1, 1, r.file}, "%s", err)
	}
	pos := placeOfToken(syntax.Token)
	pos.file = r.file
	return r.at(pos, "%s", syntax.Message)
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
		r.add(out, "Maximum object depth exceeded")
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
