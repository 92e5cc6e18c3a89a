package pipeline

import (
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// checkoutID is the task id of checkout, which is part of every agent.
const checkoutID = "6d15af64-176c-496d-b583-fd2ae21d4df4"

// task is what the service knows about a task and an agent cannot find out.
type task struct {
	name    string
	id      string
	version string // exact; the service pins one for each major
	// title is the display name of a step that has none; $(input) stands for an input.
	title string
	// inputs are inputs by another name: alias → canonical name.
	aliases map[string]string
	// defaults are the inputs that title mentions.
	defaults map[string]string
}

func (t task) major() string {
	major, _, _ := strings.Cut(t.version, ".")
	return major
}

// checkout is not in the table: nobody may call it as a task.
var checkout = task{name: "Checkout", id: checkoutID, version: "1.0.0"}

// tasks are the tasks that a file may name. Ids and names are those of the task.json
// files in github.com/microsoft/azure-pipelines-tasks; where a version has only its
// major, any exact version of that major serves.
var tasks = []task{
	{name: "CmdLine", id: "d9bafed4-0b18-4f58-968d-86655b4d2ce9", version: "2.279.1"},
	{name: "Bash", id: "6c731c3c-3c68-459a-a5c9-bde6e6595b5b", version: "3.278.0"},
	{name: "ShellScript", id: "6c731c3c-3c68-459a-a5c9-bde6e6595b5b", version: "2.1.5"},
	{name: "PowerShell", id: "e213ff0f-5d5c-4791-802d-52ea3e7be1f1", version: "2.277.0"},
	{name: "Docker", id: "e28912f1-0114-4464-802a-a3a35437fd16", version: "2.279.0", title: "$(command)", defaults: map[string]string{"command": "buildAndPush"}},
	{name: "DockerCompose", id: "6975e2d1-96d3-4afc-8a41-498b5d34ea19", version: "0.275.0", title: "$(action)", aliases: composeAliases, defaults: composeDefaults},
	{name: "DockerCompose", id: "6975e2d1-96d3-4afc-8a41-498b5d34ea19", version: "1.275.0", title: "$(action)", aliases: composeAliases, defaults: composeDefaults},
	{name: "Cache", id: "d53ccab4-555e-4494-9d06-11db043fb4a9", version: "2.0.1"},
	{name: "CopyFiles", id: "5bfb729a-a7c8-4a78-a7c3-8d717bb7c13c", version: "2.223.0", title: "Copy Files to: $(TargetFolder)"},
	{name: "DeleteFiles", id: "b7e8b412-0437-4065-9371-edc5881de25b", version: "1.208.0"},
	{name: "ArchiveFiles", id: "d8b84976-e99a-4b86-b885-4849694435b0", version: "2.201.0"},
	{name: "ExtractFiles", id: "5e1e3830-fbfb-11e5-aab1-090c92bc4988", version: "1.200.0"},
	{
		name: "PublishTestResults", id: "0b0f01ed-7dde-43ff-9cbb-e48954daf9b1", version: "2.270.0", title: "Publish Test Results $(testResultsFiles)",
		aliases:  map[string]string{"testResultsFormat": "testRunner", "buildPlatform": "platform", "buildConfiguration": "configuration"},
		defaults: map[string]string{"testResultsFiles": "**/TEST-*.xml"},
	},
	{
		name: "PublishBuildArtifacts", id: "2ff763a7-ce83-4e1f-bc89-0ae63477cebe", version: "1.247.1", title: "Publish Artifact: $(ArtifactName)",
		aliases: map[string]string{"publishLocation": "ArtifactType"}, defaults: map[string]string{"ArtifactName": "drop"},
	},
	{name: "DownloadBuildArtifacts", id: "a433f589-fce1-4460-9ee6-44a624aeb1fb", version: "0.247.1"},
	{name: "DownloadBuildArtifacts", id: "a433f589-fce1-4460-9ee6-44a624aeb1fb", version: "1.247.1"},
	{
		name: "PublishPipelineArtifact", id: "ecdc45f6-832d-4ad9-b52b-ee49e94659be", version: "1.2.3",
		aliases: map[string]string{"targetPath": "path", "artifact": "artifactName", "publishLocation": "artifactType"},
	},
	{
		name: "DownloadPipelineArtifact", id: "61f2a582-95ae-4948-b34d-a1b3c4f6a737", version: "2.3.2",
		aliases: map[string]string{"buildType": "source", "artifactName": "artifact", "itemPattern": "patterns", "targetPath": "path", "downloadPath": "path"},
	},
	{name: "DownloadSecureFile", id: "2a6ca863-f2ce-4f4d-8bcb-15e64608ec4b", version: "1.200.0"},
	{name: "DownloadPackage", id: "8d6e8f7e-267d-442d-8c92-1f586864c62f", version: "1.200.0"},
	{name: "UsePythonVersion", id: "33c63b11-352b-45a2-ba1b-54cb568a29ca", version: "0.248.1"},
	{name: "NodeTool", id: "31c75bbb-bcdf-4706-8d7c-4da6a1959bc2", version: "0.247.1"},
	{name: "UseNode", id: "31c75bbb-bcdf-4706-8d7c-4da6a1959bc2", version: "1.247.1"},
	{name: "GoTool", id: "334727f4-9495-4f9d-a391-fc621d671474", version: "0.247.1"},
	{name: "UseDotNet", id: "b0ce7256-7898-45d3-9cb5-176b752bfea6", version: "2.247.1"},
	{name: "Npm", id: "fe47e961-9fa8-4106-8639-368c022d43ad", version: "1.247.1"},
	{name: "PythonScript", id: "6392f95f-7e76-4a18-b3c7-7f078d2f7700", version: "0.247.1"},
	{name: "BatchScript", id: "bfc8bf76-e7ac-4a8c-9a55-a944a9f632fd", version: "1.200.0"},
	{name: "Delay", id: "28782b92-5e8e-4458-9751-a71cd1492bae", version: "1.200.0"},
	{name: "ManualValidation", id: "2003ad3a-104a-451a-9238-60474ab294e6", version: "0.200.0"},
	{name: "ManualValidation", id: "2003ad3a-104a-451a-9238-60474ab294e6", version: "1.200.0"},
	{name: "ReviewApp", id: "deeafed4-0b18-4f58-968d-86655b4d2ce9", version: "0.200.0"},
}

var (
	composeAliases  = map[string]string{"azureSubscription": "azureSubscriptionEndpoint", "workingDirectory": "workDir", "currentWorkingDirectory": "cwd"}
	composeDefaults = map[string]string{"action": "Run a Docker Compose command"}
)

// findTask resolves Name@Major, Name@1.2.3, the same with an id, and a contribution's
// full name. The second result says what is wrong, the third what to do about it.
func (d *decoder) findTask(reference string) (t task, problem, advice string) {
	name, version, ok := strings.Cut(reference, "@")
	if !ok || name == "" || strings.Trim(version, "0123456789.") != "" || version == "" {
		return t, "Unexpected value '" + reference + "': a task is written Name@Version", ""
	}
	short := name[strings.LastIndexByte(name, '.')+1:]
	var known, majors []string
	all := slices.Clone(tasks)
	for _, extra := range d.given.Tasks {
		all = append(all, task{name: extra.Name, id: extra.ID, version: extra.Version})
	}
	for _, t := range all {
		known = append(known, t.name)
		if !strings.EqualFold(t.name, short) && !strings.EqualFold(t.id, name) {
			continue
		}
		if major, _, exact := strings.Cut(version, "."); major == t.major() {
			if exact {
				t.version = version
			}
			return t, "", ""
		}
		majors = append(majors, t.name+"@"+t.major())
	}
	if len(majors) > 0 {
		return t, "The task '" + reference + "' is not known in this version", "use " + strings.Join(majors, " or ")
	}
	return t, "The task '" + reference + "' is not known: without its id it cannot run", near(short, known)
}

// near returns advice that lists the names that look like name, or "".
func near(name string, known []string) string {
	var close []string
	slices.Sort(known)
	for _, candidate := range slices.Compact(known) {
		if distance(strings.ToLower(name), strings.ToLower(candidate)) <= 1+len(name)/4 {
			close = append(close, candidate)
		}
	}
	if len(close) == 0 {
		return ""
	}
	return "did you mean " + strings.Join(close, " or ") + "?"
}

// distance is the number of letters to insert, delete or change to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// canonical returns the name of an input that alias may be another name of.
func (t task) canonical(alias string) string {
	for other, name := range t.aliases {
		if strings.EqualFold(other, alias) {
			return name
		}
	}
	return alias
}

// displayName is the title of a step with these inputs.
func (t task) displayName(inputs map[string]string) string {
	if t.title == "" {
		return t.name
	}
	title := expandMacros(t.title, func(name string) (string, bool) {
		if value, ok := job.Lookup(inputs, name); ok {
			return value, true
		}
		return t.defaults[name], true
	})
	return strings.TrimSpace(title)
}
