package agent

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// Names of capabilities that are ours alone. An agent replaces what is
// registered under them, and no setting may use them.
const (
	capabilityProduct     = "dockless"
	capabilityPrefix      = "dockless."
	capabilityFleet       = "dockless.fleet"        // whose agent it is, see [Config.Fleet]
	capabilityEphemeral   = "dockless.ephemeral"    // "false": stays in the pool while it is offline, see [Config.Ephemeral]
	capabilityPlaceholder = "dockless.placeholder"  // "true": never has a session, see [Agent.Placeholder]
	capabilitySet         = "dockless.capabilities" // names that the settings made user capabilities
)

// tools are the capabilities that jobs may demand, and the commands that stand
// for them (protocol §2.7). Xcode and the two of Xamarin are left out: they are
// found at fixed paths of macOS.
var tools = map[string][]string{
	"AndroidSDK": {"android"}, "ant": {"ant"}, "AzureGuestAgent": {"waagent"}, "bundler": {"bundle"}, "clang": {"clang"},
	"cmake": {"cmake"}, "curl": {"curl"}, "docker": {"docker"}, "dotnet": {"dotnet"}, "git": {"git"}, "gulp": {"gulp"},
	"java": {"java"}, "JDK": {"javac"}, "make": {"make"}, "maven": {"mvn"}, "MSBuild": {"xbuild", "msbuild"},
	"node.js": {"node", "nodejs"}, "npm": {"npm"}, "python": {"python"}, "python3": {"python3"}, "sh": {"sh"},
	"subversion": {"svn"}, "svn": {"svn"}, "ruby": {"ruby"}, "rake": {"rake"},
}

// architectures are the service's names for ours.
var architectures = map[string]string{"amd64": "X64", "386": "X86", "arm64": "ARM64", "arm": "ARM"}

// offer is a set of capabilities. Names ignore case and the last spelling wins,
// as the service compares them (protocol §2.7). Make one with newOffer.
type offer struct {
	values map[string]string
	spelt  map[string]string // by name in lower case
}

func newOffer() *offer { return &offer{values: map[string]string{}, spelt: map[string]string{}} }

func (o *offer) set(name, value string) {
	folded := strings.ToLower(name)
	delete(o.values, o.spelt[folded])
	o.spelt[folded], o.values[name] = name, value
}

func (o *offer) setAll(values map[string]string) {
	for name, value := range values {
		o.set(name, value)
	}
}

func (o *offer) has(name string) bool {
	_, ok := o.spelt[strings.ToLower(name)]
	return ok
}

func (o *offer) remove(name string) {
	folded := strings.ToLower(name)
	delete(o.values, o.spelt[folded])
	delete(o.spelt, folded)
}

func (o *offer) removeOurs() {
	for name := range o.values {
		if isOurs(name) {
			o.remove(name)
		}
	}
}

// capabilities are what this agent offers, in the order of protocol §2.7:
// environment, tools, file, the agent's own; then what we were given and our
// labels, so that nothing found in between passes for them.
func (a *Agent) capabilities(ctx context.Context) map[string]string {
	offered := newOffer()
	if a.config.Environment {
		offered.setAll(environmentCapabilities(a.deps.Environment))
	}
	for name, commands := range tools {
		for _, command := range commands {
			if path, err := exec.LookPath(command); err == nil && filepath.IsAbs(path) {
				offered.set(name, path)
				break
			}
		}
	}
	home, err := os.Getwd()
	if err == nil {
		offered.setAll(a.fileCapabilities(ctx, filepath.Join(home, ".capabilities")))
		offered.set("Agent.HomeDirectory", home)
	}
	offered.setAll(map[string]string{
		"Agent.Name":           a.config.Name,
		"Agent.Version":        Version,
		"Agent.OS":             "Linux",
		"Agent.OSArchitecture": architectures[runtime.GOARCH],
		"Agent.ComputerName":   a.host,
		"InteractiveSession":   "False",
	})
	offered.removeOurs()
	offered.setAll(a.deps.Capabilities)
	if a.config.Fleet != "" {
		offered.set(capabilityFleet, a.config.Fleet)
	}
	if !a.config.Ephemeral {
		offered.set(capabilityEphemeral, "false")
	}
	if names := a.config.capabilityNames(); names != "" {
		offered.set(capabilitySet, names)
	}
	if a.deps.Mask != nil {
		for name, value := range offered.values {
			offered.values[name] = a.deps.Mask(value)
		}
	}
	return offered.values
}

// isOurs reports whether a capability's name belongs to this program.
func isOurs(name string) bool {
	folded := strings.ToLower(name)
	return folded == capabilityProduct || strings.HasPrefix(folded, capabilityPrefix)
}

// maxCapabilityFile bounds .capabilities: it is written by hand, and a thousand
// lines stay far below.
const maxCapabilityFile = 64 << 10

// fileCapabilities reads the NAME=VALUE lines of a file that need not exist. A
// file that cannot be read is told and passed over: jobs that demand what it
// says wait, others do not.
func (a *Agent) fileCapabilities(ctx context.Context, path string) map[string]string {
	text, err := readSmall(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		a.log.WarnContext(ctx, "capabilities of a file are left out", "file", path, "error", err)
		return nil
	}
	found := make(map[string]string)
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "=")
		if name = strings.TrimSpace(name); ok && name != "" {
			found[name] = strings.TrimSpace(value)
		}
	}
	if err := lines.Err(); err != nil {
		a.log.WarnContext(ctx, "capabilities of a file are left out", "file", path, "error", err)
		return nil
	}
	return found
}

func readSmall(path string) (_ []byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxCapabilityFile {
		return nil, errors.New("it is no file of at most 64 KiB")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, maxCapabilityFile))
}

// merged is what is registered in place of existing: what it had, as the
// reference agent keeps it (protocol §2.6), without names of ours that are no
// longer true, and with what is offered now.
func merged(existing, offered map[string]string) map[string]string {
	all := newOffer()
	all.setAll(existing)
	all.removeOurs()
	all.setAll(offered)
	return all.values
}

// osDescription names the kernel and us.
func (a *Agent) osDescription() string {
	text := "Linux"
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		text += " " + strings.TrimSpace(string(release))
	}
	return text + " (" + a.deps.Product + ")"
}
