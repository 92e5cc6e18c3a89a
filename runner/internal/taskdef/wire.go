package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// file is a task.json as far as an agent reads it.
type file struct {
	ID           text `json:"id"`
	Name         text `json:"name"`
	FriendlyName text `json:"friendlyName"`
	Description  text `json:"description"`
	Author       text `json:"author"`
	HelpURL      text `json:"helpUrl"`
	Version      struct {
		Major text `json:"Major"`
		Minor text `json:"Minor"`
		Patch text `json:"Patch"`
	} `json:"version"`
	Inputs          []fileInput `json:"inputs"`
	OutputVariables []struct {
		Name text `json:"name"`
	} `json:"outputVariables"`
	Restrictions *struct {
		Commands *struct {
			Mode text `json:"mode"`
		} `json:"commands"`
		SettableVariables *struct {
			Allowed []text `json:"allowed"`
		} `json:"settableVariables"`
	} `json:"restrictions"`
	PreJob  map[string]json.RawMessage `json:"prejobexecution"`
	Main    map[string]json.RawMessage `json:"execution"`
	PostJob map[string]json.RawMessage `json:"postjobexecution"`
}

type fileInput struct {
	Name    text   `json:"name"`
	Type    text   `json:"type"`
	Default text   `json:"defaultValue"`
	Aliases []text `json:"aliases"`
}

func (f fileInput) input() Input {
	in := Input{Name: string(f.Name), Type: string(f.Type), Default: strings.TrimSpace(string(f.Default))}
	for _, alias := range f.Aliases {
		in.Aliases = append(in.Aliases, string(alias))
	}
	return in
}

// text is a member that should be a text and that authors also write as a
// number, as a truth value or as null.
type text string

var errNoText = errors.New("a member is neither a text, a number nor a truth value")

// UnmarshalJSON takes every scalar; objects and lists are refused.
func (t *text) UnmarshalJSON(data []byte) error {
	switch {
	case bytes.Equal(data, []byte("null")):
		*t = ""
	case data[0] == '"':
		var s string
		if err := json.Unmarshal(data, &s); err != nil {
			return err
		}
		*t = text(s)
	case data[0] == '{' || data[0] == '[':
		return errNoText
	default:
		*t = text(data)
	}
	return nil
}
