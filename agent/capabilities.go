package agent

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// tools are the capabilities that jobs may demand, and the commands that stand
// for them (protocol §2.7; what makes no sense on Linux is left out).
var tools = map[string][]string{
	"ant": {"ant"}, "clang": {"clang"}, "cmake": {"cmake"}, "curl": {"curl"}, "docker": {"docker"}, "dotnet": {"dotnet"},
	"git": {"git"}, "gulp": {"gulp"}, "java": {"java"}, "JDK": {"javac"}, "make": {"make"}, "maven": {"mvn"},
	"node.js": {"node", "nodejs"}, "npm": {"npm"}, "python": {"python"}, "python3": {"python3"}, "sh": {"sh"},
	"ruby": {"ruby"}, "rake": {"rake"}, "svn": {"svn"},
}

// architectures are the service's names for ours.
var architectures = map[string]string{"amd64": "X64", "386": "X86", "arm64": "ARM64", "arm": "ARM"}

// capabilities are what this agent offers. Environment variables, which the
// official agent offers too, are left out: they hold secrets more often than
// demands.
func (a *Agent) capabilities() map[string]string {
	offered := map[string]string{
		"Agent.Name":           a.config.Name,
		"Agent.Version":        Version,
		"Agent.OS":             "Linux",
		"Agent.OSArchitecture": architectures[runtime.GOARCH],
		"Agent.ComputerName":   a.host,
		"InteractiveSession":   "False",
	}
	if home, err := os.Getwd(); err == nil {
		offered["Agent.HomeDirectory"] = home
	}
	for name, commands := range tools {
		for _, command := range commands {
			if path, err := exec.LookPath(command); err == nil && filepath.IsAbs(path) {
				offered[name] = path
				break
			}
		}
	}
	maps.Copy(offered, a.deps.Capabilities)
	if a.deps.Mask != nil {
		for name, value := range offered {
			offered[name] = a.deps.Mask(value)
		}
	}
	return offered
}

// osDescription names the kernel and us.
func (a *Agent) osDescription() string {
	text := "Linux"
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		text += " " + strings.TrimSpace(string(release))
	}
	return text + " (" + a.deps.Product + ")"
}
