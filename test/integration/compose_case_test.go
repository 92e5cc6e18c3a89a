package integration_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/dockless-ci/dockless/test/rig"
)

// composeDir holds one folder for each feature of compose files; README.md there
// says how they are written.
const composeDir = "../compose"

// composeCase is one folder of test/compose, as its x-test says.
type composeCase struct {
	name string // of the folder
	what string // the comment at the top of its file

	Env      map[string]string // variables for interpolation
	Profiles []string
	Files    []string // empty is compose.yml
	Volumes  []string // made before, as external ones
	Networks []string
	Warns    []string // what dockless tells on the way, all of it
	Refused  []string // what dockless refuses, all of it, each with its place
	Fails    string   // part of the error with which the start ends
	Then     string   // profile of a second start, after the first was taken down with its volumes kept
	Docker   string   // how docker compose differs: "passes: why" or "fails: why"
	Podman   string   // the oldest release that can do it
}

// passes reports whether dockless brings the stack up.
func (c composeCase) passes() bool { return c.Fails == "" && len(c.Refused) == 0 }

// composeCases reads the folders.
func composeCases(t *testing.T) []composeCase {
	t.Helper()
	folders, err := os.ReadDir(composeDir)
	if err != nil {
		t.Fatal(err)
	}
	var cases []composeCase
	for _, folder := range folders {
		if !folder.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(composeDir, folder.Name(), "compose.yml"))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Test composeCase `yaml:"x-test"`
		}
		if err := yaml.Unmarshal(text, &file); err != nil {
			t.Fatalf("%s: %v", folder.Name(), err)
		}
		c := file.Test
		c.name = folder.Name()
		for line := range strings.Lines(string(text)) {
			comment, ok := strings.CutPrefix(line, "# ")
			if !ok {
				break
			}
			c.what = strings.TrimSpace(c.what + " " + strings.TrimSpace(comment))
		}
		cases = append(cases, c)
	}
	return cases
}

// copyReadable copies a tree so that every user of a container can read it, which
// the mode of a checkout does not promise.
func copyReadable(to string, from fs.FS) error {
	return fs.WalkDir(from, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if entry.IsDir() {
			return os.MkdirAll(path, 0o755)
		}
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		return os.WriteFile(path, text, 0o644)
	})
}

// engineIsOlder reports whether Podman is of a release before version, major.minor.
func engineIsOlder(t *testing.T, engine *rig.Podman, version string) bool {
	t.Helper()
	out, err := engine.Command(t.Context(), "version", "--format={{.Client.Version}}").Output()
	if err != nil {
		t.Fatalf("asking Podman for its version: %v", err)
	}
	number := func(text string) (n int) {
		for i, part := range strings.SplitN(text+".0", ".", 3)[:2] {
			v, err := strconv.Atoi(part)
			if err != nil {
				t.Fatalf("version %q: %v", text, err)
			}
			n += v * []int{1000, 1}[i]
		}
		return n
	}
	return number(strings.TrimSpace(string(out))) < number(version)
}
