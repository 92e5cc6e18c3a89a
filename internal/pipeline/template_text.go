package pipeline

import (
	"errors"
	"fmt"
	"strings"
)

// segment is a part of a scalar: literal text, or what stands between ${{ and }}.
type segment struct {
	text       string
	expression bool
}

// splitTemplate cuts text at its template expressions.
func splitTemplate(text string) ([]segment, error) {
	var parts []segment
	for {
		before, rest, found := strings.Cut(text, "${{")
		if before != "" {
			parts = append(parts, segment{text: before})
		}
		if !found {
			return parts, nil
		}
		end := endOfExpression(rest)
		if end < 0 {
			return nil, errors.New("The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.") //nolint:staticcheck // the service's own sentence
		}
		if strings.TrimSpace(rest[:end]) == "" {
			return nil, errors.New("An expression was expected") //nolint:staticcheck // the service's own sentence
		}
		parts = append(parts, segment{strings.TrimSpace(rest[:end]), true})
		text = rest[end+2:]
	}
}

// endOfExpression returns the place of the first }} outside single quotes, or -1.
func endOfExpression(text string) int {
	quoted := false
	for i := range len(text) {
		switch {
		case text[i] == '\'':
			quoted = !quoted
		case !quoted && strings.HasPrefix(text[i:], "}}"):
			return i
		}
	}
	return -1
}

// directive is a key such as ${{ if cond }} that shapes its surroundings.
type directive struct {
	word     string // if, elseif, else, each or insert; empty: no directive
	variable string // of each
	text     string // expression of if, elseif and each
}

// directiveOf returns the directive that an expression is. An expression that merely
// begins like one is none.
func directiveOf(expression string) (directive, error) {
	word, rest := firstWord(expression)
	rest = strings.TrimSpace(rest)
	d := directive{word: word, text: rest}
	count := len(strings.Fields(rest))
	switch word {
	case "if", "elseif":
		if rest == "" {
			return d, wrongWords(word, 1, 0)
		}
	case "else", "insert":
		if rest != "" {
			return d, wrongWords(word, 0, count)
		}
	case "each":
		fields := strings.Fields(rest)
		if count < 3 || fields[1] != "in" {
			return d, wrongWords(word, 3, count)
		}
		d.variable = fields[0]
		_, rest = firstWord(rest)
		_, d.text = firstWord(strings.TrimSpace(rest))
		d.text = strings.TrimSpace(d.text)
	default:
		return directive{}, nil
	}
	return d, nil
}

func firstWord(text string) (word, rest string) {
	end := strings.IndexAny(text, " \t\r\n(")
	if end < 0 {
		return text, ""
	}
	return text[:end], text[end:]
}

func wrongWords(word string, want, got int) error {
	return fmt.Errorf("Exactly %d parameter(s) were expected following the directive '%s'. Actual parameter count: %d", want, word, got) //nolint:staticcheck // the service's own sentence
}
