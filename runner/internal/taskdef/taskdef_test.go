package taskdef_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/taskdef"
)

const sample = `{
  "id": "5C2F1B7E-93A4-4D0E-8A6B-1F0E7D3C9A10", "name": "Sample", "friendlyName": "A sample", "author": "us",
  "description": "d", "helpUrl": "https://example.com/", "version": {"Major": 1, "Minor": "2", "Patch": 3},
  "inputs": [
    {"name": "count", "type": "string", "defaultValue": 3, "aliases": ["n"]},
    {"name": "on", "type": "boolean", "defaultValue": true, "required": "false"},
    {"name": "file", "type": "filePath", "defaultValue": " a b "},
    {"name": "where", "type": "ConnectedService:Generic", "defaultValue": null},
    {"name": "key", "type": "secureFile"}
  ],
  "outputVariables": [{"name": "made", "description": "x"}],
  "restrictions": {"commands": {"mode": "restricted"}, "settableVariables": {"allowed": ["ok*"]}},
  "prejobexecution": {"Node16": {"target": "pre.js"}},
  "execution": {
    "Node10": {"target": "old.js", "argumentFormat": ""}, "Node20_1": {"target": "new.js", "workingDirectory": "$(dir)"},
    "Node24": {"target": "newest.js"}, "Node99": ["anything"], "PowerShell3": {"target": "x.ps1", "platforms": ["windows"]}
  },
  "dataSourceBindings": [{"target": 1}]
}`

func TestADefinitionIsReadAsAuthorsWriteIt(t *testing.T) {
	d, err := taskdef.Parse([]byte("\xef\xbb\xbf" + sample))
	if err != nil {
		t.Fatal(err)
	}
	if d.ID != "5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10" || d.Title() != "A sample" || d.Version.String() != "1.2.3" {
		t.Errorf("definition = %+v", d)
	}
	want := []taskdef.Input{
		{Name: "count", Type: "string", Default: "3", Aliases: []string{"n"}},
		{Name: "on", Type: "boolean", Default: "true"},
		{Name: "file", Type: "filePath", Default: "a b"},
		{Name: "where", Type: "ConnectedService:Generic"},
		{Name: "key", Type: "secureFile"},
	}
	if diff := cmp.Diff(want, d.Inputs); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	if !d.Inputs[2].IsFile() || !d.Inputs[3].IsConnection() || !d.Inputs[4].IsSecureFile() || d.Inputs[0].IsConnection() {
		t.Error("the types of the inputs are not recognized")
	}
	if in, ok := d.Lookup("N"); !ok || in.Name != "count" {
		t.Errorf("the alias n leads to %+v, %t", in, ok)
	}
	if !d.Restrictions.Commands || d.Restrictions.Settable == nil || len(*d.Restrictions.Settable) != 1 {
		t.Errorf("restrictions = %+v", d.Restrictions)
	}
	if !d.Has(taskdef.PreJob) || !d.Has(taskdef.Main) || d.Has(taskdef.PostJob) {
		t.Error("the parts are not those of the file")
	}
	if got := strings.Join(d.Handlers(taskdef.Main), " "); got != "Node10 Node20_1 Node24 Node99 PowerShell3" {
		t.Errorf("handlers = %s, want all of them", got)
	}
}

func TestTheNewestHandlerThatFitsTheNodeIsTaken(t *testing.T) {
	d, err := taskdef.Parse([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	for major, want := range map[int]string{16: "Node10", 20: "Node20_1", 22: "Node20_1", 24: "Node24", 99: "Node24", 6: "Node10"} {
		if h, ok := d.Node(taskdef.Main, major, "linux"); !ok || h.Name != want {
			t.Errorf("Node(%d) = %s, %t; want %s", major, h.Name, ok, want)
		}
	}
	if h, ok := d.Node(taskdef.PostJob, 20, "linux"); ok {
		t.Errorf("a part that is not there is run by %+v", h)
	}
	d, err = taskdef.Parse([]byte(`{"id": "i", "name": "n", "version": {"Major": 1, "Minor": 0, "Patch": 0}, "execution": {
		"Node20_1": {"target": "any.js"}, "Node16": {"target": "linux.js", "platforms": ["Linux"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for platform, want := range map[string]string{"linux": "linux.js", "darwin": "any.js"} {
		if h, _ := d.Node(taskdef.Main, 20, platform); h.Target != want {
			t.Errorf("on %s it runs %s, want %s", platform, h.Target, want)
		}
	}
}

func TestDefinitionsThatCannotBeUsedAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":           "<html>",
		"a list":            "[]",
		"empty":             "",
		"no id":             `{"name": "n", "version": {"Major": 1, "Minor": 0, "Patch": 0}}`,
		"no name":           `{"id": "i", "version": {"Major": 1, "Minor": 0, "Patch": 0}}`,
		"no version":        `{"id": "i", "name": "n"}`,
		"a negative one":    `{"id": "i", "name": "n", "version": {"Major": -1, "Minor": 0, "Patch": 0}}`,
		"an object as text": `{"id": {}, "name": "n", "version": {"Major": 1, "Minor": 0, "Patch": 0}}`,
		"a handler of text": `{"id": "i", "name": "n", "version": {"Major": 1, "Minor": 0, "Patch": 0}, "execution": {"Node": "x"}}`,
		"larger than any":   `{"id": "` + strings.Repeat("i", taskdef.MaxSize) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if d, err := taskdef.Parse([]byte(text)); err == nil {
				t.Errorf("Parse = %+v, want an error", d)
			}
		})
	}
}

func TestVersionsAreExact(t *testing.T) {
	for text, want := range map[string]bool{
		"1.2.3": true, "0.0.0": true, "2.279.1": true, "1.2": false, "1.2.3.4": false, "1.2.x": false, "01.2.3": false,
		"1.2.-3": false, "../1.2": false, "": false, "1.2.99999999999": false,
	} {
		if v, err := taskdef.ParseVersion(text); (err == nil) != want || want && v.String() != text {
			t.Errorf("ParseVersion(%q) = %s, %v", text, v, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"id":1,"name":true,"version":{"major":"1","MINOR":2,"patch":null},"execution":{"Node":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := taskdef.Parse(data)
		if err != nil {
			return
		}
		if d.ID == "" || d.Name == "" {
			t.Errorf("Parse(%q) has no id or no name", data)
		}
		if v, err := taskdef.ParseVersion(d.Version.String()); err != nil || v != d.Version {
			t.Errorf("Parse(%q) has version %s: %v", data, d.Version, err)
		}
		for _, part := range []taskdef.Part{taskdef.PreJob, taskdef.Main, taskdef.PostJob} {
			if h, ok := d.Node(part, 20, "linux"); ok && (h.Node == 0 || !d.Has(part)) {
				t.Errorf("Parse(%q): %s is run by %+v", data, part, h)
			}
		}
	})
}
