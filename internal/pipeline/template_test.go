package pipeline

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// loadFiles loads ci/main.yml of files; names with @alias are those of another
// repository.
func loadFiles(files map[string]string, options Options) (*Pipeline, error) {
	tree := make(fstest.MapFS)
	for name, text := range files {
		tree[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return Load(Source{
		File: "ci/main.yml", Content: []byte(files["ci/main.yml"]),
		Open: func(repository, name string) ([]byte, error) {
			if repository != "self" {
				name += "@" + repository
			}
			return fs.ReadFile(tree, name)
		},
	}, options)
}

func TestTemplatesAreInserted(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  []string
	}{
		"G20 and G36: paths begin at the file that names them": {map[string]string{
			"ci/main.yml":    "steps:\n- template: parts\\a.yml\n- script: main\n",
			"ci/parts/a.yml": "steps:\n- template: b.yml\n- template: /b.yml\n- template: ../c.yml\n",
			"ci/parts/b.yml": "steps: [{script: near}]\n",
			"b.yml":          "steps: [{script: root}]\n",
			"ci/c.yml":       "steps:\n- template: x/d.yml@Other\n",
			"x/d.yml@other":  "steps:\n- template: e.yml\n- template: /f.yml\n- template: b.yml@self\n",
			"x/e.yml@other":  "steps: [{script: other near}]\n",
			"f.yml@other":    "steps: [{script: other root}]\n",
		}, []string{"CmdLine1: near", "CmdLine2: root", "CmdLine3: other near", "CmdLine4: other root", "CmdLine5: root", "CmdLine6: main"}},
		"parameters are the template's own": {map[string]string{
			"ci/main.yml": `
parameters: [{name: who, default: world}]
variables: {v: x}
steps:
- ${{ each n in split('a,b', ',') }}:
  - template: t-${{ variables.v }}.yml
    parameters:
      name: ${{ n }}
      steps:
      - script: ${{ parameters.who }}
      - template: inner.yml
`,
			"ci/t-x.yml": `
parameters:
- name: name
- {name: steps, type: stepList, default: []}
- {name: loud, type: boolean, default: false}
steps:
- bash: ${{ parameters.name }} ${{ parameters.loud }} ${{ variables.v }}
- ${{ parameters.steps }}
`,
			"ci/inner.yml": "steps: [{pwsh: inner}]\n",
		}, []string{"Bash1: a False x", "CmdLine1: world", "PowerShell1: inner", "Bash2: b False x", "CmdLine2: world", "PowerShell2: inner"}},
		"G24: the older form of parameters": {map[string]string{
			"ci/main.yml": "steps:\n- template: t.yml\n  parameters: {flag: false, more: [1]}\n- template: t.yml\n",
			"ci/t.yml":    "parameters: {flag: ''}\nsteps:\n- ${{ if eq(parameters.flag, '') }}:\n  - script: missing\n- ${{ else }}:\n  - script: ${{ parameters.flag }}${{ parameters.nope }}\n- ${{ each m in parameters.more }}:\n  - script: ${{ m }}\n",
		}, []string{"CmdLine1: false", "CmdLine2: 1", "CmdLine3: missing"}},
		"variables, jobs and stages": {map[string]string{
			"ci/main.yml": "variables:\n- template: v.yml\n- template: w.yml\n  parameters: {x: 2}\nstages:\n- template: s.yml\n",
			"ci/v.yml":    "variables: {a: 1}\n",
			"ci/w.yml":    "parameters: [{name: x}]\nvariables:\n- {name: b, value: \"${{ parameters.x }}${{ variables.a }}\"}\n",
			"ci/s.yml":    "stages:\n- stage: s\n  jobs:\n  - template: j.yml\n",
			"ci/j.yml":    "jobs:\n- job: j\n  steps:\n  - script: ${{ variables.b }}\n",
		}, []string{"CmdLine: 21"}},
		"a list of steps is seen as tasks": {map[string]string{
			"ci/main.yml": "steps:\n- template: t.yml\n  parameters:\n    steps:\n    - script: a\n      workingDirectory: d\n      condition: always()\n    - task: Bash@3\n      inputs: {script: b}\n",
			"ci/t.yml": `
parameters: [{name: steps, type: stepList}]
steps:
- ${{ each step in parameters.steps }}:
  - ${{ each pair in step }}:
      ${{ if ne(pair.key, 'inputs') }}:
        ${{ pair.key }}: ${{ pair.value }}
      ${{ else }}:
        inputs:
          ${{ each input in pair.value }}:
            ${{ if eq(input.key, 'script') }}:
              script: checked ${{ input.value }} of ${{ step.task }} in ${{ pair.value.workingDirectory }}
            ${{ else }}:
              ${{ input.key }}: ${{ input.value }}
`,
		}, []string{"CmdLine: checked a of CmdLine@2 in d | always()", "Bash: checked b of Bash@3 in"}},
		"extends": {map[string]string{
			"ci/main.yml": "trigger: none\nvariables: {a: 1}\nextends:\n  template: e.yml\n  parameters:\n    steps: [{script: mine}]\n",
			"ci/e.yml":    "parameters:\n- {name: steps, type: stepList}\nextends:\n  template: f.yml\n  parameters:\n    before: [{bash: guard}]\n    steps: ${{ parameters.steps }}\n",
			"ci/f.yml":    "parameters:\n- {name: before, type: stepList}\n- {name: steps, type: stepList}\njobs:\n- job: only\n  steps:\n  - ${{ parameters.before }}\n  - ${{ each s in parameters.steps }}:\n    - ${{ s }}\n  - script: ${{ variables.a }}\n",
		}, []string{"Bash: guard", "CmdLine1: mine", "CmdLine2: 1"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p, err := loadFiles(test.files, testOptions())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, describe(p)); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesInTemplates(t *testing.T) {
	tests := map[string]struct{ main, template, want string }{
		"G34: a condition on a reference": {
			"steps:\n- template: t.yml\n  condition: x\n", "steps: []\n",
			"/ci/main.yml (Line: 3, Col: 3): Unexpected value 'condition'",
		},
		"parameters": {
			"steps:\n- template: t.yml\n  parameters: {b: 1, n: x}\n", "parameters:\n- name: a\n- {name: n, type: number, default: 1}\nsteps: []\n",
			"/ci/main.yml (Line: 2, Col: 13): A value for the 'a' parameter must be provided.\n/ci/main.yml (Line: 3, Col: 19): Unexpected parameter 'b'\n/ci/main.yml (Line: 3, Col: 25): The 'n' parameter value 'x' is not a valid number.",
		},
		"the place is in the template": {
			"steps:\n- template: t.yml\n", "steps:\n- script: a\n  foo: ${{ x }}\n",
			"/ci/t.yml (Line: 3, Col: 8): Unrecognized named-value: 'x'. Located at position 1 within expression: x.",
		},
		"unknown keys of what was inserted": {
			"steps:\n- template: t.yml\n", "steps:\n- script: a\n  foo: b\n", "/ci/t.yml (Line: 3, Col: 3): Unexpected value 'foo'",
		},
		"another kind of template": {
			"jobs:\n- template: t.yml\n", "steps: []\n",
			"/ci/t.yml (Line: 1, Col: 1): Unexpected value 'steps': a template named here contains 'jobs'",
		},
		"not there":      {"steps:\n- template: u.yml\n", "", "/ci/main.yml (Line: 2, Col: 13): File /ci/u.yml cannot be read: open ci/u.yml: file does not exist"},
		"outside":        {"steps:\n- template: ../../t.yml\n", "", "/ci/main.yml (Line: 2, Col: 13): The template '../../t.yml' is outside of its repository"},
		"without an end": {"steps:\n- template: t.yml\n", "steps:\n- template: t.yml\n", "/ci/t.yml (Line: 2, Col: 13): Maximum template nesting of 100 exceeded"},
		"not YAML":       {"steps:\n- template: t.yml\n", "steps: [\n", "/ci/t.yml (Line: 1, Col: 8): sequence end token ']' not found"},
		"defined twice":  {"variables: {a: b}\nextends: {template: t.yml}\n", "variables: {c: d}\nsteps: []\n", "/ci/t.yml (Line: 1, Col: 1): 'variables' is already defined"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := loadFiles(map[string]string{"ci/main.yml": test.main, "ci/t.yml": test.template}, testOptions())
			if err == nil {
				t.Fatal("Load accepted it")
			}
			lines := strings.Split(err.Error(), "\n")
			if diff := cmp.Diff(strings.Split(test.want, "\n"), lines); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}
