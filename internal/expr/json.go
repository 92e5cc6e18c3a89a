package expr

import (
	"fmt"
	"strings"
)

// convertToJSON writes a value with an indent of two blanks.
func convertToJSON(ev *evaluation, args []Value) (Value, error) {
	w := jsonWriter{ev: ev}
	if err := w.write(args[0], 0); err != nil {
		return Value{}, err
	}
	return Text(w.b.String()), nil
}

type jsonWriter struct {
	ev *evaluation
	b  strings.Builder
}

func (w *jsonWriter) put(text string) error {
	w.b.WriteString(text)
	return w.ev.spend(len(text))
}

func (w *jsonWriter) write(v Value, depth int) error {
	switch v.kind {
	case Null:
		return w.put("null")
	case Boolean:
		return w.put(fmt.Sprint(v.Truthy()))
	case Number:
		text, _ := v.Text()
		return w.put(text)
	case String, Version, DateTime:
		text, _ := v.Text()
		return w.put(jsonString(text))
	case Array:
		return w.list(v.Items(), depth)
	case Object:
		return w.object(v.Mapping(), depth)
	}
	return nil
}

func (w *jsonWriter) list(items []Value, depth int) error {
	for i, item := range items {
		if err := w.put(opening("[", i, depth)); err != nil {
			return err
		}
		if err := w.write(item, depth+1); err != nil {
			return err
		}
	}
	return w.put(closing("[]", len(items), depth))
}

func (w *jsonWriter) object(m Mapping, depth int) error {
	count := 0
	for key, value := range m.All() {
		if err := w.put(opening("{", count, depth) + jsonString(key) + ": "); err != nil {
			return err
		}
		if err := w.write(value, depth+1); err != nil {
			return err
		}
		count++
	}
	return w.put(closing("{}", count, depth))
}

// opening is what stands before item i of a collection.
func opening(bracket string, i, depth int) string {
	if i > 0 {
		bracket = ","
	}
	return bracket + "\n" + strings.Repeat("  ", depth+1)
}

// closing ends a collection of count items, or is the whole of an empty one.
func closing(brackets string, count, depth int) string {
	if count == 0 {
		return brackets
	}
	return "\n" + strings.Repeat("  ", depth) + brackets[1:]
}

var jsonEscapes = map[rune]string{
	'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`,
	'\u0085': `\u0085`, '\u2028': `\u2028`, '\u2029': `\u2029`,
}

// jsonString quotes text and escapes only what must be, so that markup stays readable.
func jsonString(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch escape, ok := jsonEscapes[r]; {
		case ok:
			b.WriteString(escape)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
