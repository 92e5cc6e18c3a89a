package jobcache_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/jobcache"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

func TestKeysAreSplitAsTheServiceSplitsThem(t *testing.T) {
	for name, c := range map[string]struct {
		key, restore, salt string
		want               jobcache.Spec
	}{
		"segments":           {`npm | "$(Agent.OS)" |a/b.json`, "", "", jobcache.Spec{Key: []string{"npm", `"$(Agent.OS)"`, "a/b.json"}}},
		"nothing between":    {"a||b|", "", "", jobcache.Spec{Key: []string{"a", "b"}}},
		"restore keys":       {"a | b | c", "a | b\r\n\n a \n", "", jobcache.Spec{Key: []string{"a", "b", "c"}, Restore: [][]string{{"a", "b"}, {"a"}}}},
		"a salt":             {"a", "b", " s 1 ", jobcache.Spec{Key: []string{"AZP_CACHING_SALT=s 1", "a"}, Restore: [][]string{{"AZP_CACHING_SALT=s 1", "b"}}}},
		"the old form":       {"a | b\r\nc\n", "", "salt", jobcache.Spec{Key: []string{"a | b", "c"}, OldForm: true}},
		"one line after all": {"a | b\n", "", "", jobcache.Spec{Key: []string{"a", "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := jobcache.Parse(c.key, c.restore, c.salt)
			must(t, err)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Parse(%q, %q, %q) (-want +got):\n%s", c.key, c.restore, c.salt, diff)
			}
		})
	}
}

func TestKeysThatAreNoneAreErrors(t *testing.T) {
	for input, want := range map[[2]string]string{
		{"", ""}: "empty", {" | ", ""}: "blank", {"a| |b", ""}: "blank", {"*", ""}: "reserved", {"a|**", ""}: "reserved",
		{"'a'", ""}: "reserved", {"`a", ""}: "reserved", {"a", "b|*"}: "restoreKeys", {"a\nb", "a"}: "exclude each other",
	} {
		if _, err := jobcache.Parse(input[0], input[1], ""); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%q, %q) = %v, want an error with %q", input[0], input[1], err, want)
		}
	}
}

func files(t *testing.T) (jobcache.Files, *[]string) {
	t.Helper()
	workspace := t.TempDir()
	var said []string
	f := jobcache.Files{Dir: filepath.Join(workspace, "s"), Workspace: workspace, Open: os.Open, Say: func(line string) { said = append(said, line) }}
	write(t, filepath.Join(f.Dir, "package-lock.json"), "lock")
	write(t, filepath.Join(f.Dir, "a/.hidden/package.json"), "one")
	write(t, filepath.Join(f.Dir, "B/package.json"), "two")
	write(t, filepath.Join(f.Dir, "node_modules/x/package.json"), "not this")
	write(t, filepath.Join(workspace, "v1.2"), "")
	return f, &said
}

// hashed is what language §5.6 makes of files.
func hashed(named ...[2]string) string {
	var all strings.Builder
	for _, f := range named {
		fmt.Fprintf(&all, "\nSHA256(%s)=[%d]%X", f[0], len(f[1]), sha256.Sum256([]byte(f[1])))
	}
	sum := sha256.Sum256([]byte(all.String()))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func TestSegmentsThatNameFilesBecomeTheirHash(t *testing.T) {
	f, said := files(t)
	one := hashed([2]string{"s/package-lock.json", "lock"})
	both := hashed([2]string{"s/B/package.json", "two"}, [2]string{"s/a/.hidden/package.json", "one"}) // ordinal: upper case first
	for segment, want := range map[string]string{
		"npm": "npm", "Linux": "Linux", `"package-lock.json"`: `"package-lock.json"`, "version.": "version.", "a=b c": "a=b c",
		"package-lock.json": one, "./package-lock.json": one, f.Dir + "/../s/package-lock.json": one,
		"**/package.json, !**/node_modules/**": both, "!node_modules/**,**/package.json,": both,
		"*.json": one, "../*/package-lock.js?n": one, "package-lock.json, package-lock.json": one,
	} {
		got, err := jobcache.Resolve(t.Context(), []string{segment}, f)
		if err != nil || len(got) != 1 || got[0] != want {
			t.Errorf("%s = %q, %v; want %q", segment, got, err, want)
		}
	}
	if text := strings.Join(*said, "\n"); !strings.Contains(text, " - npm [string]") || !strings.Contains(text, "[file pattern; matches: 2]") || !strings.Contains(text, "SHA256(s/B/package.json)=[3]") {
		t.Errorf("said\n%s", text)
	}
}

func TestSegmentsThatFindNoFileAreErrors(t *testing.T) {
	f, _ := files(t)
	for segment, want := range map[string]string{
		"v1.2":           "File not found: v1.2",
		"none/**/*.lock": "No matching files found for pattern: none/**/*.lock",
		"node_modules/x": "File not found",
		"!package.json,": "includes nothing",
		"*.json,!*.json": "No matching files",
	} {
		if key, err := jobcache.Resolve(t.Context(), []string{segment}, f); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %q, %v; want an error with %q", segment, key, err, want)
		}
	}
	closed := errors.New("hidden")
	f.Open = func(string) (*os.File, error) { return nil, closed }
	if _, err := jobcache.Resolve(t.Context(), []string{"*.json"}, f); !errors.Is(err, closed) {
		t.Errorf("a file that may not be read = %v", err)
	}
}

func TestAPullRequestNeverWritesWhereItsTargetReads(t *testing.T) {
	base := jobcache.Policy{Project: "p", Branch: "refs/heads/main", Target: "", Default: "refs/heads/main"}
	_, main := base.Scopes()
	seen := map[jobcache.Scope]string{main: "main"}
	for name, p := range map[string]jobcache.Policy{
		"a pull request":            {Project: "p", Branch: "refs/pull/7/merge", Target: "refs/heads/main", Default: "refs/heads/main"},
		"the same of a fork":        {Project: "p", Branch: "refs/pull/7/merge", Target: "refs/heads/main", Default: "refs/heads/main", Fork: "https://example.com/fork"},
		"a fork's main":             {Project: "p", Branch: "refs/heads/main", Target: "main", Default: "refs/heads/main", Fork: "https://example.com/fork"},
		"another fork's main":       {Project: "p", Branch: "refs/heads/main", Target: "main", Default: "refs/heads/main", Fork: "https://example.com/other"},
		"a branch that looks alike": {Project: "p", Branch: "refs/heads/pull-7-merge", Target: "main", Default: "main"},
	} {
		read, write := p.Scopes()
		if other, taken := seen[write]; taken {
			t.Errorf("%s writes into the scope of %s", name, other)
		}
		seen[write] = name
		if len(read) != 2 || read[0] != write || read[1] != main {
			t.Errorf("%s reads %q, want its own scope, then that of main, once", name, read)
		}
	}
	other := base
	other.Project = "q"
	if _, write := other.Scopes(); write == main {
		t.Error("two pipelines share a scope")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a | b.json, !c/** | \"x\"", "a\na|b", "salt")
	f.Add("a\nb", "", "")
	f.Fuzz(func(t *testing.T, key, restore, salt string) {
		s, err := jobcache.Parse(key, restore, salt)
		if err == nil && len(s.Key) == 0 {
			t.Error("a key without segments")
		}
	})
}
