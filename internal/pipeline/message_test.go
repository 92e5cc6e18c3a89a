package pipeline

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/expr"
	"github.com/dockless-ci/dockless/internal/job"
)

func TestEveryExampleLoads(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/azure-pipelines.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		load(t, string(text), testOptions())
	}
}

func TestContainersAndTargets(t *testing.T) {
	_, messages := simulate(t, load(t, `
resources:
  containers:
  - container: tools
    image: tools:1
    endpoint: registry
    options: --init
    volumes: [a:/b]
    localImage: true
    mapDockerSocket: false
variables:
  which: tools
jobs:
- job: byAlias
  container: TOOLS
  services:
    self: {image: "db:1", env: {A: $(b)}, ports: [80, "81:81"]}
    tools: {alias: tools}
- job: byImage
  container: docker.io/library/debian:12
- job: byExpression
  container: $[ variables['which'] ]
- job: byJSON
  container: "$[ format('{{image: \"x:{0}\"}}', 1) ]"
- job: nothing
  container: $[ variables['nope'] ]
  steps:
  - bash: a
    target: {container: tools, commands: restricted, settableVariables: [x]}
  - bash: b
    target: {container: host, settableVariables: none}
`, testOptions()), nil)
	no := false
	tools := job.Container{
		Alias: "tools", Endpoint: &job.EndpointReference{Name: "registry"},
		Properties: job.ContainerProperties{Image: "tools:1", Options: "--init", Volumes: []string{"a:/b"}, LocalImage: true, MapDockerSocket: &no},
	}
	type used struct {
		Job        string
		Sidecars   map[string]string
		Containers []job.Container
	}
	image := func(alias, image string) job.Container {
		return job.Container{Alias: alias, Properties: job.ContainerProperties{Image: image}}
	}
	db := image("self", "db:1")
	db.Properties.Env, db.Properties.Ports = map[string]string{"A": "$(b)"}, []string{"80", "81:81"}
	for id, want := range map[string]used{
		"byAlias.__default":      {"tools", map[string]string{"self": "self", "tools": "tools"}, []job.Container{tools, db}},
		"byImage.__default":      {"job", nil, []job.Container{image("job", "docker.io/library/debian:12")}},
		"byExpression.__default": {"tools", nil, []job.Container{tools}},
		"byJSON.__default":       {"job", nil, []job.Container{image("job", "x:1")}},
		"nothing.__default":      {"", nil, []job.Container{tools}},
	} {
		m := messages[id]
		if m == nil {
			t.Fatalf("the job %s did not run", id)
		}
		if diff := cmp.Diff(want, used{m.JobContainer, m.JobSidecarContainers, m.Resources.Containers}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", id, diff)
		}
	}
	steps := messages["nothing.__default"].Steps
	want := []*job.StepTarget{
		nil,
		{Target: "tools", Commands: "restricted", SettableVariables: &job.SettableVariables{Allowed: []string{"x"}}},
		{Target: "host", SettableVariables: &job.SettableVariables{Allowed: []string{}}},
	}
	for i, step := range steps {
		if diff := cmp.Diff(want[i], step.Target); diff != "" {
			t.Errorf("target of %s (-want +got):\n%s", step.Name, diff)
		}
	}
}

func TestInstancesOfAJob(t *testing.T) {
	tests := map[string]struct {
		strategy string
		want     []string
	}{
		"matrix":              {"{matrix: {b: {x: 1}, a: {x: 2}}}", []string{"J.b", "J.a"}},
		"matrix from JSON":    {`{matrix: "$[ variables['legs'] ]"}`, []string{"J.p", "J.Job2"}},
		"matrix from nothing": {`{matrix: "$[ variables['nope'] ]"}`, []string{"J.__default"}},
		"slices":              {"{parallel: 3}", []string{"J.Job1", "J.Job2", "J.Job3"}},
		"one at a time":       {"{parallel: '$[ 3 ]', maxParallel: 2}", []string{"J.Job1", "J.Job2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := testOptions()
			o.Variables["legs"] = job.Variable{Value: `{p: {'x': "1"}, '2': {x: 2}}`}
			r := newRun(t, load(t, "jobs:\n- job: J\n  displayName: $(x)\n  strategy: "+test.strategy+"\n", o))
			var got []string
			for _, j := range r.Ready() {
				got = append(got, j.Identifier())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("instances (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBoundsOfAJob(t *testing.T) {
	r := newRun(t, load(t, `
variables: {m: 7, s: true}
jobs:
- job: a
- job: b
  timeoutInMinutes: 0
  cancelTimeoutInMinutes: $(m)
  continueOnError: $(s)
  pool: {name: $(Build.Reason) pool, demands: [Agent.OS -equals Linux, x]}
`, testOptions()))
	ready := r.Ready()
	type bounds struct {
		Timeout, Cancel time.Duration
		Continue        bool
		Pool            Pool
	}
	for i, want := range []bounds{
		{time.Hour, 5 * time.Minute, false, Pool{}},
		{0, 7 * time.Minute, true, Pool{Name: "Manual pool", Demands: []string{"Agent.OS -equals Linux", "x"}}},
	} {
		j := ready[i]
		if diff := cmp.Diff(want, bounds{j.Timeout, j.CancelTimeout, j.ContinueOnError, j.Pool}); diff != "" {
			t.Errorf("%s (-want +got):\n%s", j.Name, diff)
		}
	}
}

func TestCheckoutsOfSeveralRepositories(t *testing.T) {
	o := testOptions()
	o.Repositories = map[string]Repository{"Other": {URL: "/srv/other", Ref: "refs/heads/dev", Commit: "abc"}}
	_, messages := simulate(t, load(t, `
resources:
  repositories:
  - repository: other
    type: git
    name: Shop/tools
    endpoint: c
steps:
- checkout: self
- checkout: other
- checkout: other
  path: third
`, o), nil)
	m := messages["Job.__default"]
	var titles []string
	for _, s := range m.Steps {
		titles = append(titles, s.Name+": "+s.DisplayName)
	}
	if diff := cmp.Diff([]string{"Checkout1: Checkout web@main to s/web", "Checkout2: Checkout tools@dev to s/tools", "Checkout3: Checkout tools@dev to third"}, titles); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	other, ok := m.Repository("other")
	if !ok || len(m.Resources.Repositories) != 2 || other.Text("url") != "/srv/other" || other.Text("version") != "abc" || other.Text("type") != "Git" {
		t.Errorf("repositories = %+v", m.Resources.Repositories)
	}
}

func TestShorthandSteps(t *testing.T) {
	p := load(t, `
steps:
- checkout: none
- pwsh: a
  errorActionPreference: continue
- publish: out
  artifact: drop
- download: current
  artifact: drop
- download: none
- task: testresults@1
- task: PublishTestResults@2
  inputs: {testResultsFormat: JUnit}
- task: 5bfb729a-a7c8-4a78-a7c3-8d717bb7c13c@2.100.5
  inputs: {targetfolder: x}
`, Options{Tasks: []job.TaskReference{{ID: "11111111-2222-3333-4444-555555555555", Name: "TestResults", Version: "1.4.2"}}})
	type step struct {
		Name, Display, Version string
		Inputs                 map[string]string
	}
	var got []step
	for _, s := range p.Stages[0].Jobs[0].Steps {
		got = append(got, step{s.Name, s.DisplayName, s.reference.Version, s.Inputs})
	}
	want := []step{
		{"PowerShell", "PowerShell", "2.279.0", map[string]string{"targetType": "inline", "script": "a", "pwsh": "true", "errorActionPreference": "continue"}},
		{"PublishPipelineArtifact", "Publish Pipeline Artifact", "1.242.0", map[string]string{"path": "out", "artifactName": "drop"}},
		{"DownloadPipelineArtifact", "Download Pipeline Artifact", "2.198.0", map[string]string{"source": "current", "artifact": "drop", "path": "$(Pipeline.Workspace)/drop"}},
		{"TestResults", "TestResults", "1.4.2", map[string]string{}},
		{"PublishTestResults", "Publish Test Results **/TEST-*.xml", "2.277.0", map[string]string{"testRunner": "JUnit"}},
		{"CopyFiles", "Copy Files to: x", "2.100.5", map[string]string{"targetfolder": "x"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
}

func TestTheNameOfARun(t *testing.T) {
	for format, want := range map[string]string{
		"":                        "20260822.1",
		"$(Date:yy-M.d_HH-mm-ss)": "26-8.22_09-05-07",
		"$(Rev:rrr)/$(Year:yy)":   "001/26",
		"$(BuildDefinitionName)-$(BuildID)-$(DayOfYear)-$(Hours)": "web-501-234-9",
		"$(SourceBranchName)_$(v)_$(password)_$(nope)":            "main_a_b_***_$(nope)",
	} {
		p := load(t, "name: "+format+"\nvariables: {v: a/b}\nsteps: []\n", testOptions())
		if p.Name != want {
			t.Errorf("name %q gives %q, want %q", format, p.Name, want)
		}
	}
}

func TestTriggersAreCheckedAndNotExpanded(t *testing.T) {
	load(t, `
trigger: {batch: true, branches: {include: [main], exclude: ["x/*"]}, tags: [v*]}
pr: [main]
schedules:
- cron: "0 3 * * *"
  displayName: nightly ${{ not.evaluated }}
  branches: {include: [main]}
  always: true
steps: []
`, testOptions())
	load(t, "trigger: none\npr: {autoCancel: false, drafts: false, paths: {include: [a]}}\nsteps: []\n", testOptions())
	for text, want := range map[string]string{
		"trigger: {branch: [a]}\n":                  "(Line: 1, Col: 11): Unexpected value 'branch'",
		"trigger: {batch: maybe}\n":                 "(Line: 1, Col: 18): Unexpected value 'maybe'",
		"pr: {branches: {include: [a], only: b}}\n": "(Line: 1, Col: 31): Unexpected value 'only'",
		"schedules: [{displayName: a}]\n":           "(Line: 1, Col: 13): There's not enough info to determine what you meant. Add one of these properties: cron",
	} {
		_, err := Load(Source{File: "a.yml", Content: []byte(text + "steps: []\n")}, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Load(%q) = %v, want %s", text, err, want)
		}
	}
}

func TestCountersContinue(t *testing.T) {
	o := testOptions()
	o.Counters = expr.NewCounters(map[string]int64{"SHOP": 41})
	_, messages := simulate(t, load(t, "variables: {n: \"$[ counter('shop', 7) ]\"}\njobs: [{job: a}, {job: b}]\n", o), nil)
	for id, m := range messages {
		if got := m.Variables["n"].Value; got != "42" {
			t.Errorf("%s: counter = %s, want 42", id, got)
		}
	}
}

func TestGroupsFollowTheirPlace(t *testing.T) {
	o := testOptions()
	o.Groups = map[string]map[string]job.Variable{"G": {"a": {Value: "group", IsSecret: true}, "b": {Value: "group"}}}
	_, messages := simulate(t, load(t, `
variables:
- {name: b, value: before}
- group: g
- {name: a, value: "after ${{ variables.b }}", readonly: true}
steps: []
`, o), nil)
	got := messages["Job.__default"].Variables
	if a, b := got["a"], got["b"]; a != (job.Variable{Value: "after before", IsReadOnly: true}) || b.Value != "group" {
		t.Errorf("a = %+v, b = %+v", a, b)
	}
}

func TestTheExpandedFile(t *testing.T) {
	p := load(t, `
parameters: [{name: n, type: number, default: 1.50}]
variables: {v: "007", w: "${{ parameters.n }}"}
steps:
- script: |
    a
    b
- ${{ if true }}:
  - {bash: "yes", enabled: on}
`, testOptions())
	text, err := p.Expanded()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "expanded.yml", text)
	again := load(t, string(text), testOptions())
	if diff := cmp.Diff(describe(p), describe(again)); diff != "" {
		t.Errorf("loaded again (-want +got):\n%s", diff)
	}
}

func TestARunMayBeUsedConcurrently(t *testing.T) {
	r := newRun(t, load(t, "jobs:\n- {job: a, strategy: {parallel: 20, maxParallel: 3}}\n- {job: b, dependsOn: a}\n", testOptions()))
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for !r.Done() {
				for _, j := range r.Ready() {
					if err := r.Finish(j.ID, job.Succeeded, map[string]string{"s.v": j.Message().JobName}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	workers.Wait()
	if got := len(r.Jobs()); got != 21 || r.Result() != job.Succeeded {
		t.Errorf("%d jobs ran with the result %s, want 21 succeeded", got, r.Result())
	}
}
