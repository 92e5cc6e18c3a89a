package runner

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// looseObject reads a JSON object whose members may be of any type. Anything
// else is an empty one.
func looseObject(raw json.RawMessage) map[string]any {
	var object map[string]any
	if json.Unmarshal(raw, &object) != nil {
		return nil
	}
	return object
}

// toJSON writes value, which is made of texts, as JSON.
func toJSON(value any) string {
	data, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("runner: writing %T as JSON: %v", value, err)) // texts can always be written
	}
	return string(data)
}

// cut returns the first bytes of text, at most so many and no part of a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
