package pipeline

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestMistakesAreFoundWhereTheyAre(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string // without the file
	}{
		"unknown key, and several at once": {`steps:
- script: a
  workingdirectory: b
- bash: c
  foo: d
poool: x
`, []string{"(Line: 3, Col: 3): Unexpected value 'workingdirectory'", "(Line: 5, Col: 3): Unexpected value 'foo'", "(Line: 6, Col: 1): Unexpected value 'poool'"}},
		"key of another form":  {"steps: []\njobs: []\n", []string{"(Line: 2, Col: 1): 'jobs' cannot be combined with 'steps'"}},
		"no form":              {"name: x\n", []string{"(Line: 1, Col: 1): There's not enough info to determine what you meant. Add one of these properties: stages, extends, jobs, steps, phases"}},
		"empty":                {"# nothing\n", []string{"(Line: 1, Col: 1): The file is empty: one of 'steps', 'jobs' and 'stages' is expected"}},
		"not YAML":             {"steps:\n- script: a: b\n", []string{"(Line: 2, Col: 11): mapping value is not allowed in this context"}},
		"two documents":        {"steps: []\n---\nsteps: []\n", []string{"(Line: 3, Col: 1): Only one document per file is supported"}},
		"anchor and alias":     {"steps: &x []\njobs: *x\n", []string{"(Line: 1, Col: 8): Anchors are not currently supported. Remove the anchor 'x'", "(Line: 2, Col: 7): Aliases are not currently supported. Remove the alias 'x'"}},
		"merge key":            {"<<: {steps: []}\n", []string{"(Line: 1, Col: 1): Merge keys are not supported. Remove the key '<<'"}},
		"foreign tag":          {"steps: !mine []\n", []string{"(Line: 1, Col: 8): Unexpected tag '!mine'"}},
		"duplicate key":        {"steps:\n- script: a\n  Script: b\n", []string{"(Line: 3, Col: 3): 'Script' is already defined"}},
		"duplicate from an if": {"steps:\n- script: a\n  ${{ if true }}:\n    script: b\n", []string{"(Line: 4, Col: 5): 'script' is already defined"}},
		"expression not closed": {"steps:\n- script: ${{ a\n", []string{
			"(Line: 2, Col: 11): The expression is not closed. An unescaped ${{ sequence was found, but the closing }} sequence was not found.",
		}},
		"blank expression":     {"steps:\n- script: x${{ }}\n", []string{"(Line: 2, Col: 11): An expression was expected"}},
		"unknown name":         {"steps:\n- script: ${{ foo }}\n", []string{"(Line: 2, Col: 11): Unrecognized named-value: 'foo'. Located at position 1 within expression: foo."}},
		"G25: hyphen":          {"parameters:\n- {name: my-flag, default: a}\nsteps:\n- script: ${{ parameters.my-flag }}\n", []string{"(Line: 4, Col: 11): Unexpected symbol: 'my-flag'. Located at position 12 within expression: parameters.my-flag."}},
		"undeclared":           {"steps:\n- script: ${{ parameters.nope }}\n", []string{"(Line: 2, Col: 11): Unexpected parameter 'nope': it is not declared under 'parameters'"}},
		"untaken, bad words":   {"steps:\n- ${{ if false }}:\n  - script: ${{ eq( }} ${{ foo }}\n", []string{"(Line: 3, Col: 13): Unclosed function: 'eq'. Located at position 1 within expression: eq(."}},
		"list in a text":       {"parameters:\n- {name: l, type: object, default: [a]}\nsteps:\n- script: x${{ parameters.l }}\n", []string{"(Line: 4, Col: 11): Unable to convert from Array to String. Value: Array"}},
		"list for a text":      {"parameters:\n- {name: l, type: object, default: [a]}\nsteps:\n- script: ${{ parameters.l }}\n", []string{"(Line: 4, Col: 11): A sequence was not expected"}},
		"else without a colon": {"steps:\n- ${{ if false }}:\n  - ${{ else }}\n  - ${{ if x }}: []\n", []string{"(Line: 3, Col: 5): The expression directive 'else' is not supported in this context"}},
		"else alone":           {"steps:\n- ${{ else }}:\n  - script: a\n", []string{"(Line: 2, Col: 3): The directive 'else' must follow 'if' or 'elseif'"}},
		"if without words":     {"steps:\n- ${{ if }}:\n  - script: a\n", []string{"(Line: 2, Col: 3): Exactly 1 parameter(s) were expected following the directive 'if'. Actual parameter count: 0"}},
		"each without in":      {"steps:\n- ${{ each x parameters }}:\n  - script: a\n", []string{"(Line: 2, Col: 3): Exactly 3 parameter(s) were expected following the directive 'each'. Actual parameter count: 2"}},
		"each over a text":     {"steps:\n- ${{ each x in 'a' }}:\n  - script: a\n", []string{"(Line: 2, Col: 3): Expected a sequence or mapping, and the expression is a String"}},
		"directive in text":    {"steps:\n- script: a ${{ if true }}\n", []string{"(Line: 2, Col: 11): The directive 'if' is not allowed in this context. Directives are not supported for expressions that are embedded within a string. Directives are only supported when the entire value is an expression."}},
		"directive as value":   {"steps:\n- script: ${{ if true }}\n", []string{"(Line: 2, Col: 11): The expression directive 'if' is not supported in this context"}},
		"required parameter": {"parameters:\n- name: a\n- {name: b, type: number, default: x}\nsteps: []\n", []string{
			"(Line: 2, Col: 3): A value for the 'a' parameter must be provided.", "(Line: 3, Col: 36): The 'b' parameter value 'x' is not a valid number.",
		}},
		"value not allowed":     {"parameters:\n- {name: a, default: x, values: [y, z]}\nsteps: []\n", []string{"(Line: 2, Col: 22): The value 'x' is not one of the allowed values of the parameter 'a': y, z"}},
		"string from a mapping": {"parameters:\n- name: a\n  default: {b: c}\nsteps: []\n", []string{"(Line: 3, Col: 12): A mapping was not expected"}},
		"no extends":            {"extends: {template: a.yml}\n", []string{"(Line: 1, Col: 21): The template 'a.yml' cannot be read here"}},
		"no templates": {"stages:\n- template: s.yml\n- stage: a\n  jobs:\n  - template: j.yml\n  - job: b\n    variables: [{template: v.yml, parameters: {}}]\n    steps:\n    - template: t.yml\n      condition: x\n", []string{
			"(Line: 2, Col: 13): The template 's.yml' cannot be read here", "(Line: 5, Col: 15): The template 'j.yml' cannot be read here",
			"(Line: 7, Col: 28): The template 'v.yml' cannot be read here", "(Line: 9, Col: 17): The template 't.yml' cannot be read here",
			"(Line: 10, Col: 7): Unexpected value 'condition'",
		}},
		"unsupported": {"jobs:\n- deployment: d\n- job: a\n  strategy: {runOnce: {}}\n", []string{"(Line: 2, Col: 3): 'deployment' is not supported yet", "(Line: 4, Col: 14): 'runOnce' is not supported yet"}},
		"step kinds": {"steps:\n- foo: a\n- name: b\n  script: c\n- d\n- {}\n- reviewApp: e\n", []string{
			"(Line: 2, Col: 3): Unexpected value 'foo'", "(Line: 3, Col: 3): Unexpected value 'name': a step begins with 'script'", "(Line: 5, Col: 3): Unexpected value 'd'",
			"(Line: 6, Col: 3): There's not enough info to determine what you meant. Add one of these properties: " + strings.Join(stepKinds, ", "), "(Line: 7, Col: 3): 'reviewApp' is not supported yet",
		}},
		"step fields": {"steps:\n- script: a\n  condition: succeeded(\n  continueOnError: maybe\n  timeoutInMinutes: soon\n  name: a-b\n", []string{
			"(Line: 3, Col: 14): Unclosed function: 'succeeded'. Located at position 1 within expression: succeeded(.", "(Line: 4, Col: 20): Unexpected value 'maybe'",
			"(Line: 5, Col: 21): Unexpected value 'soon'", "(Line: 6, Col: 9): Step a-b has an invalid name. Valid names may only contain alphanumeric characters and '_' and may not start with a number.",
		}},
		"nothing to run":        {"jobs: []\n", []string{"(Line: 1, Col: 7): At least one job is expected"}},
		"late fields of a step": {"steps:\n- script: a\n  continueOnError: $[ true ]\n", []string{"(Line: 3, Col: 20): Unexpected value '$[ true ]': a step does not evaluate $[ ]"}},
		"two steps of one name": {"steps:\n- {script: a, name: x}\n- {script: a, name: X}\n", []string{"(Line: 3, Col: 21): The step name X appears more than once. Step names must be unique within a job."}},
		"unknown task": {"steps:\n- task: Dokcer@2\n- task: Docker@1\n- task: Docker\n", []string{
			"(Line: 2, Col: 9): The task 'Dokcer@2' is not known: without its id it cannot run", "(Line: 3, Col: 9): The task 'Docker@1' is not known in this version", "(Line: 4, Col: 9): Unexpected value 'Docker': a task is written Name@Version",
		}},
		"graph of jobs": {"jobs:\n- job: a\n  dependsOn: x\n- job: a\n- job: 1b\n", []string{
			"(Line: 2, Col: 3): Job a depends on unknown job x.", "(Line: 4, Col: 3): Job a appears more than once. Job names must be unique within a stage.",
			"(Line: 5, Col: 3): Job 1b has an invalid name. Valid names may only contain alphanumeric characters and '_' and may not start with a number.",
		}},
		"cycle of jobs":  {"jobs:\n- job: r\n- job: a\n  dependsOn: b\n- job: b\n  dependsOn: a\n", []string{"(Line: 5, Col: 3): Job b depends on job a which creates a cycle in the dependency graph."}},
		"no first stage": {"stages:\n- stage: a\n  dependsOn: b\n- stage: b\n", []string{"(Line: 2, Col: 3): The pipeline must contain at least one stage with no dependencies."}},
		"no first job":   {"stages:\n- stage: a\n  jobs: [{job: j, dependsOn: j}]\n", []string{"(Line: 3, Col: 10): Stage a must contain at least one job with no dependencies."}},
		"containers": {"resources:\n  containers:\n  - container: a\n  - container: b\n    image: x\n    mountReadOnly: {work: true, all: true}\nsteps: []\nservices: {c: }\n", []string{
			"(Line: 3, Col: 5): There's not enough info to determine what you meant. Add one of these properties: image", "(Line: 6, Col: 33): Unexpected value 'all'", "(Line: 8, Col: 12): The service 'c' names no container",
		}},
		"older resources": {"resources:\n- repo: self\n- repo: other\n  clean: true\nsteps: []\n", []string{"(Line: 3, Col: 3): Unexpected value 'other': the list form of 'resources' knows 'repo: self' only", "(Line: 4, Col: 3): 'clean' is not supported yet"}},
		"runtime expression": {"variables:\n  a: $[ foo ]\n  b: $[ ]\n  c: $[ x\nsteps: []\n", []string{
			"(Line: 2, Col: 6): Unrecognized named-value: 'foo'. Located at position 1 within expression: foo.",
			"(Line: 3, Col: 6): '$[ ]' is not a valid expression. Expressions must be enclosed with '$[' and ']'.", "(Line: 4, Col: 6): '$[ x' is not a valid expression. Expressions must be enclosed with '$[' and ']'.",
		}},
		"repository": {"steps:\n- checkout: other\n- checkout: git://a/b\n", []string{
			"(Line: 2, Col: 13): The repository 'other' is not declared under resources.repositories", "(Line: 3, Col: 13): The inline repository 'git://a/b' is not supported yet",
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Source{File: "ci/azure-pipelines.yml", Content: []byte(test.text)}, testOptions())
			if err == nil {
				t.Fatal("Load accepted it")
			}
			var got []string
			for line := range strings.Lines(err.Error()) {
				got = append(got, strings.TrimPrefix(strings.TrimSpace(line), "/ci/azure-pipelines.yml "))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("mistakes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesCarryAPositionAndAHint(t *testing.T) {
	_, err := Load(Source{File: "/a.yml", Content: []byte("pool: {vmimage: x}\nsteps:\n- task: Dokcer@2\n")}, Options{})
	first, ok := errors.AsType[*Error](err)
	if want := (Error{"/a.yml", 1, 8, "Unexpected value 'vmimage'"}); !ok || *first != want {
		t.Errorf("first mistake = %+v, want %+v", first, want)
	}
	if diff := cmp.Diff([]string{"write 'vmImage': keys have exactly this case", "did you mean Docker@2?"}, hint.All(err)); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
}

func TestAnUnknownTaskComesWithAdvice(t *testing.T) {
	const builtin = "name one that is known here, or do what the task does in a script step"
	for reference, want := range map[string]string{
		"Dokcer@2":                 "did you mean Docker@2?",
		"HelmDeploi@1":             "did you mean HelmDeploy@0 or HelmDeploy@1?",
		"Docker@1":                 "use Docker@2",
		"Maven@2":                  "use Maven@3 or Maven@4",
		"Docker":                   "did you mean Docker@2?",
		"Docker@":                  "did you mean Docker@2?",
		"Docker@latest":            "did you mean Docker@2?",
		"ms.vss-test.SonarQube@5":  builtin,
		"@2":                       builtin,
		strings.Repeat("x", 1<<20): builtin,
	} {
		_, err := Load(Source{File: "a.yml", Content: []byte("steps:\n- task: '" + reference + "'\n")}, Options{})
		if diff := cmp.Diff([]string{want}, hint.All(err)); diff != "" {
			t.Errorf("hints for %.30s (-want +got):\n%s", reference, diff)
		}
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("error for %.30s = %.200v, want one line", reference, err)
		}
	}
}

func TestGivenParametersAreChecked(t *testing.T) {
	const text = "parameters:\n- {name: list, type: object, default: []}\n- {name: on, type: boolean, default: true}\nsteps:\n- ${{ each x in parameters.list }}:\n  - script: ${{ x }}\n    enabled: ${{ parameters.on }}\n"
	o := testOptions()
	o.Parameters = map[string]string{"list": "[a, 'b']", "ON": "TRUE"}
	if diff := cmp.Diff([]string{"CmdLine1: a", "CmdLine2: b"}, describe(load(t, text, o))); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	for name, value := range map[string]string{"nope": "x", "on": "yes", "list": "[a"} {
		o.Parameters = map[string]string{name: value}
		if _, err := Load(Source{File: "a.yml", Content: []byte(text)}, o); err == nil {
			t.Errorf("the parameter %s = %s was accepted", name, value)
		}
	}
}

func TestWhatTheRunDoesNotDoIsAWarning(t *testing.T) {
	o := testOptions()
	p := load(t, "variables:\n- group: g\n- {name: password, value: x}\njobs:\n- job: a\n  pool: server\n- job: b\n  steps:\n  - script: a\n    target: nowhere\n", o)
	want := []string{
		"/azure-pipelines.yml (Line: 2, Col: 10): the variable group 'g' is unknown here: its variables are not set",
		"/azure-pipelines.yml (Line: 3, Col: 27): the variable 'password' is declared in the file and cannot be set when the run starts",
		"/azure-pipelines.yml (Line: 5, Col: 3): the job 'a' runs on the server and is skipped here",
		"/azure-pipelines.yml (Line: 10, Col: 13): the target 'nowhere' is not declared under resources.containers: the step runs where the job runs",
	}
	if diff := cmp.Diff(want, p.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// A key that is read and does nothing here is never passed over in silence.
func TestKeysWithoutEffectAreWarnings(t *testing.T) {
	p := load(t, `lockBehavior: runLatest
appendCommitMessageToRunName: true
pool: {vmImage: windows-latest}
resources:
  repositories:
  - {repository: self, type: git}
  - repository: other
    type: git
    name: other
    endpoint: hub
    trigger: none
  containers:
  - {container: db, image: redis, trigger: true, endpoint: hub}
stages:
- stage: a
  group: g
  isSkippable: false
  lockBehavior: sequential
  templateContext: {a: b}
  jobs:
  - job: j
    templateContext: {}
    uses: {repositories: [other], pools: [p]}
  - job: k
- stage: b
  trigger: manual
  isSkippable: true
  jobs: [{job: l}]
`, testOptions())
	want := []string{
		"(Line: 1, Col: 1): 'lockBehavior' has no effect here: there are no environments to lock",
		"(Line: 2, Col: 1): 'appendCommitMessageToRunName' has no effect here: the run has the name that 'name' gives it",
		"(Line: 3, Col: 17): the image 'windows-latest' is not used: the job runs on the machine of the agent that takes it",
		"(Line: 6, Col: 5): what is said about 'self' has no effect here: it is the repository that the run was started for",
		"(Line: 10, Col: 5): 'endpoint' has no effect here: the repository is fetched with the credentials given for this run",
		"(Line: 11, Col: 5): 'trigger' has no effect here: nothing but a person starts a run",
		"(Line: 13, Col: 35): 'trigger' has no effect here: nothing but a person starts a run",
		"(Line: 13, Col: 50): the service connection 'hub' is not known here: the image is pulled with the agent's own credentials",
		"(Line: 16, Col: 3): 'group' has no effect here: stages are shown one by one",
		"(Line: 17, Col: 3): 'isSkippable' has no effect here: whoever starts the run chooses its stages",
		"(Line: 18, Col: 3): 'lockBehavior' has no effect here: there are no environments to lock",
		"(Line: 19, Col: 3): 'templateContext' has no effect here: nothing reads it once the templates are expanded",
		"(Line: 22, Col: 5): 'templateContext' has no effect here: nothing reads it once the templates are expanded",
		"(Line: 23, Col: 35): 'pools' has no effect here: there is nothing to authorise",
		"(Line: 26, Col: 3): the stage 'b' runs only when it is asked for by name",
	}
	var got []string
	for _, w := range p.Warnings {
		got = append(got, strings.TrimPrefix(w, "/azure-pipelines.yml "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// FuzzLoad checks that no file makes loading panic, that every mistake has a place, and
// that what loads also starts.
func FuzzLoad(f *testing.F) {
	shop, err := os.ReadFile("testdata/shop.yml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(shop))
	for _, seed := range []string{
		"steps:\n- script: ${{ variables.a }}\n", "jobs:\n- job: a\n  strategy: {matrix: {x: {a: b}}}\n  container: {image: a}\n",
		"stages:\n- stage: a\n  jobs: [{job: b, dependsOn: b}]\n", "parameters:\n- {name: a, type: object, default: {b: [c]}}\nsteps:\n- ${{ each x in parameters.a }}:\n  - ${{ insert }}: ${{ x.value }}\n",
		"steps:\n- template: a.yml\n- template: a.yml\n", "parameters: {a: b}\nextends: {template: a.yml, parameters: {a: c}}\n",
		"? a\n: b\n", "steps:\n- ${{ if true }}:\n    script: a\n  ${{ else }}:\n  - bash: b\n", "a: &x [*x]", "variables: {a: '$[ counter() ]'}\nsteps: [{checkout: none}]\n",
		"pr: none\ntrigger: [a]\nschedules: [{cron: x, branches: {include: [a]}}]\nsteps: [{download: current}]",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// Every template is the file itself, so that there is no end.
		itself := func(string, string) ([]byte, error) { return []byte(text), nil }
		p, err := Load(Source{File: "a.yml", Content: []byte(text), Open: itself}, Options{})
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Line < 1 || e.Column < 1 {
				t.Errorf("the mistake has no place: %v", err)
			}
			return
		}
		r, err := NewRun(p, RunOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			for _, j := range r.Ready() {
				if j.Message() == nil || !slices.ContainsFunc(r.Jobs(), func(other Job) bool { return other.ID == j.ID }) {
					t.Fatalf("the job %s is ready without a message", j.Identifier())
				}
				if err := r.Finish(j.ID, "succeeded", nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := p.Expanded(); err != nil {
			t.Error(err)
		}
	})
}

func TestAParameterForAFileWithoutParametersIsRefused(t *testing.T) {
	_, err := Load(Source{File: "x.yml", Content: []byte("steps:\n- script: echo\n")},
		Options{Parameters: map[string]string{"x": "1"}})
	if want := "/x.yml (Line: 1, Col: 1): Unexpected parameter 'x'"; err == nil || err.Error() != want {
		t.Errorf("Load = %v, want %s", err, want)
	}
}
