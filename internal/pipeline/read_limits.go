package pipeline

import (
	"fmt"

	"github.com/goccy/go-yaml/token"
)

// Limits of one file. The first two are the service's.
const (
	maxFileBytes = 20 << 20
	maxNesting   = 100
	// maxKeys bounds the keys of one block mapping: the parser takes the square of
	// their number, a second for this many.
	maxKeys = 10_000
)

const tooDeep = "Maximum object depth exceeded"

// limits follows how collections nest, before the parser sees them: it recurses, and on
// a deep file it would take the square of the depth or all of the stack.
type limits struct {
	flow       int     // [ and { that are open
	blocks     []block // block collections around the token
	properties int     // tags and anchors in a row
}

// block is a collection by indentation: where its entries begin, and how many of them
// are keys.
type block struct{ column, keys int }

// overLimit returns the first token of a file that is too much and what is wrong with
// it, or "" when the file may be parsed.
func overLimit(tokens token.Tokens) (*token.Token, string) {
	var l limits
	for _, t := range tokens {
		if problem := l.see(t); problem != "" {
			return t, problem
		}
	}
	return nil, ""
}

func (l *limits) see(t *token.Token) string {
	column := t.Position.Column
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		l.flow++
	case token.SequenceEndType, token.MappingEndType:
		l.flow--
	case token.TagType, token.AnchorType:
		l.properties++
	case token.MappingValueType:
		if t.Prev != nil {
			column = t.Prev.Position.Column // where the key begins
		}
		l.enter(column, 1)
	case token.SequenceEntryType, token.MappingKeyType:
		l.enter(column, 0)
	default:
		if t.Prev == nil || t.Prev.Type != token.AnchorType { // the name of an anchor
			l.properties = 0
		}
	}
	switch {
	// A list may stand in the column of its key: every level of nesting makes two here.
	case l.flow+len(l.blocks) > 2*maxNesting, l.properties > maxNesting:
		return tooDeep
	case len(l.blocks) > 0 && l.blocks[len(l.blocks)-1].keys > maxKeys:
		return fmt.Sprintf("A mapping has more than %d keys", maxKeys)
	}
	return ""
}

// enter notes an entry with so many keys, none or one, that begins at column.
func (l *limits) enter(column, keys int) {
	if l.flow > 0 {
		return
	}
	for len(l.blocks) > 0 && l.blocks[len(l.blocks)-1].column > column {
		l.blocks = l.blocks[:len(l.blocks)-1]
	}
	if n := len(l.blocks); n > 0 && l.blocks[n-1].column == column {
		l.blocks[n-1].keys += keys
		return
	}
	l.blocks = append(l.blocks, block{column, keys})
}
