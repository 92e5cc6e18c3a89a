package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// aptSources is where this host gets its packages from. The images use the
// same, so that they build wherever the host can install packages.
type aptSources struct {
	suite    string // the release's code name, bookworm
	list     string // sources.list in its one-line form
	settings string // apt.conf with the host's proxies and tolerances
	// certificates are the authorities that an administrator added to this
	// host, in PEM: a company's proxy is one.
	certificates string
}

var errNoSources = errors.New("no source of the running release in /etc/apt")

// hostSources reads this host's release, package sources and apt settings.
func hostSources(ctx context.Context) (aptSources, error) {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return aptSources{}, fmt.Errorf("reading the host's release: %w", err)
	}
	s := aptSources{suite: releaseField(string(release), "VERSION_CODENAME")}
	files, err := filepath.Glob("/etc/apt/sources.list.d/*")
	if err != nil {
		return aptSources{}, fmt.Errorf("reading the package sources: %w", err)
	}
	var lines []string
	for _, name := range append([]string{"/etc/apt/sources.list"}, files...) {
		text, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return aptSources{}, fmt.Errorf("reading the package sources: %w", err)
		}
		switch filepath.Ext(name) {
		case ".list":
			lines = append(lines, oneLineSources(string(text), s.suite)...)
		case ".sources":
			lines = append(lines, stanzaSources(string(text), s.suite)...)
		}
	}
	if len(lines) == 0 {
		return aptSources{}, fmt.Errorf("reading the package sources: %w", errNoSources)
	}
	slices.Sort(lines)
	s.list = strings.Join(slices.Compact(lines), "\n") + "\n"
	if s.settings, err = aptSettings(ctx); err != nil {
		return aptSources{}, err
	}
	s.certificates, err = addedCertificates()
	return s, err
}

// oneLineSources returns the binary sources of a release from a sources.list.
func oneLineSources(text, suite string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(withoutOptions(line))
		if len(fields) > 3 && fields[0] == "deb" && ofRelease(fields[2], suite) {
			lines = append(lines, strings.Join(fields, " "))
		}
	}
	return lines
}

// withoutOptions drops a comment and the [options] of a source line: the keys
// they name are the distribution's own, which the images have too.
func withoutOptions(line string) string {
	line, _, _ = strings.Cut(line, "#")
	before, rest, found := strings.Cut(line, "[")
	if !found {
		return line
	}
	_, after, _ := strings.Cut(rest, "]")
	return before + after
}

// stanzaSources returns the same from a deb822 file.
func stanzaSources(text, suite string) []string {
	var lines []string
	for stanza := range strings.SplitSeq(text, "\n\n") {
		field := map[string]string{}
		scanner := bufio.NewScanner(strings.NewReader(stanza))
		for scanner.Scan() {
			key, value, found := strings.Cut(scanner.Text(), ":")
			if found && !strings.HasPrefix(key, "#") && !strings.HasPrefix(key, " ") {
				field[strings.ToLower(key)] = strings.TrimSpace(value)
			}
		}
		if field["enabled"] == "no" || !slices.Contains(strings.Fields(field["types"]), "deb") {
			continue
		}
		for uri := range strings.FieldsSeq(field["uris"]) {
			for of := range strings.FieldsSeq(field["suites"]) {
				if ofRelease(of, suite) && field["components"] != "" {
					lines = append(lines, "deb "+uri+" "+of+" "+field["components"])
				}
			}
		}
	}
	return lines
}

// ofRelease reports whether a source's suite is the distribution's own: the
// release, its updates or its security fixes. Other publishers' keys are not
// in the images.
func ofRelease(of, suite string) bool {
	return of == suite || of == suite+"-updates" || of == suite+"-security"
}

// aptSettings returns the host's settings that decide whether its sources can be
// reached and believed: proxies, certificates, and tolerance for a clock or a
// mirror that is behind.
func aptSettings(ctx context.Context) (string, error) {
	dump, err := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty").Output()
	if err != nil {
		return "", fmt.Errorf("reading apt's settings: %w", err)
	}
	var lines []string
	for line := range strings.Lines(string(dump)) {
		lower := strings.ToLower(line)
		for _, prefix := range []string{"acquire::http::", "acquire::https::", "acquire::check-", "acquire::retries"} {
			if strings.HasPrefix(lower, prefix) {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return strings.Join(append(lines, ""), "\n"), nil
}

// foreignApt makes package lists of another architecture in dir and returns the
// settings by which apt-get uses them. The host's own lists stay as they are.
func foreignApt(ctx context.Context, sources aptSources, dir, arch string) ([]string, error) {
	for _, part := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, part), 0o755); err != nil { //nolint:gosec // apt's unprivileged user writes in them
			return nil, fmt.Errorf("making package lists for %s: %w", arch, err)
		}
	}
	list := filepath.Join(dir, "sources.list")
	if err := os.WriteFile(list, []byte(sources.list), 0o644); err != nil { //nolint:gosec // apt's unprivileged user reads it
		return nil, fmt.Errorf("making package lists for %s: %w", arch, err)
	}
	var settings []string
	for _, s := range []string{
		"APT::Architecture=" + arch, "APT::Architectures=" + arch, "Acquire::Languages=none",
		"Dir::Etc::sourcelist=" + list, "Dir::Etc::sourceparts=/dev/null", "Dir::State::status=/dev/null",
		"Dir::State::lists=" + filepath.Join(dir, "lists"), "Dir::Cache=" + filepath.Join(dir, "cache"),
	} {
		settings = append(settings, "-o", s)
	}
	cmd := exec.CommandContext(ctx, "apt-get", append([]string{"update", "-q", "-o", "APT::Sandbox::User=root"}, settings...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making package lists for %s: apt-get update: %w\n%s", arch, err, out)
	}
	return settings, nil
}

// addedCertificates returns the certificates that an administrator added to the
// host, which Debian keeps apart from its own.
func addedCertificates() (string, error) {
	files, err := filepath.Glob("/usr/local/share/ca-certificates/*.crt")
	if err != nil {
		return "", fmt.Errorf("looking for added certificates: %w", err)
	}
	var all strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return "", fmt.Errorf("reading an added certificate: %w", err)
		}
		all.Write(text)
	}
	return all.String(), nil
}

// releaseField reads one value of an os-release file.
func releaseField(text, key string) string {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, key+"="); found {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}
