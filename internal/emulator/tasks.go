package emulator

import (
	"archive/zip"
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// EnvironmentTask is the id of a task that prints the environment it is given
// (S11); its version is 1.0.0.
const EnvironmentTask = "5c2f1b7e-93a4-4d0e-8a6b-1f0e7d3c9a10"

//go:embed tasks/*.js
var taskFiles embed.FS

// taskKind is a task this server can hand out. The in-box ids are those of §8.4.
type taskKind struct {
	id     string
	name   string
	label  string
	major  int
	file   string // in tasks/
	inputs []taskInput
}

type taskInput struct {
	Name         string `json:"name"`
	Type         string `json:"type"`
	DefaultValue string `json:"defaultValue"`
	Required     bool   `json:"required"`
}

var taskKinds = []taskKind{
	{"d9bafed4-0b18-4f58-968d-86655b4d2ce9", "CmdLine", "Command line", 2, "cmdline.js", []taskInput{
		{"script", "multiLine", "", true}, {"workingDirectory", "filePath", "", false}, {"failOnStderr", "boolean", "false", false},
	}},
	{"6c731c3c-3c68-459a-a5c9-bde6e6595b5b", "Bash", "Bash", 3, "bash.js", []taskInput{
		{"targetType", "radio", "filePath", false},
		{"filePath", "filePath", "", false},
		{"arguments", "string", "", false},
		{"script", "multiLine", "", false},
		{"workingDirectory", "filePath", "", false},
		{"failOnStderr", "boolean", "false", false},
	}},
	{"e213ff0f-5d5c-4791-802d-52ea3e7be1f1", "PowerShell", "PowerShell", 2, "powershell.js", []taskInput{
		{"targetType", "radio", "filePath", false},
		{"filePath", "filePath", "", false},
		{"script", "multiLine", "", false},
		{"workingDirectory", "filePath", "", false},
	}},
	{"e28912f1-0114-4464-802a-a3a35437fd16", "Docker", "Docker", 2, "docker.js", []taskInput{
		{"containerRegistry", "connectedService:dockerregistry", "", false},
		{"repository", "string", "", false},
		{"command", "pickList", "buildAndPush", true},
		{"Dockerfile", "string", "**/Dockerfile", false},
		{"buildContext", "string", "**", false},
		{"tags", "multiLine", "$(Build.BuildId)", false},
	}},
	{EnvironmentTask, "PrintEnvironment", "Print environment", 1, "environment.js", []taskInput{
		{"sample", "string", "$(Build.BuildId)", false},
	}},
}

// definition is a task.json (§8.4). Every version of the right major exists:
// the service pins exact ones, and which is of no matter here.
func (k taskKind) definition(version [3]int) map[string]any {
	handler := map[string]any{"target": k.file, "argumentFormat": ""}
	return map[string]any{
		"id": k.id, "name": k.name, "friendlyName": k.label, "description": k.label + " of the emulator.", "author": "dockless",
		"helpUrl": "", "helpMarkDown": "", "category": "Utility", "visibility": []string{"Build", "Release"},
		"version":             map[string]int{"Major": version[0], "Minor": version[1], "Patch": version[2]},
		"minimumAgentVersion": "2.115.0", "instanceNameFormat": k.label, "inputs": k.inputs,
		"execution": map[string]any{"Node10": handler, "Node20_1": handler},
	}
}

// getTask answers a task's zip, its definition, or its versions (§8.3).
func (s *Server) getTask(c *call) (any, error) {
	if c.who.kind == byJob {
		s.mu.Lock()
		_, err := s.jobOf(c)
		s.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	if t, ok := s.offeredTask(c.v("taskId"), c.v("versionString")); ok {
		c.note = "offered"
		if !c.wants("application/zip") {
			return t.definition, nil
		}
		return raw{"application/zip", t.zip}, nil
	}
	if c.v("taskId") == "" {
		return s.listTasks(), nil
	}
	kind, ok := findTask(c.v("taskId"))
	if !ok {
		return nil, taskNotFound(c)
	}
	if c.v("versionString") == "" {
		return listOf([]map[string]any{kind.definition([3]int{kind.major, 0, 0})}), nil
	}
	version, ok := exactVersion(c.v("versionString"))
	if !ok || version[0] != kind.major {
		return nil, taskNotFound(c)
	}
	c.note = kind.name
	if !c.wants("application/zip") {
		return kind.definition(version), nil
	}
	body, err := kind.zip(version)
	if err != nil {
		return nil, err
	}
	return raw{"application/zip", body}, nil
}

// listTasks answers the definitions of all tasks, one version of each that nobody
// offered another one of.
func (s *Server) listTasks() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []any{}
	for _, key := range slices.Sorted(maps.Keys(s.offered)) {
		if t := s.offered[key]; string(t.definition) != "null" {
			all = append(all, t.definition)
		}
	}
	for _, k := range taskKinds {
		all = append(all, k.definition([3]int{k.major, 0, 0}))
	}
	return listOf(all)
}

// offered is a package that somebody gave to this server.
type offered struct {
	zip        []byte
	definition json.RawMessage // null when the package has none
}

// OfferTask makes the server hand out body as the package of the task at this
// version, whatever is in it, before any of its own.
func (s *Server) OfferTask(id, version string, body []byte) {
	t := offered{zip: body, definition: json.RawMessage("null")}
	if text, err := readDefinition(body); err == nil && json.Valid(text) {
		t.definition = text
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.offered[guid(id)+"@"+version] = t
}

func (s *Server) offeredTask(id, version string) (offered, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.offered[guid(id)+"@"+version]
	return t, ok
}

// readDefinition returns the task.json of a package, without a byte order mark.
func readDefinition(body []byte) ([]byte, error) {
	z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
	if err != nil {
		return nil, err
	}
	file, err := z.Open("task.json")
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(file, maxJSON))
	return bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), err
}

// controlOffer takes a package as a zip; what it is stands in its task.json.
func (s *Server) controlOffer(r *http.Request) (any, error) {
	body, err := readBody(r, maxUpload)
	if err != nil {
		return nil, err
	}
	var task struct {
		ID, Name string
		Version  struct{ Major, Minor, Patch int }
	}
	text, err := readDefinition(body)
	if err == nil {
		err = json.Unmarshal(text, &task)
	}
	if err != nil || task.ID == "" {
		return nil, badRequest("The body is no zip of a task's folder with a readable task.json: %v.", err)
	}
	version := fmt.Sprintf("%d.%d.%d", task.Version.Major, task.Version.Minor, task.Version.Patch)
	s.OfferTask(task.ID, version, body)
	return job.TaskReference{ID: guid(task.ID), Name: task.Name, Version: version}, nil
}

func taskNotFound(c *call) error {
	return refuse(http.StatusNotFound, "TaskDefinitionNotFoundException", "There is no task %s with version %q.", c.v("taskId"), c.v("versionString"))
}

func findTask(id string) (taskKind, bool) {
	for _, k := range taskKinds {
		if k.id == guid(id) {
			return k, true
		}
	}
	return taskKind{}, false
}

// exactVersion reads "major.minor.patch".
func exactVersion(text string) (v [3]int, ok bool) {
	parts := strings.Split(text, ".")
	if len(parts) != len(v) {
		return v, false
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 {
			return v, false
		}
		v[i] = n
	}
	return v, true
}

// zip packs the task's folder.
func (k taskKind) zip(version [3]int) ([]byte, error) {
	manifest, err := json.MarshalIndent(k.definition(version), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("packing task %s: %w", k.name, err)
	}
	files := map[string][]byte{"task.json": manifest}
	for _, name := range []string{k.file, "common.js"} {
		if files[name], err = taskFiles.ReadFile("tasks/" + name); err != nil {
			return nil, fmt.Errorf("packing task %s: %w", k.name, err)
		}
	}
	var body bytes.Buffer
	z := zip.NewWriter(&body)
	for _, name := range []string{"task.json", k.file, "common.js"} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(files[name])
		}
		if err != nil {
			return nil, fmt.Errorf("packing task %s: %w", k.name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("packing task %s: %w", k.name, err)
	}
	return body.Bytes(), nil
}
