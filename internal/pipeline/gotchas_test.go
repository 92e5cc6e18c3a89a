package pipeline

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

// describe prints the steps of the first job as "task: script | condition".
func describe(p *Pipeline) []string {
	var lines []string
	for _, s := range p.Stages[0].Jobs[0].Steps {
		if s.isCheckout() {
			continue
		}
		line := s.Name + ": " + strings.TrimSpace(s.Inputs["script"])
		if s.Condition != "" {
			line += " | " + s.Condition
		}
		lines = append(lines, line)
	}
	return lines
}

func TestWhatTemplatesExpandTo(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"G1: a boolean parameter compared as text": {`
parameters:
- {name: deploy, type: boolean, default: true}
steps:
- script: echo ${{ parameters.deploy }}
  condition: eq('${{ parameters.deploy }}', 'true')
`, []string{"CmdLine: echo True | eq('True', 'true')"}},
		"G2: the left side decides": {`
parameters:
- {name: deploy, type: boolean, default: true}
steps:
- ${{ if eq(parameters.deploy, 'false') }}:
  - script: surprise
- ${{ else }}:
  - script: expected
`, []string{"CmdLine: surprise"}},
		"G3: a variable that looks false": {`
variables: {runIt: false}
steps:
- ${{ if variables.runIt }}:
  - script: echo ran
`, []string{"CmdLine: echo ran"}},
		"G5 and G6: macros and late variables at compile time": {`
steps:
- ${{ if or(eq('$(Build.Reason)', 'Manual'), eq(variables.password, 'hunter2')) }}:
  - script: never
- ${{ elseif eq(variables['build.reason'], 'manual') }}:
  - script: known
`, []string{"CmdLine: known"}},
		"G21: a list is flattened, an empty one disappears": {`
parameters:
- name: pre
  type: stepList
  default:
  - script: one
  - bash: two
- {name: post, type: stepList, default: []}
steps:
- ${{ parameters.pre }}
- script: last
- ${{ parameters.post }}
- ${{ variables.nope }}
`, []string{"CmdLine1: one", "Bash: two", "CmdLine2: last"}},
		"G23: each over a mapping keeps its order": {`
parameters:
- name: env
  type: object
  default: {B: 2, A: 1, C: 3.10}
steps:
- ${{ each p in parameters.env }}:
  - script: echo ${{ p.key }}=${{ p.value }}
`, []string{"CmdLine1: echo B=2", "CmdLine2: echo A=1", "CmdLine3: echo C=3.10"}},
		"G24: false equals nothing": {`
parameters:
- {name: flag, type: boolean, default: false}
steps:
- ${{ if eq(parameters.flag, '') }}:
  - script: missing
`, []string{"CmdLine: missing"}},
		"G35: blanks before the colon": {`
parameters:
- {name: all, type: object, default: [a, b]}
steps:
- ${{ each x in parameters.all }} :
  - script: ${{ x }}
`, []string{"CmdLine1: a", "CmdLine2: b"}},
		"G40: a disabled step is gone before names are given": {`
steps:
- script: a
  enabled: false
- script: b
`, []string{"CmdLine: b"}},
		"pairs of a step pass through": {`
parameters:
- name: build
  type: stepList
  default:
  - bash: make
    env: {A: b}
steps:
- ${{ each step in parameters.build }}:
  - ${{ each pair in step }}:
      ${{ pair.key }}: ${{ pair.value }}
    condition: always()
`, []string{"Bash: make | always()"}},
		"explicit keys, chains and nested loops": {`
parameters:
- {name: m, type: object, default: {a: [1, 2], b: []}}
steps:
- ? ${{ if false }}
  : - script: no
- ? ${{ elseif true }}
  : - ${{ each p in parameters.m }}:
      - ${{ each i in p.value }}:
        - bash: ${{ p.key }}${{ i }} ${{ format('{0}{{}}', '}}') }}
- ${{ if true }}:
  - ${{ if false }}:
    - script: no
  - ${{ else }}:
    - script: "yes"
`, []string{"Bash1: a1 }}{}", "Bash2: a2 }}{}", "CmdLine: yes"}},
		"variables see earlier ones and inner scopes": {`
variables:
- name: a
  value: x
- name: b
  value: ${{ variables.a }}y
- ${{ if eq(variables.b, 'xy') }}:
  - name: c
    value: ${{ variables.b }}z
stages:
- stage:
  displayName: ${{ variables.c }}
  jobs:
  - job:
    steps:
    - script: ${{ variables.a }}${{ variables.c }}${{ variables.later }}
    variables:
      a: inner
      ${{ if true }}:
        later: ${{ variables.a }}
`, []string{"CmdLine: innerxyzinner"}},
		"insert": {`
parameters:
- {name: more, type: object, default: {displayName: hey, condition: failed()}}
steps:
- script: a
  ${{ insert }}: ${{ parameters.more }}
`, []string{"CmdLine: a | failed()"}},
		"user names are kept and numbers avoid them": {`
steps:
- script: a
  name: CmdLine1
- script: b
- script: c
- pwsh: d
`, []string{"CmdLine1: a", "CmdLine2: b", "CmdLine3: c", "PowerShell: d"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, describe(load(t, test.text, testOptions()))); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConditionalInsertionInAMapping(t *testing.T) { // G22
	const text = `
parameters:
- {name: t, default: y}
steps:
- task: Docker@2
  inputs:
    command: build
    ${{ if eq(parameters.t, 'y') }}:
      repository: b
`
	for value, want := range map[string]string{"y": "b", "n": ""} {
		o := testOptions()
		o.Parameters = map[string]string{"T": value}
		step := load(t, text, o).Stages[0].Jobs[0].Steps[1]
		if got := step.Inputs["repository"]; got != want {
			t.Errorf("with t = %s the input is %q, want %q", value, got, want)
		}
	}
}

// outcome is how a simulated job ends.
type outcome struct {
	result  job.Result
	outputs map[string]string
}

// simulate runs p to its end; jobs named in outcomes end so, all others succeed. It
// returns the results by identifier and the messages that were sent.
func simulate(t *testing.T, p *Pipeline, outcomes map[string]outcome) (map[string]job.Result, map[string]*job.Message) {
	t.Helper()
	r := newRun(t, p)
	messages := make(map[string]*job.Message)
	for range 100 {
		ready := r.Ready()
		if len(ready) == 0 {
			break
		}
		for _, j := range ready {
			messages[j.Identifier()] = j.Message()
			o, ok := outcomes[j.Identifier()]
			if !ok {
				o.result = job.Succeeded
			}
			if err := r.Finish(j.ID, o.result, o.outputs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !r.Done() {
		t.Fatalf("the run is not done: %+v", r.Jobs())
	}
	results := map[string]job.Result{"": r.Result()}
	for _, j := range r.Jobs() {
		results[j.Identifier()] = j.Result
		if j.Result == job.Failed && j.Reason != "" {
			t.Logf("%s: %s", j.Identifier(), j.Reason)
		}
	}
	return results, messages
}

func TestHowResultsSpread(t *testing.T) {
	tests := map[string]struct {
		text     string
		outcomes map[string]outcome
		want     map[string]job.Result
	}{
		"G16: a skipped dependency skips, also from afar": {`
jobs:
- job: A
  condition: false
- job: B
  dependsOn: A
- job: C
  dependsOn: A
  condition: true
- job: D
  dependsOn: C
- job: E
  dependsOn: C
  condition: succeeded('C')
- job: F
  dependsOn: A
  condition: in(dependencies.A.result, 'Succeeded', 'Skipped')
`, nil, map[string]job.Result{
			"A.__default": job.Skipped, "B.__default": job.Skipped, "C.__default": job.Succeeded, "D.__default": job.Skipped,
			"E.__default": job.Succeeded, "F.__default": job.Succeeded, "": job.Succeeded,
		}},
		"G17: a condition without a status function": {`
jobs:
- job: A
- job: B
  dependsOn: [A]
  condition: eq(variables['Build.Reason'], 'Manual')
- job: C
  dependsOn: A
`, map[string]outcome{"A.__default": {result: job.Failed}}, map[string]job.Result{
			"A.__default": job.Failed, "B.__default": job.Succeeded, "C.__default": job.Skipped, "": job.Failed,
		}},
		"continueOnError turns a failure into issues": {`
jobs:
- job: A
  continueOnError: $[ eq(variables['Build.Reason'], 'Manual') ]
- job: B
  dependsOn: A
`, map[string]outcome{"A.__default": {result: job.Failed}}, map[string]job.Result{
			"A.__default": job.Failed, "B.__default": job.Succeeded, "": job.SucceededWithIssues,
		}},
		"G19: stages follow each other unless they say otherwise": {`
stages:
- stage: A
  jobs: [{job: j}]
- stage: B
  jobs: [{job: j}]
- stage: C
  dependsOn: []
  jobs: [{job: j}]
- stage: D
  dependsOn: A
  condition: failed()
  jobs: [{job: j}, {job: k}]
`, map[string]outcome{"A.j.__default": {result: job.Failed}}, map[string]job.Result{
			"A.j.__default": job.Failed, "B.j.__default": job.Skipped, "C.j.__default": job.Succeeded,
			"D.j.__default": job.Succeeded, "D.k.__default": job.Succeeded, "": job.Failed,
		}},
		"G38: a matrix is as bad as its worst leg": {`
jobs:
- job: M
  strategy: {matrix: {a: {v: 1}, b: {v: 2}}, maxParallel: 1}
- job: N
  dependsOn: M
  condition: eq(dependencies.M.result, 'Failed')
`, map[string]outcome{"M.a": {result: job.Failed}}, map[string]job.Result{
			"M.a": job.Failed, "M.b": job.Succeeded, "N.__default": job.Succeeded, "": job.Failed,
		}},
		"what cannot be evaluated fails": {`
jobs:
- job: A
  condition: gt(1, 'x')
- job: B
  variables: {v: "$[ gt(1, 'x') ]"}
- job: C
  timeoutInMinutes: $(nope)
`, nil, map[string]job.Result{"A.__default": job.Failed, "B.__default": job.Failed, "C.__default": job.Failed, "": job.Failed}},
		"a job of the server is skipped": {`
jobs:
- job: A
  pool: server
`, nil, map[string]job.Result{"A.__default": job.Skipped, "": job.Skipped}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, _ := simulate(t, load(t, test.text, testOptions()), test.outcomes)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
		})
	}
}

func TestHowOutputsTravel(t *testing.T) {
	const text = `
variables:
  fromStage: $[ stageDependencies.S1.A.outputs['s.v'] ]
stages:
- stage: S1
  jobs:
  - job: A
  - job: M
    strategy: {matrix: {"3.9": {v: x}, leg: {v: y}}}
  - job: B
    dependsOn: [A, M]
    variables:
      direct: $[ dependencies.A.outputs['s.v'] ]
      leg: $[ dependencies.M.outputs['leg.s.v'] ]
      renamed: $[ dependencies.M.outputs['Job1.s.v'] ]
      result: $[ dependencies.A.result ]
  - job: C
    variables:
      undeclared: "[$[ dependencies.A.outputs['s.v'] ]]"
      missing: $[ dependencies.A.outputs['s.v'] ]
- stage: S2
  condition: and(succeeded(), eq(dependencies.S1.outputs['A.s.v'], '1'))
  jobs:
  - job: D
    variables:
      wrong: $[ dependencies.S1.outputs['A.s.v'] ]
      right: $[ stageDependencies.S1.A.outputs['s.v'] ]
      legged: $[ stageDependencies.s1.M.outputs['leg.s.v'] ]
`
	one := outcome{job.Succeeded, map[string]string{"s.v": "1"}}
	_, messages := simulate(t, load(t, text, testOptions()), map[string]outcome{
		"S1.A.__default": one, "S1.M.Job1": {job.Succeeded, map[string]string{"s.v": "2"}}, "S1.M.leg": {job.Succeeded, map[string]string{"s.v": "3"}},
	})
	for id, want := range map[string]map[string]string{
		"S1.M.Job1":      {"v": "x", "system.jobname": "Job1", "system.jobpositioninphase": "1", "System.TotalJobsInPhase": "2", "System.ParallelExecutionType": "MultiConfiguration", "System.JobDisplayName": "M Job1"},
		"S1.B.__default": {"direct": "1", "leg": "3", "renamed": "2", "result": "Succeeded"},                     // G18, G38
		"S1.C.__default": {"undeclared": "[$[ dependencies.A.outputs['s.v'] ]]", "missing": ""},                  // G13
		"S2.D.__default": {"wrong": "", "right": "1", "legged": "3", "fromStage": "1", "System.StageName": "S2"}, // G14
	} {
		m := messages[id]
		if m == nil {
			t.Fatalf("the job %s did not run", id)
		}
		for name, value := range want {
			if got, ok := job.Lookup(m.Variables, name); !ok || got.Value != value {
				t.Errorf("%s: variable %s = %q, %v, want %q", id, name, got.Value, ok, value)
			}
		}
	}
}

func TestRuntimeTextIsEvaluatedOnceItIsAVariable(t *testing.T) { // G4, G26
	_, messages := simulate(t, load(t, `
variables:
  isMain: $[ eq(variables['Build.SourceBranch'], 'refs/heads/main') ]
  x: ${{ variables.isMain }}
  rev: $(Rev:r)
  Build.Reason: mine
  password: ignored
steps:
- script: a
`, testOptions()), nil)
	want := map[string]string{"x": "True", "rev": "$(Rev:r)", "Build.Reason": "Manual", "password": "ignored"}
	for name, value := range want {
		if got, _ := job.Lookup(messages["Job.__default"].Variables, name); got.Value != value {
			t.Errorf("variable %s = %q, want %q", name, got.Value, value)
		}
	}
}

func TestACanceledRunStartsOnlyWhatAsksForIt(t *testing.T) {
	r := newRun(t, load(t, `
jobs:
- job: A
- job: B
  dependsOn: A
- job: C
  dependsOn: A
  condition: always()
- job: D
  dependsOn: A
  condition: canceled()
`, testOptions()))
	a := onlyReady(t, r)
	r.Cancel()
	if err := r.Finish(a.ID, job.Canceled, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, j := range r.Ready() {
		got = append(got, j.Name)
	}
	if diff := cmp.Diff([]string{"C", "D"}, got); diff != "" {
		t.Errorf("jobs ready after the cancellation (-want +got):\n%s", diff)
	}
	if err := r.Finish(a.ID, job.Succeeded, nil); err == nil {
		t.Error("a job was finished twice")
	}
}

func TestSelectingOneJobRunsItAlone(t *testing.T) {
	p := load(t, `
stages:
- stage: A
  jobs: [{job: a}]
- stage: B
  jobs: [{job: b}, {job: c, dependsOn: b}]
- stage: M
  trigger: manual
  jobs: [{job: m}]
`, testOptions())
	for selection, want := range map[RunOptions]string{
		{Job: "c"}: "B.c.__default", {Stage: "b", Job: "B"}: "B.b.__default", {Job: "A.a"}: "A.a.__default", {Stage: "M"}: "M.m.__default",
		{}: "A.a.__default",
	} {
		r, err := NewRun(p, selection)
		if err != nil {
			t.Fatal(err)
		}
		if got := onlyReady(t, r).Identifier(); got != want {
			t.Errorf("%+v starts %s, want %s", selection, got, want)
		}
	}
	if _, err := NewRun(p, RunOptions{Job: "x"}); err == nil || !strings.Contains(err.Error(), "A.a, B.b, B.c, M.m") {
		t.Errorf("selecting an unknown job: %v", err)
	}
}

func TestIdentifiersAreThoseOfTheService(t *testing.T) {
	for name, want := range map[string]string{
		"job.__default": "12f1170f-54f2-53f3-20dd-22fc7dff55f9",
		"__default":     "96ac2280-8cb4-5df5-99de-dd2da759617d",
		"JOB":           "3a3a2a60-14c7-570b-14a4-fa42ad92f52a",
	} {
		if got := stableID(name); got != want {
			t.Errorf("stableID(%q) = %s, want %s", name, got, want)
		}
	}
	p := load(t, "steps: [{script: a}]", testOptions())
	if got := onlyReady(t, newRun(t, p)).ID; got != "12f1170f-54f2-53f3-20dd-22fc7dff55f9" {
		t.Errorf("the job of a file of steps has the id %s", got)
	}
	if got := newRun(t, p).JobID(DefaultName, "Job"); got != "12f1170f-54f2-53f3-20dd-22fc7dff55f9" {
		t.Errorf("JobID = %s before the job starts", got)
	}
	ids := make(map[job.ID]bool)
	for range 2 {
		r, err := NewRun(p, RunOptions{UniqueIDs: true})
		if err != nil {
			t.Fatal(err)
		}
		ids[onlyReady(t, r).ID] = true
	}
	if len(ids) != 2 {
		t.Error("two runs gave their jobs the same unique id")
	}
}
