package pipeline

import (
	"fmt"

	"github.com/goccy/go-yaml"
)

// Expanded returns the file as YAML with every template expression evaluated and
// without its parameters, which have done their work.
func (p *Pipeline) Expanded() ([]byte, error) {
	root := &node{kind: mappingNode}
	for _, pair := range p.expanded.pairs {
		if pair.key.text != "parameters" {
			root.pairs = append(root.pairs, pair)
		}
	}
	text, err := yaml.MarshalWithOptions(root.plainYAML(), yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(false))
	if err != nil {
		return nil, fmt.Errorf("writing the expanded pipeline: %w", err)
	}
	return text, nil
}

// plainYAML returns n as what the YAML encoder writes in the same order. Scalars stay
// text: the encoder quotes those that would otherwise be read as something else.
func (n *node) plainYAML() any {
	switch n.kind {
	case mappingNode:
		m := make(yaml.MapSlice, len(n.pairs))
		for i, p := range n.pairs {
			m[i] = yaml.MapItem{Key: p.key.text, Value: p.value.plainYAML()}
		}
		return m
	case sequenceNode:
		items := make([]any, len(n.items))
		for i, item := range n.items {
			items[i] = item.plainYAML()
		}
		return items
	case scalarNode:
	}
	return n.text
}
