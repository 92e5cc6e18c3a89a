package expr

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// format fills {n} and {n:specifiers} of its first argument; {{ and }} are braces. An
// argument is evaluated once, when the pattern first mentions it.
func format(ev *evaluation, args []node) (Value, error) {
	pattern, err := evalText(ev, args[0])
	if err != nil {
		return Value{}, err
	}
	values := make(map[int]Value)
	var b strings.Builder
	for rest := pattern; rest != ""; {
		plain := strings.IndexAny(rest, "{}")
		if plain < 0 {
			plain = len(rest)
		}
		b.WriteString(rest[:plain])
		if rest = rest[plain:]; rest == "" {
			break
		}
		if strings.HasPrefix(rest, "{{") || strings.HasPrefix(rest, "}}") {
			b.WriteByte(rest[0])
			rest = rest[2:]
			continue
		}
		hole, after, ok := readHole(rest)
		if !ok {
			return Value{}, fmt.Errorf("The following format string is invalid: %s", pattern) //nolint:staticcheck // the service's own sentence
		}
		if hole.index >= len(args)-1 {
			return Value{}, fmt.Errorf("The following format string references more arguments than were supplied: %s", pattern) //nolint:staticcheck // the service's own sentence
		}
		value, known := values[hole.index]
		if !known {
			if value, err = args[1+hole.index].eval(ev); err != nil {
				return Value{}, err
			}
			values[hole.index] = value
		}
		text, err := hole.fill(value)
		if err == nil {
			err = ev.spend(len(text))
		}
		if err != nil {
			return Value{}, err
		}
		b.WriteString(text)
		rest = after
	}
	return Text(b.String()), ev.spend(len(pattern))
}

func evalText(ev *evaluation, n node) (string, error) {
	value, err := n.eval(ev)
	if err != nil {
		return "", err
	}
	return value.mustText()
}

// hole is one {index} or {index:specifiers} of a pattern.
type hole struct {
	index      int
	specifiers string
}

// readHole reads the hole that text begins with.
func readHole(text string) (h hole, after string, ok bool) {
	text, ok = strings.CutPrefix(text, "{")
	digits := text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
	index, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil {
		return h, "", false
	}
	h.index = int(index)
	text = text[len(digits):]
	if after, ok = strings.CutPrefix(text, "}"); ok {
		return h, after, true
	}
	if text, ok = strings.CutPrefix(text, ":"); !ok {
		return h, "", false
	}
	var specifiers strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '}' {
			if !strings.HasPrefix(text[i:], "}}") {
				h.specifiers = specifiers.String()
				return h, text[i+1:], true
			}
			i++
		}
		specifiers.WriteByte(text[i])
	}
	return h, "", false
}

func (h hole) fill(value Value) (string, error) {
	if h.specifiers == "" {
		return value.mustText()
	}
	if t, ok := value.data.(time.Time); ok {
		if text, ok := formatDate(t, h.specifiers); ok {
			return text, nil
		}
	}
	return "", fmt.Errorf("The format specifiers '%s' are not valid for objects of type '%s'", h.specifiers, value.kind) //nolint:staticcheck // the service's own sentence
}

// dateLayouts maps a run of equal letters to the layout that prints it. Fractions of a
// second are cut, not rounded.
var dateLayouts = map[string]string{
	"yyyy": "2006", "yy": "06", "MM": "01", "M": "1", "dd": "02", "d": "2", "HH": "15",
	"mm": "04", "m": "4", "ss": "05", "s": "5", "zzz": "-07:00", "K": "-07:00",
}

// formatDate prints t; every literal character except a blank needs a backslash.
func formatDate(t time.Time, specifiers string) (string, bool) {
	var b strings.Builder
	runes := []rune(specifiers)
	for i := 0; i < len(runes); {
		switch runes[i] {
		case ' ':
			b.WriteByte(' ')
			i++
			continue
		case '\\':
			if i+1 == len(runes) {
				return "", false
			}
			b.WriteRune(runes[i+1])
			i += 2
			continue
		}
		end := i + 1
		for end < len(runes) && runes[end] == runes[i] {
			end++
		}
		text, ok := formatDatePart(t, string(runes[i:end]))
		if !ok {
			return "", false
		}
		b.WriteString(text)
		i = end
	}
	return b.String(), true
}

func formatDatePart(t time.Time, run string) (string, bool) {
	if layout, ok := dateLayouts[run]; ok {
		return t.Format(layout), true
	}
	switch {
	case run == "H": // Go has no layout for an hour of 24 without a zero
		return strconv.Itoa(t.Hour()), true
	case len(run) <= 7 && strings.Trim(run, "f") == "":
		return fmt.Sprintf("%09d", t.Nanosecond())[:len(run)], true
	}
	return "", false
}
