// Package taskdef knows the file task.json, which says what a task takes and
// how it is run (protocol §8.4). It reads bytes that the authors of tasks wrote
// and touches nothing else.
//
// [Parse] reads the file of a package; [Definition.Node] chooses what runs one
// part of it, and [Input] says how a value becomes what the part is given.
package taskdef

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// FileName is the file's name in the folder of a task.
const FileName = "task.json"

// MaxSize bounds a task.json, in bytes. The largest published ones, with every
// choice of a hundred inputs spelled out, are about 100 KiB.
const MaxSize = 4 << 20

// Part is a part of a task.
type Part string

// The parts, named as in the file: before the steps of the job, as the step,
// and after the steps.
const (
	PreJob  Part = "prejobexecution"
	Main    Part = "execution"
	PostJob Part = "postjobexecution"
)

// Definition is one task at one version.
type Definition struct {
	ID              string
	Name            string
	FriendlyName    string
	Description     string
	Author          string
	HelpURL         string
	Version         Version
	Inputs          []Input
	OutputVariables []string // variables that are outputs without saying so
	Restrictions    Restrictions

	parts map[Part][]Handler
}

// Version is the version of a task.
type Version struct{ Major, Minor, Patch int }

// String returns "major.minor.patch", as references name versions.
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// ParseVersion reads three numbers; anything else is no exact version.
func ParseVersion(text string) (Version, error) {
	var v Version
	parts := strings.Split(text, ".")
	to := []*int{&v.Major, &v.Minor, &v.Patch}
	if len(parts) != len(to) {
		return Version{}, fmt.Errorf("version %q is not of the form major.minor.patch", text)
	}
	for i, part := range parts {
		n, err := strconv.ParseUint(part, 10, 31)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return Version{}, fmt.Errorf("version %q is not of the form major.minor.patch", text)
		}
		*to[i] = int(n)
	}
	return v, nil
}

// Input is one input of a task.
type Input struct {
	Name    string
	Type    string
	Default string
	Aliases []string
}

// IsFile reports whether the value is a path.
func (i Input) IsFile() bool { return strings.EqualFold(i.Type, "filePath") }

// IsSecureFile reports whether the value names files that the service keeps.
func (i Input) IsSecureFile() bool { return strings.EqualFold(i.Type, "secureFile") }

// IsConnection reports whether the value names service connections.
func (i Input) IsConnection() bool {
	const prefix = "connectedService:"
	return len(i.Type) >= len(prefix) && strings.EqualFold(i.Type[:len(prefix)], prefix)
}

// Restrictions are what a task may not do with logging commands (protocol
// §8.10). The zero value restricts nothing.
type Restrictions struct {
	Commands bool      // only the commands for restricted steps
	Settable *[]string // patterns of variables it may set; nil: all
}

// Has reports whether the task has the part.
func (d *Definition) Has(p Part) bool { return len(d.parts[p]) > 0 }

// Title is the name for people.
func (d *Definition) Title() string {
	if d.FriendlyName != "" {
		return d.FriendlyName
	}
	return d.Name
}

// Parse reads a task.json, with or without a byte order mark. Members that are
// not known are passed over, and so are handlers. It reports a file that is no
// JSON object or lacks an id, a name or a version.
func Parse(data []byte) (*Definition, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("it is larger than %d MiB", MaxSize>>20)
	}
	var f file
	if err := json.Unmarshal(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), &f); err != nil {
		return nil, fmt.Errorf("reading its JSON: %w", err)
	}
	d := &Definition{
		ID: strings.ToLower(string(f.ID)), Name: string(f.Name), FriendlyName: string(f.FriendlyName),
		Description: string(f.Description), Author: string(f.Author), HelpURL: string(f.HelpURL),
		parts: make(map[Part][]Handler),
	}
	if d.ID == "" || d.Name == "" {
		return nil, errors.New("it lacks an id or a name")
	}
	text := fmt.Sprintf("%s.%s.%s", f.Version.Major, f.Version.Minor, f.Version.Patch)
	version, err := ParseVersion(text)
	if err != nil {
		return nil, err
	}
	d.Version = version
	for _, in := range f.Inputs {
		if in.Name != "" {
			d.Inputs = append(d.Inputs, in.input())
		}
	}
	for _, v := range f.OutputVariables {
		if v.Name != "" {
			d.OutputVariables = append(d.OutputVariables, string(v.Name))
		}
	}
	if r := f.Restrictions; r != nil {
		d.Restrictions.Commands = r.Commands != nil && strings.EqualFold(string(r.Commands.Mode), "restricted")
		if r.SettableVariables != nil {
			allowed := []string{} // a list that is absent allows nothing, as an empty one
			for _, pattern := range r.SettableVariables.Allowed {
				allowed = append(allowed, string(pattern))
			}
			d.Restrictions.Settable = &allowed
		}
	}
	for part, handlers := range map[Part]map[string]json.RawMessage{PreJob: f.PreJob, Main: f.Main, PostJob: f.PostJob} {
		if d.parts[part], err = readHandlers(handlers); err != nil {
			return nil, fmt.Errorf("reading its %s: %w", part, err)
		}
	}
	return d, nil
}

// Lookup finds an input by its name or, when no input has that name, by an
// alias, ignoring case.
func (d *Definition) Lookup(name string) (Input, bool) {
	for _, in := range d.Inputs {
		if strings.EqualFold(in.Name, name) {
			return in, true
		}
	}
	for _, in := range d.Inputs {
		for _, alias := range in.Aliases {
			if strings.EqualFold(alias, name) {
				return in, true
			}
		}
	}
	return Input{}, false
}
