package main

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/job"
)

// printer writes down what it is given, where the log's masks do not reach, and
// prints it too.
const printer = `const fs = require('fs');
const all = { env: process.env, cwd: process.cwd(), argv: process.argv.slice(1), stdin: fs.readFileSync(0, 'utf8') };
fs.writeFileSync(process.env.INPUT_TO, JSON.stringify(all));
console.log(JSON.stringify(all, null, 1));
`

const printerInputs = `"inputs": [
	{"name": "to", "type": "string"},
	{"name": "some.thing else", "type": "string", "defaultValue": "  of $(Build.BuildId)  "},
	{"name": "truth", "type": "boolean", "defaultValue": true},
	{"name": "renamed", "type": "string", "defaultValue": "no", "aliases": ["alias"]},
	{"name": "empty", "type": "filePath"}, {"name": "file", "type": "filePath"}, {"name": "rooted", "type": "filePath", "defaultValue": "/etc/../etc/hosts"},
	{"name": "registry", "type": "connectedService:dockerregistry"},
	{"name": "more", "type": "ConnectedService:Generic"},
	{"name": "key", "type": "secureFile"}
], `

// Protocol §8.7: the table, row by row. Nothing else is added to what the agent
// was started with.
func TestA27ADownloadedTaskIsGivenTheWholeEnvironment(t *testing.T) {
	t.Setenv("INHERITED", "from the agent")
	s := startTaskStage(t)
	s.offer(map[string]string{"task.json": mainOnly(printerInputs), "main.js": printer})
	to := filepath.Join(t.TempDir(), "seen")
	const registry, generic, unused = "d6c0f3b1-9f9e-4b0e-8a35-6d5e1b6f0c22", "0b1c2d3e-0000-4000-8000-00000000aaaa", "99999999-0000-4000-8000-000000000000"
	m := emulatortest.Steps(
		job.Step{Name: "before", DisplayName: "before", Reference: job.TaskReference{ID: "d9bafed4-0b18-4f58-968d-86655b4d2ce9", Name: "CmdLine", Version: "2.279.1"}, Inputs: map[string]string{
			"script": "echo '##vso[task.setvariable variable=made.Here;preservecase=true]by a step'\necho '##vso[task.prependpath]/first'\necho '##vso[task.prependpath]/second'",
		}},
		ownStep("show", func(st *job.Step) {
			st.Inputs = map[string]string{
				"to": to, "ALIAS": " $(plain.Name) ", "file": "a/b", "registry": registry, "more": strings.ToUpper(generic) + ", unknown", "key": "f1",
			}
			st.Environment = map[string]string{"My.Own": "$(hidden.Name)", "PLAIN_NAME": "loses against the variable"}
		}))
	m.Variables = map[string]job.Variable{
		"plain.Name": {Value: "plain value"}, "hidden.Name": {Value: "hidden-value-1", IsSecret: true},
		"nested": {Value: "<$(hidden.Name)>"}, "Build.BuildId": {Value: "77"},
	}
	m.Resources.Endpoints = []job.Endpoint{
		{
			ID: strings.ToUpper(registry), Name: "reg", Type: "dockerregistry", URL: "https://reg.example/",
			Authorization: job.Authorization{Scheme: "UsernamePassword", Parameters: map[string]string{"username": "reg-user", "pass.word": "reg-<&>-pass"}},
			Data:          map[string]string{"registry Type": "of $(plain.Name)"},
		},
		{ID: generic, Name: "gen", URL: "https://gen.example/", Authorization: job.Authorization{Scheme: "None"}},
		{ID: unused, Name: "unused", URL: "https://unused.example/", Authorization: job.Authorization{Scheme: "Token", Parameters: map[string]string{"apitoken": "unused-token"}}},
	}
	m.Resources.SecureFiles = []job.SecureFile{{ID: "f1", Name: "id_rsa", Ticket: "ticket-of-f1"}, {ID: "f2", Name: "other", Ticket: "ticket-of-f2"}}
	_, report := s.run(m)
	s.wantResult(report, job.Succeeded)

	text, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	var seen struct {
		Env   map[string]string
		Cwd   string
		Argv  []string
		Stdin string
	}
	if err := json.Unmarshal(text, &seen); err != nil {
		t.Fatal(err)
	}
	sources := filepath.Join(s.work, "1", "s")
	step := recordNamed(t, report, "show")
	token := seen.Env["SECRET_SYSTEM_ACCESSTOKEN"]
	want := map[string]string{
		"SECRET_HIDDEN_NAME": "hidden-value-1", "SECRET_NESTED": "<hidden-value-1>", "SECRET_SYSTEM_ACCESSTOKEN": token,

		"INPUT_TO": to, "INPUT_SOME_THING_ELSE": "of 77", "INPUT_TRUTH": "true", "INPUT_RENAMED": "plain value", "INPUT_EMPTY": sources,
		"INPUT_FILE": filepath.Join(sources, "a/b"), "INPUT_ROOTED": "/etc/hosts", "INPUT_REGISTRY": registry,
		"INPUT_MORE": strings.ToUpper(generic) + ", unknown", "INPUT_KEY": "f1",

		"ENDPOINT_URL_" + registry: "https://reg.example/", "ENDPOINT_AUTH_SCHEME_" + registry: "UsernamePassword",
		"ENDPOINT_AUTH_" + registry:                          `{"parameters":{"pass.word":"reg-<&>-pass","username":"reg-user"},"scheme":"UsernamePassword"}`,
		"ENDPOINT_AUTH_PARAMETER_" + registry + "_USERNAME":  "reg-user",
		"ENDPOINT_AUTH_PARAMETER_" + registry + "_PASS_WORD": "reg-<&>-pass",
		"ENDPOINT_DATA_" + registry:                          `{"registry Type":"of plain value"}`,
		"ENDPOINT_DATA_" + registry + "_REGISTRY_TYPE":       "of plain value",

		"ENDPOINT_URL_" + generic: "https://gen.example/", "ENDPOINT_AUTH_SCHEME_" + generic: "None",
		"ENDPOINT_AUTH_" + generic: `{"parameters":{},"scheme":"None"}`, "ENDPOINT_DATA_" + generic: "{}",

		"ENDPOINT_URL_SYSTEMVSSCONNECTION": s.URL + "/", "ENDPOINT_AUTH_SCHEME_SYSTEMVSSCONNECTION": "OAuth",
		"ENDPOINT_AUTH_SYSTEMVSSCONNECTION":                       `{"parameters":{"AccessToken":"` + token + `"},"scheme":"OAuth"}`,
		"ENDPOINT_AUTH_PARAMETER_SYSTEMVSSCONNECTION_ACCESSTOKEN": token,
		"ENDPOINT_DATA_SYSTEMVSSCONNECTION_SERVERNAME":            "emulator",
		"ENDPOINT_DATA_SYSTEMVSSCONNECTION_SERVERID":              seen.Env["SYSTEM_COLLECTIONID"],

		"SECUREFILE_NAME_f1": "id_rsa", "SECUREFILE_TICKET_f1": "ticket-of-f1",
	}
	got := make(map[string]string)
	for name, value := range seen.Env {
		if slices.ContainsFunc([]string{"SECRET_", "INPUT_", "ENDPOINT_", "SECUREFILE_", "VSTS_TASKVARIABLE_"}, func(p string) bool { return strings.HasPrefix(name, p) }) {
			got[name] = value
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries for downloaded tasks only (-want +got):\n%s", diff)
	}
	if strings.Count(token, ".") != 2 {
		t.Errorf("the job token is %q, want that of the message", token)
	}
	wantEntries(t, seen.Env, map[string]string{
		"PLAIN_NAME": "plain value", "made_Here": "by a step", "My.Own": "hidden-value-1", "INHERITED": "from the agent",
		"TF_BUILD": "True", "agent.jobstatus": "Succeeded", "AGENT_JOBSTATUS": "Succeeded", "AGENT_WORKFOLDER": s.work,
		"AGENT_TEMPDIRECTORY": filepath.Join(s.work, "_temp"), "SYSTEM_DEFAULTWORKINGDIRECTORY": sources,
		"SYSTEM_TASKINSTANCEID": string(step.ID), "SYSTEM_TASKINSTANCENAME": "show", "SYSTEM_TASKDISPLAYNAME": "show", "TASK_DISPLAYNAME": "show",
		"BUILD_BUILDID": "77", "SYSTEM_CULTURE": "en-US",
	})
	for _, name := range []string{"HIDDEN_NAME", "NESTED", "SYSTEM_ACCESSTOKEN", "MADE_HERE"} {
		if value, ok := seen.Env[name]; ok {
			t.Errorf("%s is %q, want no such entry", name, value)
		}
	}
	if !strings.HasPrefix(seen.Env["PATH"], "/second:/first:") || !strings.HasSuffix(seen.Env["PATH"], os.Getenv("PATH")) {
		t.Errorf("PATH = %s, want what was prepended last first and the agent's last", seen.Env["PATH"])
	}
	if !strings.HasPrefix(seen.Env["VSTS_PROCESS_LOOKUP_ID"], "vsts_") || len(strings.Split(seen.Env["AGENT_VERSION"], ".")) != 3 {
		t.Errorf("VSTS_PROCESS_LOOKUP_ID = %q, AGENT_VERSION = %q", seen.Env["VSTS_PROCESS_LOOKUP_ID"], seen.Env["AGENT_VERSION"])
	}
	var public, secret []string
	for list, to := range map[string]*[]string{"VSTS_PUBLIC_VARIABLES": &public, "VSTS_SECRET_VARIABLES": &secret} {
		if err := json.Unmarshal([]byte(seen.Env[list]), to); err != nil {
			t.Errorf("%s = %q: %v", list, seen.Env[list], err)
		}
	}
	if diff := cmp.Diff([]string{"hidden.Name", "nested", "system.accessToken"}, secret); diff != "" {
		t.Errorf("VSTS_SECRET_VARIABLES (-want +got):\n%s", diff)
	}
	for _, name := range []string{"plain.Name", "made.Here", "agent.tempDirectory", "system.taskInstanceId"} {
		if !slices.Contains(public, name) {
			t.Errorf("VSTS_PUBLIC_VARIABLES lacks %s", name)
		}
	}
	for _, name := range public {
		entry := strings.NewReplacer(".", "_", " ", "_").Replace(name)
		if _, ok := seen.Env[strings.ToUpper(entry)]; !ok && seen.Env[entry] == "" {
			t.Errorf("variable %s has no entry", name)
		}
	}
	script := filepath.Join(s.work, "_tasks", "Own_77777777-7777-4777-8777-777777777777", "1.2.3", "main.js")
	if seen.Cwd != sources || len(seen.Argv) != 1 || seen.Argv[0] != script || seen.Stdin != "" {
		t.Errorf("run as %q in %s with %q on standard input", seen.Argv, seen.Cwd, seen.Stdin)
	}
	for _, value := range []string{"hidden-value-1", token, "reg-user", "reg-<&>-pass", "unused-token", "ticket-of-f1"} {
		if strings.Contains(strings.Join(step.Log, "\n"), value) {
			t.Errorf("the log shows %q", value)
		}
	}
}

func wantEntries(t *testing.T, env, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if got, ok := env[name]; !ok || got != want[name] {
			t.Errorf("%s = %q, %t; want %q", name, got, ok, want[name])
		}
	}
}

// S11: the emulator's own task that prints its environment.
func TestTheEmulatorsTasksRun(t *testing.T) {
	s := startTaskStage(t, func(a *agentSettings) { a.Runner.NativeTasks = "off" })
	m := emulatortest.Bash("echo from $BASH_VERSION; exit 3")
	m.Steps[0].ContinueOnError = true
	m.Steps = append(m.Steps, job.Step{
		ID: job.NewRecordID(), Name: "env", DisplayName: "env",
		Reference: job.TaskReference{ID: emulator.EnvironmentTask, Name: "PrintEnvironment", Version: "1.0.0"},
	})
	_, report := s.run(m)
	s.wantResult(report, job.SucceededWithIssues)
	log := recordNamed(t, report, "Run bash").Log
	if !slices.Contains(log, "Description  : Bash of the emulator.") || !slices.ContainsFunc(log, func(l string) bool { return strings.HasPrefix(l, "from 5") }) {
		t.Errorf("with built-in tasks turned off the log is\n%s", strings.Join(log, "\n"))
	}
	if log := recordNamed(t, report, "env").Log; !slices.Contains(log, `{"name":"TF_BUILD","value":"True"}`) {
		t.Errorf("the environment is\n%s", strings.Join(log, "\n"))
	}
}
