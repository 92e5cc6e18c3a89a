package expr

import (
	"strings"
	"unicode"
	"unicode/utf16"
)

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenSymbol           // one of ( ) [ ] , . *
	tokenLiteral
	tokenName
	tokenUnrecognized
)

// token is one word of an expression. text is its spelling in the source.
type token struct {
	kind     tokenKind
	text     string
	position int // 1-based, counted in UTF-16 units as the service does
	value    Value
}

func (t token) is(symbol string) bool { return t.kind == tokenSymbol && t.text == symbol }

// lexer cuts an expression into tokens. Its only state besides the place is the last
// token, because a dot begins a number only where no value precedes it.
type lexer struct {
	source []rune
	offset int
	units  int // UTF-16 units before offset
	last   token
}

func (l *lexer) next() token {
	for l.offset < len(l.source) && unicode.IsSpace(l.source[l.offset]) {
		l.advance(1)
	}
	start, position := l.offset, l.units+1
	t := l.scan()
	t.text, t.position = string(l.source[start:l.offset]), position
	l.last = t
	return t
}

func (l *lexer) advance(runes int) {
	for _, r := range l.source[l.offset : l.offset+runes] {
		l.units += max(1, utf16.RuneLen(r))
	}
	l.offset += runes
}

func (l *lexer) scan() token {
	if l.offset == len(l.source) {
		return token{kind: tokenEnd}
	}
	switch r := l.source[l.offset]; {
	case r == '.' && l.numberMayFollow(), r == '-', '0' <= r && r <= '9':
		return l.scanNumber()
	case strings.ContainsRune("()[],.*", r):
		l.advance(1)
		return token{kind: tokenSymbol}
	case r == '\'':
		return l.scanString()
	}
	return l.scanWord()
}

func (l *lexer) numberMayFollow() bool {
	return l.last.kind == tokenEnd || l.last.is(",") || l.last.is("[") || l.last.is("(")
}

func (l *lexer) scanNumber() token {
	text := l.takeUntil("[](),")
	if strings.Count(text, ".") >= 2 {
		if v, ok := parseVersion(text); ok {
			return token{kind: tokenLiteral, value: Value{Version, v}}
		}
	} else if d, ok := parseNumeral(text, false); ok {
		return token{kind: tokenLiteral, value: Value{Number, d}}
	}
	return token{kind: tokenUnrecognized}
}

func (l *lexer) scanString() token {
	var text strings.Builder
	for i := l.offset + 1; i < len(l.source); i++ {
		if l.source[i] != '\'' {
			text.WriteRune(l.source[i])
			continue
		}
		if i+1 < len(l.source) && l.source[i+1] == '\'' {
			text.WriteByte('\'')
			i++
			continue
		}
		l.advance(i + 1 - l.offset)
		return token{kind: tokenLiteral, value: Text(text.String())}
	}
	l.advance(len(l.source) - l.offset)
	return token{kind: tokenUnrecognized}
}

func (l *lexer) scanWord() token {
	afterDot := l.last.is(".")
	text := l.takeUntil("[](),.")
	switch {
	case !isKeyword(text):
		return token{kind: tokenUnrecognized}
	case afterDot:
		return token{kind: tokenName}
	case strings.EqualFold(text, "true"), strings.EqualFold(text, "false"):
		return token{kind: tokenLiteral, value: Bool(strings.EqualFold(text, "true"))}
	}
	return token{kind: tokenName}
}

// takeUntil consumes and returns everything up to white space or one of stops.
func (l *lexer) takeUntil(stops string) string {
	end := l.offset
	for end < len(l.source) && !unicode.IsSpace(l.source[end]) && !strings.ContainsRune(stops, l.source[end]) {
		end++
	}
	text := string(l.source[l.offset:end])
	l.advance(end - l.offset)
	return text
}

// isKeyword reports whether text is a letter or underscore followed by letters, digits
// and underscores.
func isKeyword(text string) bool {
	for i, r := range text {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == '_'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return text != ""
}
