package expr

import (
	"fmt"
	"strings"
)

// maxArguments is the most that any function takes.
const maxArguments = 255

// builtin is a function every scope has. Exactly one of eager and lazy is set.
type builtin struct {
	Signature
	eager func(ev *evaluation, args []Value) (Value, error)
	lazy  func(ev *evaluation, args []node) (Value, error) // evaluates only what it needs
	// explains keeps the call in a trace, with the values of its arguments; the other
	// functions are traced as their result.
	explains bool
}

// builtins is keyed by the name in lower case and never changes.
var builtins = indexBuiltins(
	builtin{Signature: Signature{"and", 2, maxArguments}, lazy: and, explains: true},
	builtin{Signature: Signature{"or", 2, maxArguments}, lazy: or, explains: true},
	builtin{Signature: Signature{"not", 1, 1}, eager: predicate(func(a []Value) bool { return !a[0].Truthy() }), explains: true},
	builtin{Signature: Signature{"xor", 2, 2}, eager: predicate(func(a []Value) bool { return a[0].Truthy() != a[1].Truthy() }), explains: true},
	builtin{Signature: Signature{"eq", 2, 2}, eager: predicate(func(a []Value) bool { return equal(a[0], a[1]) }), explains: true},
	builtin{Signature: Signature{"ne", 2, 2}, eager: predicate(func(a []Value) bool { return !equal(a[0], a[1]) }), explains: true},
	builtin{Signature: Signature{"gt", 2, 2}, eager: ordering(func(c int) bool { return c > 0 }), explains: true},
	builtin{Signature: Signature{"ge", 2, 2}, eager: ordering(func(c int) bool { return c >= 0 }), explains: true},
	builtin{Signature: Signature{"lt", 2, 2}, eager: ordering(func(c int) bool { return c < 0 }), explains: true},
	builtin{Signature: Signature{"le", 2, 2}, eager: ordering(func(c int) bool { return c <= 0 }), explains: true},
	builtin{Signature: Signature{"in", 1, maxArguments}, lazy: membership(true), explains: true},
	builtin{Signature: Signature{"notIn", 1, maxArguments}, lazy: membership(false), explains: true},
	builtin{Signature: Signature{"contains", 2, 2}, eager: textual(strings.Contains), explains: true},
	builtin{Signature: Signature{"startsWith", 2, 2}, eager: textual(strings.HasPrefix), explains: true},
	builtin{Signature: Signature{"endsWith", 2, 2}, eager: textual(strings.HasSuffix), explains: true},
	builtin{Signature: Signature{"containsValue", 2, 2}, eager: predicate(containsValue), explains: true},
	builtin{Signature: Signature{"coalesce", 2, maxArguments}, lazy: coalesce},
	builtin{Signature: Signature{"iif", 3, 3}, eager: iif},
	builtin{Signature: Signature{"length", 1, 1}, eager: length},
	builtin{Signature: Signature{"format", 1, maxArguments}, lazy: format},
	builtin{Signature: Signature{"join", 2, 2}, lazy: join},
	builtin{Signature: Signature{"lower", 1, 1}, eager: texts(lower)},
	builtin{Signature: Signature{"upper", 1, 1}, eager: texts(upper)},
	builtin{Signature: Signature{"trim", 1, 1}, eager: texts(trim)},
	builtin{Signature: Signature{"replace", 3, 3}, eager: texts(replace)},
	builtin{Signature: Signature{"split", 2, 2}, eager: texts(split)},
	builtin{Signature: Signature{"substring", 3, 3}, eager: substring},
	builtin{Signature: Signature{"convertToJson", 1, 1}, eager: convertToJSON},
)

func indexBuiltins(all ...builtin) map[string]*builtin {
	index := make(map[string]*builtin, len(all))
	for i := range all {
		index[strings.ToLower(all[i].Name)] = &all[i]
	}
	return index
}

func predicate(holds func([]Value) bool) func(*evaluation, []Value) (Value, error) {
	return func(_ *evaluation, args []Value) (Value, error) { return Bool(holds(args)), nil }
}

func ordering(holds func(int) bool) func(*evaluation, []Value) (Value, error) {
	return func(_ *evaluation, args []Value) (Value, error) {
		c, err := compare(args[0], args[1])
		return Bool(err == nil && holds(c)), err
	}
}

func textual(holds func(text, part string) bool) func(*evaluation, []Value) (Value, error) {
	return texts(func(_ *evaluation, args []string) (Value, error) {
		return Bool(holds(fold(args[0]), fold(args[1]))), nil
	})
}

// texts adapts a function whose arguments all convert to String.
func texts(apply func(*evaluation, []string) (Value, error)) func(*evaluation, []Value) (Value, error) {
	return func(ev *evaluation, args []Value) (Value, error) {
		converted := make([]string, len(args))
		for i, arg := range args {
			var err error
			if converted[i], err = arg.mustText(); err != nil {
				return Value{}, err
			}
		}
		return apply(ev, converted)
	}
}

func and(ev *evaluation, args []node) (Value, error) {
	for _, arg := range args {
		value, err := arg.eval(ev)
		if err != nil || !value.Truthy() {
			return Bool(false), err
		}
	}
	return Bool(true), nil
}

func or(ev *evaluation, args []node) (Value, error) {
	for _, arg := range args {
		value, err := arg.eval(ev)
		if err != nil || value.Truthy() {
			return Bool(err == nil), err
		}
	}
	return Bool(false), nil
}

// membership is in, or notIn when found is false.
func membership(found bool) func(*evaluation, []node) (Value, error) {
	return func(ev *evaluation, args []node) (Value, error) {
		wanted, err := args[0].eval(ev)
		if err != nil {
			return Value{}, err
		}
		for _, arg := range args[1:] {
			candidate, err := arg.eval(ev)
			if err != nil {
				return Value{}, err
			}
			if equal(wanted, candidate) {
				return Bool(found), nil
			}
		}
		return Bool(!found), nil
	}
}

func coalesce(ev *evaluation, args []node) (value Value, err error) {
	for _, arg := range args {
		value, err = arg.eval(ev)
		if err != nil || !value.IsNull() && value != Text("") {
			return value, err
		}
	}
	return value, nil
}

func iif(_ *evaluation, args []Value) (Value, error) {
	if args[0].Truthy() {
		return args[1], nil
	}
	return args[2], nil
}

// containsValue compares by the kind of the wanted value, not of the items.
func containsValue(args []Value) bool {
	for _, item := range children(args[0]) {
		if equal(args[1], item) {
			return true
		}
	}
	return false
}

func length(_ *evaluation, args []Value) (Value, error) {
	switch v := args[0]; v.kind {
	case String:
		return Int(int64(utf16Len(v.data.(string)))), nil
	case Array:
		return Int(int64(len(v.Items()))), nil
	case Object:
		return Int(int64(v.Mapping().Len())), nil
	case Null, Boolean, Number, Version, DateTime:
	}
	return Value{}, fmt.Errorf("Kind '%s' not supported. Only arrays, strings, dictionaries, or collections are supported for the length function.", args[0].kind) //nolint:staticcheck // the service's own sentence
}
