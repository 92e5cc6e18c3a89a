package composefile

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// keyWalk follows the keys of one file along a [keyTable].
type keyWalk struct {
	check   *keyCheck
	file    string
	anchors map[string]ast.Node
	links   []fileLink
	depth   int // of aliases, which may form a ring
}

// maxAliases bounds how deep an alias may lead to an alias.
const maxAliases = 32

// Visit collects anchors for [ast.Walk].
func (w *keyWalk) Visit(node ast.Node) ast.Visitor {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		w.anchors[anchor.Name.GetToken().Value] = anchor.Value
	}
	return w
}

// resolve strips tags and anchors and follows aliases.
func (w *keyWalk) resolve(node ast.Node) ast.Node {
	for range maxAliases {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.TagNode:
			node = n.Value
		case *ast.AliasNode:
			node = w.anchors[n.Value.GetToken().Value]
		default:
			return node
		}
	}
	return nil
}

// object checks the keys of the mapping at node; a list is checked element by element.
func (w *keyWalk) object(node ast.Node, path []string, t *keyTable) {
	if w.depth > maxAliases {
		return
	}
	w.depth++
	defer func() { w.depth-- }()
	switch n := w.resolve(node).(type) {
	case *ast.MappingNode:
		for _, value := range n.Values {
			w.pair(value, path, t)
		}
	case *ast.MappingValueNode:
		w.pair(n, path, t)
	case *ast.SequenceNode:
		if !t.open {
			for _, value := range n.Values {
				w.object(value, path, t)
			}
		}
	}
}

func (w *keyWalk) pair(pair *ast.MappingValueNode, path []string, t *keyTable) {
	if pair.Key.IsMergeKey() {
		merged := w.resolve(pair.Value)
		if list, ok := merged.(*ast.SequenceNode); ok {
			for _, value := range list.Values {
				w.object(value, path, t)
			}
			return
		}
		w.object(merged, path, t)
		return
	}
	key := pair.Key.GetToken().Value
	if strings.HasPrefix(key, "x-") {
		return
	}
	here := append(append([]string(nil), path...), key)
	w.remember(here, pair.Key)
	switch tag(pair.Value) {
	case "!reset": // the key and all below it are as if nobody had written them
		w.check.forget(here, w.file)
		return
	case "!override":
		w.check.forget(here, w.file)
	}
	if t.open {
		if t.each != nil {
			w.object(pair.Value, here, t.each)
		}
		return
	}
	w.judge(here, pair, t.keys[key])
	w.link(here, pair.Value)
	if child := t.children[key]; child != nil {
		w.object(pair.Value, here, child)
	}
}

func (w *keyWalk) remember(path []string, key ast.Node) {
	name := strings.Join(path, ".")
	if _, seen := w.check.files[w.file][name]; !seen {
		w.check.files[w.file][name] = key
	}
}

// judge records a finding about the key at path unless it is supported.
func (w *keyWalk) judge(path []string, pair *ast.MappingValueNode, v verdict) {
	if v == supported || isEmpty(w.resolve(pair.Value)) && v != unknown {
		return
	}
	pos := pair.Key.GetToken().Position
	f := finding{verdict: v, path: path, KeyError: KeyError{File: w.file, Line: pos.Line, Column: pos.Column, Key: strings.Join(path, ".")}}
	if len(path) > 2 && path[0] == "services" {
		f.service = path[1]
	}
	switch v {
	case unknown:
		f.Reason = "is not a key of compose files"
	case ignored:
		f.Reason = "is ignored"
	case unsupported:
		f.Reason = "is not supported"
	case supported:
	}
	for _, key := range slices.Backward(path) {
		if why := w.check.reasons[key]; why != "" && v != unknown {
			f.Reason += ": " + why
			break
		}
	}
	w.check.findings = append(w.check.findings, f)
}

// tag returns that of a value, with its exclamation marks; empty without one.
func tag(node ast.Node) string {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		node = anchor.Value
	}
	if n, ok := node.(*ast.TagNode); ok {
		return n.Start.Value
	}
	return ""
}

// isEmpty reports whether a key was written without a value, which is resolved.
func isEmpty(node ast.Node) bool {
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return true
	case *ast.MappingNode:
		return len(n.Values) == 0
	case *ast.SequenceNode:
		return len(n.Values) == 0
	}
	return false
}

// link notes the files behind include and extends.
func (w *keyWalk) link(path []string, value ast.Node) {
	switch {
	case len(path) == 1 && path[0] == "include":
		list, _ := w.resolve(value).(*ast.SequenceNode)
		if list == nil {
			return
		}
		for _, entry := range list.Values {
			for _, file := range append(w.texts(entry), w.field(entry, "path")...) {
				w.links = append(w.links, fileLink{path: file})
			}
		}
	case len(path) == 3 && path[0] == "services" && path[2] == "extends":
		for _, service := range append(w.texts(value), w.field(value, "service")...) {
			link := fileLink{service: service}
			if file := w.field(value, "file"); len(file) > 0 {
				link.path = file[0]
			}
			w.links = append(w.links, link)
		}
	}
}

// field returns the texts below one key of an object.
func (w *keyWalk) field(node ast.Node, key string) []string {
	var pairs []*ast.MappingValueNode
	switch n := w.resolve(node).(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = append(pairs, n)
	}
	for _, pair := range pairs {
		if pair.Key.GetToken().Value == key {
			return w.texts(pair.Value)
		}
	}
	return nil
}

// texts returns a string, or the strings of a list.
func (w *keyWalk) texts(node ast.Node) []string {
	switch n := w.resolve(node).(type) {
	case *ast.StringNode:
		return []string{n.Value}
	case *ast.SequenceNode:
		var list []string
		for _, value := range n.Values {
			if s, ok := w.resolve(value).(*ast.StringNode); ok {
				list = append(list, s.Value)
			}
		}
		return list
	}
	return nil
}
