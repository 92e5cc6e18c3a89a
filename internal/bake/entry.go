package bake

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/tonistiigi/go-csvvalue"

	"github.com/dockless-ci/dockless/internal/hint"
)

// Entry is one cache, output, secret or attestation: its settings by name, "type"
// or "id" among them.
type Entry map[string]string

// String returns the entry as the flags of a build have it.
func (e Entry) String() string {
	var fields []string
	for _, first := range []string{"type", "id"} {
		if v, ok := e[first]; ok {
			fields = append(fields, quoted(first+"="+v))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(e)) {
		if key != "type" && key != "id" {
			fields = append(fields, quoted(key+"="+e[key]))
		}
	}
	return strings.Join(fields, ",")
}

// quoted writes a field of CSV.
func quoted(field string) string {
	if !strings.ContainsAny(field, "\",\r\n") && !strings.HasPrefix(field, " ") {
		return field
	}
	return `"` + strings.ReplaceAll(field, `"`, `""`) + `"`
}

// Attestation is an [Entry] whose "disabled" is a boolean in JSON: "true" here, or
// not there.
type Attestation Entry

// MarshalJSON implements [json.Marshaler].
func (a Attestation) MarshalJSON() ([]byte, error) {
	out := make(map[string]any, len(a))
	for k, v := range a {
		out[k] = v
	}
	if a.disabled() {
		out["disabled"] = true
	}
	return json.Marshal(out)
}

func (a Attestation) disabled() bool { return a["disabled"] != "" }

// SSH is an agent that steps can mount: the paths of keys or of a socket.
type SSH struct {
	ID    string   `json:"id,omitempty"`
	Paths []string `json:"paths,omitempty"`
}

// String returns the agent as the flag --ssh has it.
func (s SSH) String() string {
	if len(s.Paths) == 0 {
		return s.ID
	}
	return s.ID + "=" + strings.Join(s.Paths, ",")
}

// form is how one kind of entry is written.
type form struct {
	what string
	bare func(field string) Entry // of a text without "="; nil refuses it
	keys []string                 // that there are; empty is any
	want string                   // key that must be there
}

var (
	cacheForm = form{what: "cache", want: "type", bare: func(f string) Entry { return Entry{"type": "registry", "ref": f} }}
	outForm   = form{what: "output", want: "type", bare: func(f string) Entry {
		if f == "-" {
			return Entry{"type": "tar", "dest": f}
		}
		return Entry{"type": "local", "dest": f}
	}}
	attestForm = form{what: "attestation", want: "type"}
	secretForm = form{what: "secret", keys: []string{"type", "id", "src", "source", "env"}}
)

// parse reads an entry from the text of a flag.
func (f form) parse(in string) (Entry, error) {
	fields, err := csvvalue.Fields(in, nil)
	if err != nil {
		return nil, fmt.Errorf("the %s %q is no comma-separated list: %w", f.what, in, err)
	}
	if len(fields) == 1 && f.bare != nil && !strings.Contains(fields[0], "=") {
		return f.bare(fields[0]), nil
	}
	out := make(Entry, len(fields))
	for _, field := range fields {
		key, value, found := strings.Cut(field, "=")
		if !found {
			return nil, fmt.Errorf("the %s %q: %q is not key=value", f.what, in, field)
		}
		out[strings.ToLower(strings.TrimSpace(key))] = value
	}
	return f.check(out)
}

// check completes an entry. Its keys are in any case, as those of flags are.
func (f form) check(in Entry) (Entry, error) {
	e := make(Entry, len(in))
	for written, value := range in {
		key := strings.ToLower(strings.TrimSpace(written))
		if _, twice := e[key]; twice {
			return nil, fmt.Errorf("the %s %q has %s twice", f.what, in.String(), key)
		}
		e[key] = value
	}
	for key := range e {
		if len(f.keys) > 0 && !slices.Contains(f.keys, key) {
			return nil, hint.With(fmt.Errorf("the %s %q has no setting %q", f.what, e.String(), key), "there are %s", strings.Join(f.keys, ", "))
		}
	}
	if f.want != "" && e[f.want] == "" {
		return nil, fmt.Errorf("the %s %q has no %s", f.what, e.String(), f.want)
	}
	switch f.what {
	case secretForm.what:
		return secret(e)
	case attestForm.what:
		return attest(e)
	}
	return e, nil
}

// attest leaves "disabled" of an attestation only where it is true, in whatever
// way that is written.
func attest(e Entry) (Entry, error) {
	written, ok := e["disabled"]
	if !ok {
		return e, nil
	}
	disabled, err := strconv.ParseBool(written)
	if err != nil {
		return nil, hint.With(fmt.Errorf("the attestation %q: disabled is %q, neither true nor false", e.String(), written), "write disabled=true or leave it out")
	}
	delete(e, "disabled")
	if disabled {
		e["disabled"] = "true"
	}
	return e, nil
}

// secret leaves id and one source of a secret.
func secret(e Entry) (Entry, error) {
	kind, src, env := e["type"], e["src"], e["env"]
	if src == "" {
		src = e["source"]
	}
	if kind != "" && kind != "env" && kind != "file" {
		return nil, fmt.Errorf("the secret %q has the type %q, which does not exist", e.String(), kind)
	}
	if kind == "env" && env == "" {
		src, env = "", src
	}
	out := Entry{}
	for key, value := range map[string]string{"id": e["id"], "src": src, "env": env} {
		if value != "" {
			out[key] = value
		}
	}
	return out, nil
}

func parseSSH(in string) SSH {
	id, paths, found := strings.Cut(in, "=")
	if !found {
		return SSH{ID: id}
	}
	return SSH{ID: id, Paths: strings.Split(paths, ",")}
}

// unique returns list without repetitions and empty texts, and nil for nothing.
func unique(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// uniqueEntries returns list without repetitions.
func uniqueEntries(list []Entry) []Entry {
	var out []Entry
	for _, e := range list {
		if !slices.ContainsFunc(out, func(o Entry) bool { return maps.Equal(o, e) }) {
			out = append(out, e)
		}
	}
	return out
}

// lastByKey returns list with only the last of those that have the same key, at
// the place of the first.
func lastByKey[T any](list []T, key func(T) string) []T {
	var out []T
	for _, e := range list {
		same := func(o T) bool { return key(o) == key(e) }
		if i := slices.IndexFunc(out, same); i >= 0 {
			out[i] = e
		} else {
			out = append(out, e)
		}
	}
	return out
}
