package repotest

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// maxComment is how many lines a package comment has at most outside doc.go.
const maxComment = 15

func TestEveryPackageSaysWhatItKnows(t *testing.T) {
	r := repo(t)
	commented := make(map[string]bool) // by folder
	name := make(map[string]string)
	for _, f := range r.gofile {
		if f.isTest {
			continue
		}
		folder := f.folder()
		name[folder] = f.syntax.Name.Name
		commented[folder] = commented[folder] || f.syntax.Doc != nil
		if f.syntax.Doc == nil {
			continue
		}
		text := f.syntax.Doc.Text()
		if want := "Package " + f.syntax.Name.Name + " "; f.syntax.Name.Name != "main" && !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment does not begin with %q", f.path, want)
		} else if f.syntax.Name.Name == "main" && !strings.HasPrefix(text, "Command ") {
			t.Errorf("%s: the package comment does not begin with %q", f.path, "Command ")
		}
		if lines := strings.Count(text, "\n"); lines > maxComment && path.Base(f.path) != "doc.go" {
			t.Errorf("%s: the package comment has %d lines; over %d it moves to doc.go", f.path, lines, maxComment)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(commented)) {
		if !commented[folder] {
			t.Errorf("package %s in %s has no package comment", name[folder], folder)
		}
	}
}

func TestNoFolderIsADrawerForAnything(t *testing.T) {
	forbidden := []string{"util", "utils", "common", "helper", "helpers", "types", "pkg", "misc"}
	for _, f := range repo(t).gofile {
		for part := range strings.SplitSeq(f.folder(), "/") {
			if slices.Contains(forbidden, part) || slices.Contains(forbidden, f.syntax.Name.Name) {
				t.Errorf("%s: a folder's name says what its package knows; %q says nothing", f.path, part)
				break
			}
		}
	}
}

func TestEveryPublicPackageHasARunnableExample(t *testing.T) {
	found := map[string]bool{"agent": false, "runner": false, "podmanrun": false, "buildxsetup": false, "probe": false}
	example := regexp.MustCompile(`(?s)func Example\w*\(\) \{.*// (Unordered o|O)utput:`)
	for _, f := range repo(t).gofile {
		if _, public := found[f.folder()]; public && f.isTest && example.Match(f.text) {
			found[f.folder()] = true
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(found)) {
		if !found[folder] {
			t.Errorf("package %s has no Example with an Output comment", folder)
		}
	}
}
