package expr

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf16"
)

func utf16Len(text string) int { return len(utf16.Encode([]rune(text))) }

func lower(ev *evaluation, args []string) (Value, error) {
	return ev.text16(strings.Map(func(r rune) rune {
		if r == 'İ' { // has no lower case of one character
			return r
		}
		return []rune(strings.ToLower(string(r)))[0]
	}, args[0]))
}

func upper(ev *evaluation, args []string) (Value, error) { return ev.text16(fold(args[0])) }

func trim(ev *evaluation, args []string) (Value, error) {
	return ev.text16(strings.TrimSpace(args[0]))
}

// text16 returns text as a value after paying for it.
func (ev *evaluation) text16(text string) (Value, error) {
	return Text(text), ev.spend(len(text))
}

// replace substitutes every occurrence, ignoring case.
func replace(ev *evaluation, args []string) (Value, error) {
	text, old, replacement := args[0], args[1], args[2]
	if old == "" {
		return Text(text), nil
	}
	var b strings.Builder
	source, pattern := []rune(text), []rune(fold(old))
	folded := []rune(fold(text))
	for i := 0; i < len(source); {
		if !hasPrefix(folded[i:], pattern) {
			b.WriteRune(source[i])
			i++
			continue
		}
		if err := ev.spend(len(replacement)); err != nil {
			return Value{}, err
		}
		b.WriteString(replacement)
		i += len(pattern)
	}
	return ev.text16(b.String())
}

func hasPrefix(text, prefix []rune) bool {
	return len(text) >= len(prefix) && slices.Equal(text[:len(prefix)], prefix)
}

// split cuts at every occurrence of the whole delimiter.
func split(ev *evaluation, args []string) (Value, error) {
	text, delimiter := args[0], args[1]
	if delimiter == "" {
		return List(Text(text)), nil
	}
	parts := strings.Split(text, delimiter)
	items := make([]Value, len(parts))
	for i, part := range parts {
		items[i] = Text(part)
	}
	return List(items...), ev.spend(len(text) + len(parts))
}

func substring(ev *evaluation, args []Value) (Value, error) {
	text, err := args[0].mustText()
	if err != nil {
		return Value{}, err
	}
	units := utf16.Encode([]rune(text))
	var bounds [2]int64
	for i, arg := range args[1:] {
		number, err := arg.mustConvert(Number)
		if err != nil {
			return Value{}, err
		}
		n, ok := number.data.(decimal).Floor()
		if !ok || n < 0 || n > int64(len(units)) {
			return Value{}, errOutsideText
		}
		bounds[i] = n
	}
	end := bounds[0] + bounds[1]
	if end > int64(len(units)) {
		return Value{}, errOutsideText
	}
	return ev.text16(string(utf16.Decode(units[bounds[0]:end])))
}

var errOutsideText = errors.New("Index and length must refer to a location within the string.") //nolint:staticcheck // the platform's own sentence

// join evaluates the separator only when it separates something.
func join(ev *evaluation, args []node) (Value, error) {
	list, err := args[1].eval(ev)
	if err != nil {
		return Value{}, err
	}
	if list.kind != Array {
		text, _ := list.Text() // an Object gives the empty text
		return Text(text), nil
	}
	separator := ""
	if len(list.Items()) > 1 {
		value, err := args[0].eval(ev)
		if err != nil {
			return Value{}, err
		}
		if separator, err = value.mustText(); err != nil {
			return Value{}, err
		}
	}
	var b strings.Builder
	for i, item := range list.Items() {
		text, _ := item.Text() // what does not convert leaves its place empty
		if i > 0 {
			text = separator + text
		}
		if err := ev.spend(len(text)); err != nil {
			return Value{}, err
		}
		b.WriteString(text)
	}
	return Text(b.String()), nil
}
