package dockerapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// object is a JSON object of which we know only some members. Names are found
// in whatever case they are written, as Podman's decoder finds them.
type object map[string]json.RawMessage

// parseObject reads an object. One that names a member in two spellings is
// refused, because we could look at one and Podman at the other.
func parseObject(data []byte) (object, error) {
	var o object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, errors.New("it is no JSON object")
	}
	seen := make(map[string]bool, len(o))
	for name := range o {
		folded := fold(name)
		if seen[folded] {
			return nil, fmt.Errorf("it names %q twice", name)
		}
		seen[folded] = true
	}
	if o == nil {
		o = object{}
	}
	return o, nil
}

// parseAnswer reads an object of Podman's own.
func parseAnswer(data []byte) (object, error) {
	o := object{}
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("reading podman's answer: %w", err)
	}
	return o, nil
}

// fold returns the form in which names are compared. Like encoding/json it
// takes the long s and the Kelvin sign for the letters they look like.
func fold(name string) string {
	return strings.NewReplacer("ſ", "s", "K", "k").Replace(strings.ToLower(name))
}

// raw returns a member, or nil when there is none or it is null.
func (o object) raw(name string) json.RawMessage {
	for n, value := range o {
		if fold(n) == fold(name) && string(value) != "null" {
			return value
		}
	}
	return nil
}

// read decodes a member; one that is not there changes nothing.
func (o object) read(name string, into any) error {
	value := o.raw(name)
	if value == nil {
		return nil
	}
	if err := json.Unmarshal(value, into); err != nil {
		return fmt.Errorf("%s cannot be read", name)
	}
	return nil
}

// object returns a member that is an object itself; an empty one when it is not
// there.
func (o object) object(name string) (object, error) {
	value := o.raw(name)
	if value == nil {
		return object{}, nil
	}
	inner, err := parseObject(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return inner, nil
}

// objects returns a member that is a list of objects; none when it is not there.
func (o object) objects(name string) ([]object, error) {
	var list []json.RawMessage
	if err := o.read(name, &list); err != nil {
		return nil, err
	}
	objects := make([]object, len(list))
	for i, data := range list {
		var err error
		if objects[i], err = parseObject(data); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return objects, nil
}

// text returns a member that is a text; empty when it is none.
func (o object) text(name string) string {
	var text string
	if o.read(name, &text) != nil {
		return ""
	}
	return text
}

// set replaces a member, under the name it has already.
func (o object) set(name string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("dockerapi: writing %T as JSON: %v", value, err)) // texts, numbers and JSON only
	}
	for n := range o {
		if fold(n) == fold(name) {
			name = n
		}
	}
	o[name] = data
}

func (o object) encode() []byte {
	data, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("dockerapi: writing an object as JSON: %v", err)) // it was read from JSON
	}
	return data
}
