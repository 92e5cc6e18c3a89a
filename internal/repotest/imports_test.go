package repotest

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
)

// everyone may use these, except packages of layer 0.
var everyone = []string{"internal/mask", "internal/retry", "internal/hint", "internal/span", "internal/wholefile", "internal/truepath", "internal/scratchdir"}

// layer0 imports nothing of ours.
var layer0 = []string{"probe", "internal/mask", "internal/retry", "internal/hint", "internal/logging", "internal/span", "internal/wholefile", "internal/truepath", "internal/scratchdir"}

// arrows says what each folder may import besides everyone's. A folder's own
// internal packages belong to it, unless they have lines of their own. A new arrow
// needs a decision record first.
var arrows = map[string][]string{
	"cmd/dockless":                      {"*"},
	"cmd/dockless/internal/cmdline":     {"internal/telemetry"},
	"cmd/dockless/internal/console":     nil,
	"cmd/dockless/internal/settings":    {"cmd/dockless/internal/cmdline", "agent", "buildxsetup", "internal/ado", "internal/buildcache", "internal/entra", "internal/logging", "internal/metrics", "internal/preempt", "internal/registryauth", "internal/sdnotify", "internal/statuspage", "internal/telemetry", "podmanrun", "runner"},
	"cmd/dockless/internal/credentials": {"cmd/dockless/internal/cmdline", "cmd/dockless/internal/settings", "internal/entra", "internal/registryauth", "podmanrun"},
	"cmd/dockless/internal/imageworks":  {"cmd/dockless/internal/cmdline", "cmd/dockless/internal/settings", "cmd/dockless/internal/credentials", "buildxsetup", "internal/buildcache", "internal/imagebuild", "internal/job", "internal/logging", "internal/registryauth", "internal/telemetry"},
	"cmd/dockless/internal/stackcmd":    {"cmd/dockless/internal/cmdline", "cmd/dockless/internal/console", "cmd/dockless/internal/settings", "cmd/dockless/internal/credentials", "cmd/dockless/internal/imageworks", "internal/buildflags", "internal/imagebuild", "internal/logging", "podmanrun"},
	"cmd/dockless/internal/doctorcmd":   {"cmd/dockless/internal/cmdline", "cmd/dockless/internal/console", "cmd/dockless/internal/settings", "cmd/dockless/internal/credentials", "agent", "buildxsetup", "internal/ado", "internal/buildcache", "internal/buildkitconf", "internal/cdi", "internal/doctor", "internal/entra", "internal/logging", "internal/registryauth", "internal/registryhttp", "podmanrun", "probe", "runner"},
	"cmd/dockless/internal/buildcmd":    {"cmd/dockless/internal/cmdline", "cmd/dockless/internal/console", "cmd/dockless/internal/settings", "cmd/dockless/internal/imageworks", "buildxsetup", "internal/bake", "internal/buildflags", "internal/buildkitconf", "internal/explain", "internal/imagebuild", "internal/logging", "internal/telemetry", "podmanrun"},

	"cmd/dockless-probe":    {"probe"},
	"internal/emulator":     {"internal/ado", "internal/job", "internal/pipeline", "internal/statuspage"},
	"agent":                 {"internal/ado", "internal/job", "probe"},
	"runner":                {"internal/job", "internal/expr", "internal/imagebuild", "internal/explain", "internal/buildflags", "internal/buildcache", "internal/imagelayout", "internal/registryauth", "internal/capsule", "internal/dockerapi", "internal/launch", "podmanrun", "probe", "internal/registryhttp"},
	"internal/ado":          {"internal/job"},
	"internal/pipeline":     {"internal/job", "internal/expr"},
	"internal/buildflags":   {"internal/imagebuild", "internal/buildcache"},
	"internal/exportqueue":  {},
	"internal/sharedstate":  {},
	"internal/imagebuild":   {"buildxsetup", "internal/explain", "internal/buildcache", "internal/exportqueue", "internal/sharedstate", "internal/imagelayout", "internal/imagename", "internal/registryauth"},
	"internal/bake":         {"internal/imagebuild", "internal/buildflags", "internal/buildcache"},
	"internal/explain":      {"internal/buildcache", "internal/registryauth", "internal/registryhttp"},
	"internal/imagelayout":  {"internal/imagename", "internal/registryauth", "internal/registryhttp"},
	"internal/registryauth": {"internal/entra"},
	"internal/buildcache":   nil,
	"internal/imagename":    nil,
	"internal/buildkitconf": nil,
	"internal/doctor":       nil,
	"internal/telemetry":    nil,
	"internal/metrics":      {"internal/imagebuild", "internal/job"},
	"internal/statuspage":   {"internal/job"},
	"internal/recent":       {"internal/job", "internal/statuspage"},
	"internal/span":         nil,
	"internal/capsule":      {"internal/job"},
	"internal/artifactdir":  {"internal/job"},
	"internal/dockerapi":    {"podmanrun"},
	"podmanrun":             nil,
	"buildxsetup":           {"internal/buildkitconf"},
	"internal/entra":        nil,
	"internal/launch":       nil,
	"internal/registry":     nil,
	"internal/preempt":      nil,
	"internal/sdnotify":     nil,
	"internal/cdi":          nil,
	"internal/job":          nil,
	"internal/expr":         nil,
	"probe":                 nil,
	"internal/mask":         nil,
	"internal/retry":        nil,
	"internal/hint":         nil,
	"internal/wholefile":    nil,
	"internal/truepath":     nil,
	"internal/scratchdir":   nil,
	"internal/registryhttp": nil,
	"internal/logging":      nil,
	"internal/repotest":     nil,
	"test":                  {"*"}, // the rig and the programs that drive it
}

// chapter is the folder of the table that a package belongs to, or "".
func chapter(folder string) string {
	for folder != "." && folder != "/" {
		if _, ok := arrows[folder]; ok {
			return folder
		}
		folder = path.Dir(folder)
	}
	return ""
}

// testOnly reports whether a package exists for tests.
func testOnly(folder string) bool {
	return within(folder, "test") || strings.HasSuffix(path.Base(folder), "test") && folder != "internal/repotest"
}

// mayImport reports whether a file that is no test, in folder from, may import
// folder to, and if not, why.
func mayImport(from, to string) (bool, string) {
	here, there := chapter(from), chapter(to)
	switch {
	case testOnly(to) && !testOnly(from):
		return false, "it is for _test.go files and programs under test/ only"
	case here == there:
		return true, ""
	case slices.Contains(arrows[here], "*"), slices.Contains(arrows[here], there):
		return true, ""
	case slices.Contains(layer0, here):
		return false, here + " is of layer 0 and imports nothing of ours"
	case slices.Contains(everyone, there):
		return true, ""
	}
	return false, "there is no such arrow in the table; " + here + " may import " + strings.Join(append(slices.Clone(arrows[here]), everyone...), ", ")
}

func TestImportsPointDownTheTable(t *testing.T) {
	r := repo(t)
	for _, f := range r.gofile {
		if chapter(f.folder()) == "" {
			t.Errorf("%s: the folder %s is not in the table of import directions: it needs a line there and in docs", f.path, f.folder())
			continue
		}
		if f.isTest {
			continue
		}
		for _, imported := range f.imports {
			to, ours := strings.CutPrefix(imported, r.module+"/")
			if !ours {
				continue
			}
			if ok, why := mayImport(f.folder(), to); !ok {
				t.Errorf("%s imports %s: %s", f.path, to, why)
			}
		}
	}
}

// TestTheTableHasNoCircles keeps the table itself honest: each folder's layer
// is above those of all it may import.
func TestTheTableHasNoCircles(t *testing.T) {
	const inProgress = -1
	layers := make(map[string]int)
	var layer func(folder string) int
	layer = func(folder string) int {
		if known, ok := layers[folder]; ok {
			if known == inProgress {
				t.Fatalf("%s can reach itself", folder)
			}
			return known
		}
		layers[folder] = inProgress
		height := 0
		for _, to := range arrows[folder] {
			if _, ok := arrows[to]; !ok && to != "*" {
				t.Errorf("%s may import %s, which is not in the table", folder, to)
			} else if to != "*" {
				height = max(height, layer(to)+1)
			}
		}
		layers[folder] = height
		return height
	}
	for _, folder := range slices.Sorted(maps.Keys(arrows)) {
		if height := layer(folder); height > 0 && slices.Contains(layer0, folder) {
			t.Errorf("%s is of layer 0 and has arrows", folder)
		}
	}
}

// TestForbiddenArrowsAreNoticed tries arrows that must never be drawn.
func TestForbiddenArrowsAreNoticed(t *testing.T) {
	for _, arrow := range [][2]string{
		{"agent", "runner"},
		{"runner", "agent"},
		{"podmanrun", "internal/ado"},
		{"internal/imagebuild", "internal/job"},
		{"probe", "internal/retry"},
		{"internal/mask", "internal/hint"},
		{"agent", "internal/logging"},
		{"cmd/dockless-probe", "internal/job"},
		{"runner", "internal/emulator/emulatortest"},
		{"cmd/dockless", "test/rig"},
		{"cmd/dockless/internal/stackcmd", "cmd/dockless/internal/doctorcmd"},
		{"cmd/dockless/internal/console", "cmd/dockless/internal/cmdline"},
	} {
		if ok, _ := mayImport(arrow[0], arrow[1]); ok {
			t.Errorf("%s may import %s", arrow[0], arrow[1])
		}
	}
	for _, arrow := range [][2]string{
		{"runner/internal/command", "internal/mask"},
		{"runner", "runner/internal/command"},
		{"cmd/dockless", "internal/logging"},
		{"cmd/dockless", "cmd/dockless/internal/stackcmd"},
		{"test/demo", "test/rig"},
		{"internal/emulator/emulatortest", "internal/emulator"},
	} {
		if ok, why := mayImport(arrow[0], arrow[1]); !ok {
			t.Errorf("%s may not import %s: %s", arrow[0], arrow[1], why)
		}
	}
}
