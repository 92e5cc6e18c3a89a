package expr

import (
	"strings"
)

// access is target.name, target.*, target[index] or target[*].
type access struct{ target, index node }

func (a *access) eval(ev *evaluation) (Value, error) {
	target, err := a.target.eval(ev)
	if err != nil {
		return Value{}, err
	}
	index, err := a.index.eval(ev)
	if err != nil {
		return Value{}, err
	}
	var value Value
	switch list, ok := target.data.(*array); {
	case a.isWildcard():
		value, err = expand(ev, target)
	case ok && list.filtered:
		value, err = mapIndex(ev, list, index)
	default:
		value, err = lookUp(target, index)
	}
	if err == nil {
		ev.record(a, value)
	}
	return value, err
}

func (a *access) isWildcard() bool {
	_, ok := a.index.(wildcard)
	return ok
}

func (a *access) write(b *strings.Builder, seen map[node]Value) {
	if value, ok := seen[a]; ok {
		b.WriteString(value.String())
		return
	}
	a.target.write(b, seen)
	b.WriteByte('[')
	a.index.write(b, seen)
	b.WriteByte(']')
}

// lookUp returns one item of a collection. What does not exist is null, unless the
// mapping insists on its keys.
func lookUp(target, index Value) (Value, error) {
	switch target.kind {
	case Object:
		key, ok := index.Text()
		if !ok {
			return Value{}, nil
		}
		mapping := target.Mapping()
		value, ok := mapping.Get(key)
		if strict, isStrict := mapping.(strictMapping); !ok && isStrict {
			return Value{}, strict.Missing(key)
		}
		return value, nil
	case Array:
		value, _ := itemAt(target.Items(), index)
		return value, nil
	case Null, Boolean, Number, String, Version, DateTime:
	}
	return Value{}, nil
}

func itemAt(items []Value, index Value) (Value, bool) {
	number, ok := index.toNumber()
	if !ok {
		return Value{}, false
	}
	i, ok := number.Floor()
	if !ok || i < 0 || i >= int64(len(items)) {
		return Value{}, false
	}
	return items[i], true
}

// expand returns what a wildcard finds: the children of a collection, or of every item
// of a filtered array.
func expand(ev *evaluation, target Value) (Value, error) {
	found := &array{filtered: true}
	parents := []Value{target}
	if list, ok := target.data.(*array); ok && list.filtered {
		parents = list.items
	}
	for _, parent := range parents {
		children := children(parent)
		if err := ev.spend(len(children)); err != nil {
			return Value{}, err
		}
		found.items = append(found.items, children...)
	}
	return Value{Array, found}, nil
}

func children(v Value) []Value {
	if v.kind != Object {
		return v.Items()
	}
	var values []Value
	for _, value := range v.Mapping().All() {
		values = append(values, value)
	}
	return values
}

// mapIndex applies index to every item of a filtered array that has it.
func mapIndex(ev *evaluation, list *array, index Value) (Value, error) {
	found := &array{filtered: true}
	if err := ev.spend(len(list.items)); err != nil {
		return Value{}, err
	}
	key, isText := index.Text()
	for _, item := range list.items {
		var value Value
		ok := false
		switch {
		case item.kind == Object && isText:
			value, ok = item.Mapping().Get(key)
		case item.kind == Array && index.kind == Number:
			value, ok = itemAt(item.Items(), index)
		}
		if ok {
			found.items = append(found.items, value)
		}
	}
	return Value{Array, found}, nil
}
