package bake

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/hint"
)

// resolveText resolves one file of this text.
func resolveText(t *testing.T, name, text string, o Options) (*Plan, error) {
	t.Helper()
	return Resolve(t.Context(), []File{{Name: name, Data: []byte(text)}}, o)
}

func TestWhatIsWrongNamesItsPlaceAndTheRemedy(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no plugin
	t.Chdir(t.TempDir())
	for name, c := range map[string]struct {
		file, text string
		options    Options
		want, hint string
	}{
		"no JSON": {text: "{\n  \"target\": {\n    \"a\": {},\n  }\n}", want: "b.json:4: invalid character '}'", hint: "without a comma"},
		"cut off": {text: "{\n\"target\": {", want: "b.json:2: unexpected end"},
		"a list":  {text: "[]", want: "b.json:1: a bake file is an object, not a list"},
		"a key that does not exist": {
			text: "{\"target\": {\n\"a\": {\"tagz\": []}}}", want: `b.json:2: a target has no "tagz"`, hint: "tags",
		},
		"a key in the plural":    {text: `{"target": {"a": {"outputs": []}}}`, want: `has no "outputs"`, hint: "write output"},
		"targets":                {text: `{"targets": {}}`, want: `b.json:1: a bake file has no "targets"`, hint: "write target"},
		"a key twice":            {text: "{\"target\": {\"a\": {\"tags\": [],\n\"tags\": []}}}", want: "b.json:2: tags of a is set already in line 1"},
		"a number for a list":    {text: `{"target": {"a": {"tags": 1}}}`, want: "b.json:1: tags of a: there is a number where a list is wanted"},
		"an object for a text":   {text: `{"target": {"a": {"context": {}}}}`, want: "context of a: there is an object where a string is wanted"},
		"a text for a boolean":   {text: `{"target": {"a": {"pull": "maybe"}}}`, want: "pull of a: there is a string where true or false is wanted"},
		"a name with a dot":      {text: `{"target": {"a.b": {}}}`, want: `"a.b" is no name for a target`, hint: "letters"},
		"a name without matrix":  {text: `{"target": {"a": {"name": "b"}}}`, want: "name of a needs a matrix"},
		"a matrix without name":  {text: `{"target": {"a": {"matrix": {"x": ["1", "2"]}}}}`, want: "makes the target a twice", hint: "set name"},
		"a matrix of thousands":  {text: `{"target": {"a": {"matrix": {"a": [1,2,3,4,5,6,7,8,9,0], "b": [1,2,3,4,5,6,7,8,9,0], "c": [1,2,3,4,5,6,7,8,9,0], "d": [1,2]}}}}`, want: "more than 1024"},
		"an undeclared variable": {text: "{\"target\": {\"a\":\n{\"tags\": [\"${NO}\"]}}}", want: "b.json:2: there is no variable NO"},
		"variables in a circle":  {text: `{"variable": {"A": {"default": "${B}"}, "B": {"default": "${A}"}}, "target": {"a": {}}}`, want: "made of itself: A → B → A"},
		"a list inside a text":   {text: `{"variable": {"L": {"default": []}}, "target": {"a": {"tags": ["x:${L}"]}}}`, want: "${L} cannot be part of a text: it is a list"},
		"a wrong number from outside": {
			text: `{"variable": {"N": {"default": 1}}, "target": {"a": {}}}`, options: Options{Environ: []string{"N=x"}}, want: `N is "x", not a number`,
		},
		"a number that fills memory": {text: `{"target": {"a": {"args": {"A": 1e999999999}}}}`, want: "too large"},
		"an expression":              {text: "{\"target\": {\"a\": {\"args\": {\n\"A\": \"${upper(B)}\"}}}}", want: "b.json:2: the expression ${upper(B)} is evaluated by the buildx plugin only", hint: "docker-buildx"},
		"a directive":                {text: `{"target": {"a": {"args": {"A": "%{ if x }"}}}}`, want: "the directive %{ if x } is", hint: "docker-buildx"},
		"another target's attribute": {text: `{"target": {"a": {"tags": "${target.b.tags}"}, "b": {}}}`, want: "the reference ${target.b.tags}", hint: "docker-buildx"},
		"a function":                 {text: `{"function": {}}`, want: "a function is evaluated", hint: "docker-buildx"},
		"HCL":                        {file: "b.hcl", text: `target "a" {}`, want: "b.hcl: HCL is evaluated", hint: "docker-buildx"},
		"a policy":                   {text: `{"target": {"a": {"policy": []}}}`, want: "policy of a: this is not supported", hint: "docker buildx bake"},
		"no target of the name":      {text: `{"target": {"a": {}}, "group": {"g": {"targets": ["a"]}}}`, options: Options{Targets: []string{"b"}}, want: `there is no target "b"`, hint: "there are a, g"},
		"no target of the pattern":   {text: `{"target": {"a": {}}}`, options: Options{Targets: []string{"b*"}}, want: `there is no target "b*"`},
		"groups in a circle":         {text: `{"group": {"default": {"targets": ["g"]}, "g": {"targets": ["default"]}}}`, want: "groups contain each other: default → g → default"},
		"heirs in a circle":          {text: `{"target": {"default": {"inherits": ["b"]}, "b": {"inherits": ["default"]}}}`, want: "inherit from each other: default → b → default"},
		"bases in a circle":          {text: `{"target": {"default": {"contexts": {"x": "target:b"}}, "b": {"contexts": {"x": "target:default"}}}}`, want: "built from each other: default → b → default"},
		"a base of itself":           {text: `{"target": {"default": {"contexts": {"x": "target:default"}}}}`, want: "built from each other: default → default"},
		"a parent that is not there": {text: `{"target": {"default": {"inherits": ["b"]}}}`, want: `target default: there is no target "b"`},
		"a base for other platforms": {
			text: `{"target": {"default": {"platforms": ["linux/amd64", "linux/arm64"], "contexts": {"x": "target:b"}}, "b": {"platforms": ["linux/amd64", "linux/386"]}}}`,
			want: "default is built for linux/arm64, but b",
		},
		"an override without a key":    {text: `{"target": {"default": {}}}`, options: Options{Set: []string{"default=1"}}, want: `"default=1" names no key`, hint: "--set TARGET.key=value"},
		"an override of nothing":       {text: `{"target": {"default": {}}}`, options: Options{Set: []string{"x*.pull=true"}}, want: `there is no target "x*"`},
		"an override that is unknown":  {text: `{"target": {"default": {}}}`, options: Options{Set: []string{"*.colour=red"}}, want: `the key "colour"`},
		"an override that adds to one": {text: `{"target": {"default": {}}}`, options: Options{Set: []string{"*.context+=x"}}, want: "adds to context, which is no list"},
		"an override of a secret":      {text: `{"target": {"default": {}}}`, options: Options{Set: []string{"*.secret.x=env=Y"}}, want: "default has no secret x", hint: "secret+=id=x"},
		"an override that is no truth": {text: `{"target": {"default": {}}}`, options: Options{Set: []string{"*.pull=maybe"}}, want: `"maybe" is neither true nor false`},
		"an attestation half off":      {text: `{"target": {"a": {"attest": ["type=sbom,disabled=maybe"]}}}`, want: "b.json:1: attest of a: the attestation \"type=sbom,disabled=maybe\": disabled is \"maybe\", neither", hint: "disabled=true"},
		"an attestation without truth": {text: `{"target": {"a": {"attest": [{"type": "sbom", "disabled": ""}]}}}`, want: `disabled is "", neither`},
		"an override of its truth":     {text: `{"target": {"default": {}}}`, options: Options{Set: []string{"*.attest=type=sbom,disabled=yes"}}, want: `disabled is "yes", neither`},
		"a compose file with such":     {file: "c.yml", text: "services: {a: {build: {context: ., provenance: \"disabled=no\"}}}", want: `provenance: the attestation "type=provenance,disabled=no"`},
		"an entry without a type":      {text: `{"target": {"a": {"output": ["dest=x"]}}}`, want: `output of a: the output "dest=x" has no type`},
		"compose that is no YAML":      {file: "c.yml", text: "services: [", want: "reading c.yml"},
		"compose with a wrong key":     {file: "c.yml", text: "services: {a: {build: {contxt: .}}}", want: "services.a.build"},
		"an unknown key of x-bake":     {file: "c.yml", text: "services: {a: {build: {context: ., x-bake: {tag: x}}}}", want: "services.a.build: x-bake: tag", hint: "x-bake has tags"},
		"an external secret":           {file: "c.yml", text: "services: {a: {build: {context: ., secrets: [s]}}}\nsecrets: {s: {external: true}}", want: "the secret s is external"},
	} {
		t.Run(name, func(t *testing.T) {
			file := c.file
			if file == "" {
				file = "b.json"
			}
			_, err := resolveText(t, file, c.text, c.options)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error = %v, want one with %q", err, c.want)
			}
			if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, c.hint) {
				t.Errorf("hints = %q, want one with %q", hints, c.hint)
			}
		})
	}
}

func TestReadingNamesTheUsualFilesWhenThereAreNone(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := Read(nil, nil)
	if err == nil || !strings.Contains(strings.Join(hint.All(err), " "), "docker-bake.override.hcl") {
		t.Errorf("Read(nil) = %v, want a hint with the usual names", err)
	}
	if _, err := Read([]string{"no.json"}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Read(no.json) = %v, want that it does not exist", err)
	}
	if _, err := Read([]string{"https://example.com/docker-bake.json"}, nil); err == nil || !strings.Contains(err.Error(), "not on this machine") {
		t.Errorf("Read(URL) = %v, want that it is not on this machine", err)
	}
}

func TestTheLanguageOfAFileGoesByNameAndThenByContent(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       language
	}{
		{"a.yml", "", composeFile},
		{"A.YAML", "{}", composeFile},
		{"a.json", "services: {}", jsonFile},
		{"a.hcl", "{}", hclFile},
		{"-", "services: {a: {build: .}}", composeFile},
		{"-", `{"services": {}}`, composeFile},
		{"-", `{"target": {}}`, jsonFile},
		{"-", `[]`, jsonFile},
		{"-", `target "a" {}`, hclFile},
		{"Bakefile", "", hclFile},
	} {
		if got := (File{Name: c.name, Data: []byte(c.text)}).language(); got != c.want {
			t.Errorf("language of %s with %q = %d, want %d", c.name, c.text, got, c.want)
		}
	}
}

func TestAComposeFileIsReadFromStandardInput(t *testing.T) {
	t.Chdir(t.TempDir())
	files, err := Read([]string{"-"}, strings.NewReader("services: {a: {build: {context: ., privileged: true, ulimits: {nproc: 5}}}}"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Resolve(t.Context(), files, Options{})
	if err != nil {
		t.Fatal(err)
	}
	// Both of these buildx gets wrong: it drops the first and makes 0:0 of the second.
	a := plan.Targets["a"]
	if len(a.Entitlements) != 1 || a.Entitlements[0] != securityInsecure || len(a.Ulimits) != 1 || a.Ulimits[0] != "nproc=5:5" {
		t.Errorf("entitlements and ulimits = %q, %q", a.Entitlements, a.Ulimits)
	}
}

func FuzzJSON(f *testing.F) {
	for _, dir := range []string{"json", "matrix", "links", "globals"} {
		data, err := os.ReadFile(filepath.Join("testdata", dir, "docker-bake.json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"target":{"a":{"matrix":{"x":[{"y":["${z}"]}]},"name":"${x.y[0]}"}},"variable":{"z":{"default":"${z}"}}}`))
	f.Add([]byte("{\"a\":\"${\",\"target\":[[{\"b\":[[]]}]]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &definition{vars: newVariables(func(string) (string, bool) { return "", false })}
		err := d.addJSON([]File{{Name: "f", Data: data}})
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.File != "f" || e.Line < 1 {
				t.Errorf("the error %v names no line", err)
			}
			return
		}
		plan, err := d.plan(Options{Targets: []string{"*"}})
		if err != nil {
			return
		}
		// What is printed is a bake file that means the same.
		printed, err := plan.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		again := &definition{vars: newVariables(func(string) (string, bool) { return "", false })}
		if err := again.addJSON([]File{{Name: "printed", Data: printed}}); err != nil {
			t.Fatalf("reading what was printed: %v\n%s", err, printed)
		}
		if got, want := len(again.targets), len(plan.Targets); got != want {
			t.Errorf("targets of what was printed = %d, want %d", got, want)
		}
	})
}
