package runner

import (
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/command"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// freeTexts are variables that people outside the team can write, so a logging
// command in them must not be carried out when a script prints them
// (protocol §6.8).
var freeTexts = []string{
	"build.sourceVersionMessage", "build.sourceVersionAuthor", "build.definitionName", "system.sourceVersionMessage",
	"system.definitionName", "system.jobDisplayName", "system.phaseDisplayName", "system.stageDisplayName",
	"release.definitionName", "release.environmentName", "agent.machineName", "agent.name",
}

// fillVariables takes the variables of the message and adds those that only
// the agent knows.
func (x *execution) fillVariables() {
	token, scripted := "", false
	if v, ok := job.Lookup(x.m.Variables, "system.enableAccessToken"); ok && vars.Truth(v.Value, false) {
		_, token = x.m.JobToken()
		scripted = token != ""
	}
	for name, v := range x.m.Variables {
		if scripted && strings.EqualFold(name, "system.accessToken") {
			continue // scripts may read it, so it is plain; it is masked as a parameter of its endpoint
		}
		x.vars.Set(vars.Variable{Name: name, Value: v.Value, Secret: v.IsSecret, ReadOnly: v.IsReadOnly})
	}
	if scripted {
		x.define("system.accessToken", token)
	}
	for _, pair := range x.localVariables() {
		x.define(pair[0], pair[1])
	}
	if password := x.cfg.Network.ProxyPassword; !password.IsZero() {
		x.vars.Set(vars.Variable{Name: "agent.proxypassword", Value: password.Reveal(), Secret: true, ReadOnly: true})
	}
	for _, name := range freeTexts {
		if v, ok := x.vars.Get(name); ok {
			v.Value = command.Disarm(v.Value)
			x.vars.Set(v)
		}
	}
}

// define sets a variable of the agent's own.
func (x *execution) define(name, value string) {
	x.vars.Set(vars.Variable{Name: name, Value: value, ReadOnly: vars.Reserved(name)})
}

func (x *execution) localVariables() [][2]string {
	c, f := x.cfg, x.folders
	url, _ := x.m.JobToken()
	pairs := [][2]string{
		{"agent.id", strconv.Itoa(c.AgentID)},
		{"agent.name", c.AgentName},
		{"agent.machineName", c.MachineName},
		{"agent.version", c.AgentVersion},
		{"agent.os", systemName()},
		{"agent.osArchitecture", architecture()},
		{"agent.homeDirectory", c.Home},
		{"agent.rootDirectory", f.work},
		{"agent.workFolder", f.work},
		{"system.workFolder", f.work},
		{"agent.jobName", x.m.JobDisplayName},
		{"agent.tempDirectory", f.temp},
		{"agent.toolsDirectory", f.tools},
		{"agent.isSelfHosted", "1"},
		{"agent.acceptTeeEula", "False"},
		{"system.isAzureVM", "0"},
		{"system.isDockerContainer", inContainer()},
		{"agent.buildDirectory", f.pipeline},
		{"pipeline.workspace", f.pipeline},
		{"build.artifactStagingDirectory", f.artifacts},
		{"build.stagingDirectory", f.artifacts},
		{"system.artifactsDirectory", f.artifacts},
		{"build.binariesDirectory", f.binaries},
		{"common.testResultsDirectory", f.results},
		{"agent.jobStatus", job.Succeeded.Title()},
	}
	if c.Once {
		pairs = append(pairs, [2]string{"agent.runMode", "once"})
	}
	if url != "" {
		pairs = append(pairs, [2]string{"system.teamFoundationServerUri", url})
	}
	if _, ok := x.vars.Get("GIT_TERMINAL_PROMPT"); !ok {
		pairs = append(pairs, [2]string{"GIT_TERMINAL_PROMPT", "0"})
	}
	pairs = append(pairs, x.cfg.Network.variables()...)
	pairs = append(pairs, x.sourceVariables()...)
	return append(pairs, x.repositoryVariables()...)
}

// sourceVariables say where the sources are, before any checkout step moves
// them.
func (x *execution) sourceVariables() [][2]string {
	return [][2]string{
		{"build.sourcesDirectory", x.folders.sources},
		{"build.repository.localPath", x.folders.sources},
		{"system.defaultWorkingDirectory", x.folders.sources},
	}
}

func (x *execution) repositoryVariables() [][2]string {
	self, ok := x.m.Repository("self")
	if !ok {
		return nil
	}
	provider := self.Text("type")
	switch strings.ToLower(provider) {
	case "git":
		provider = "TfsGit"
	case "externalgit":
		provider = "Git"
	}
	return [][2]string{
		{"build.repository.provider", provider},
		{"build.repository.clean", "False"},
		{"build.repository.git.submoduleCheckout", "False"},
		{"pipeline.repository.name", self.Text("name")},
	}
}

func systemName() string {
	switch runtime.GOOS {
	case "linux":
		return "Linux"
	case "darwin":
		return "Darwin"
	}
	return runtime.GOOS
}

func architecture() string {
	switch runtime.GOARCH {
	case "amd64":
		return "X64"
	case "386":
		return "X86"
	}
	return strings.ToUpper(runtime.GOARCH)
}

// inContainer tells by the files that the usual engines leave in a container.
func inContainer() string {
	for _, file := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(file); err == nil {
			return "1"
		}
	}
	return "0"
}

// expand replaces the macros of text: first by variables, then by what steps
// inherit from the agent's environment.
func (x *execution) expand(text string) string {
	return vars.Replace(x.vars.Expand(text), x.cfg.environ)
}
