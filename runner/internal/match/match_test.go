package match_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/match"
)

// golden is what the task library itself answers, as test/integration asked it.
type golden struct {
	Tree  []string
	Names []string
	Match []struct {
		Patterns []string
		Root     string

		Base, NoDots, Braces bool

		Want []int
	}
	Find []struct {
		Patterns     []string
		Base, NoDots bool
		Want         []string
	}
}

func answers(t testing.TB) golden {
	t.Helper()
	text, err := os.ReadFile("testdata/tasklib.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestFilterChoosesWhatTheTaskLibraryChooses(t *testing.T) {
	g := answers(t)
	for _, c := range g.Match {
		var want []string
		for _, i := range c.Want {
			want = append(want, g.Names[i])
		}
		o := match.Options{Base: c.Base, NoDots: c.NoDots, Braces: c.Braces}
		got, err := match.Filter(g.Names, c.Patterns, c.Root, o)
		if err != nil {
			t.Errorf("Filter(names, %q, %q, %+v) = %v", c.Patterns, c.Root, o, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Filter(names, %q, %q, %+v) (-library +got):\n%s", c.Patterns, c.Root, o, diff)
		}
	}
}

func TestFindFindsWhatTheTaskLibraryFinds(t *testing.T) {
	g := answers(t)
	root := filepath.Join(t.TempDir(), "r [x](y)*")
	plant(t, root, g.Tree...)
	for _, c := range g.Find {
		var patterns, want []string
		for _, p := range c.Patterns {
			patterns = append(patterns, strings.ReplaceAll(p, "$ROOT", root))
		}
		for _, w := range c.Want {
			want = append(want, strings.Replace(w, "$ROOT", root, 1))
		}
		o := match.Options{Base: c.Base, NoDots: c.NoDots}
		got, err := match.Find(t.Context(), root, patterns, o)
		if err != nil {
			t.Errorf("Find(%q, %+v) = %v", c.Patterns, o, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("Find(%q, %+v) (-library +got):\n%s", c.Patterns, o, diff)
		}
	}
}

// plant makes files, directories (with a slash behind) and links (a -> b).
func plant(t *testing.T, root string, tree ...string) {
	t.Helper()
	for _, entry := range tree {
		name, target, link := strings.Cut(entry, " -> ")
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case link:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.Mkdir(path, 0o755)
		default:
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestWalkToleratesLinksThatLeadNowhereOrBack(t *testing.T) {
	root := t.TempDir()
	plant(t, root, "dir/file", "dir/back -> ..", "self -> self", "gone -> nowhere")
	got, err := match.Walk(t.Context(), root)
	want := []string{root}
	for _, name := range []string{"dir", "dir/back", "dir/file", "gone", "self"} {
		want = append(want, filepath.Join(root, name))
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("Walk = %v (-want +got):\n%s", err, diff)
	}
}

func TestWalkInsideDoesNotLeaveItsRoot(t *testing.T) {
	top := t.TempDir()
	plant(t, top, "real/", "real/dir/", "real/dir/file", "real/in -> dir", "real/all -> /", "real/beside -> ../out", "out/", "out/file", "root -> real")
	root := filepath.Join(top, "root")
	got, err := match.WalkInside(t.Context(), root)
	want := []string{root}
	for _, name := range []string{"all", "beside", "dir", "dir/file", "in", "in/file"} {
		want = append(want, filepath.Join(root, name))
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("WalkInside = %v (-want +got):\n%s", err, diff)
	}
	if got, err := match.WalkInside(t.Context(), filepath.Join(top, "nowhere")); err != nil || len(got) != 0 {
		t.Errorf("without a root: %q, %v", got, err)
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	why := errors.New("the job is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := match.Walk(ctx, t.TempDir()); !errors.Is(err, why) {
		t.Errorf("Walk = %v, want the cause", err)
	}
}

func TestNothingIsFoundWhereThereIsNoRoot(t *testing.T) {
	got, err := match.Find(t.Context(), filepath.Join(t.TempDir(), "nowhere"), []string{"**"}, match.Options{})
	if err != nil || len(got) != 0 {
		t.Errorf("Find = %q, %v, want nothing", got, err)
	}
}

func TestAPatternThatIsTooLongIsAnError(t *testing.T) {
	_, err := match.Filter([]string{"a"}, []string{strings.Repeat("a*", 40_000)}, "", match.Options{})
	if err == nil || !strings.Contains(err.Error(), "longer than 64 KiB") {
		t.Errorf("Filter = %v, want a bound", err)
	}
}

// hostile are patterns that take other matchers forever.
var hostile = []string{
	strings.Repeat("a*", 100) + "b",
	strings.Repeat("*(a*)", 40) + "b",
	strings.Repeat("+(", 200) + "a" + strings.Repeat(")", 200) + "b",
	strings.Repeat("!(", 30) + "a" + strings.Repeat(")", 30) + "b",
	strings.Repeat("!(a*)", 30) + "b",
	strings.Repeat("@(a|a)", 60) + "b",
	strings.Repeat("+(", 5000),
	strings.Repeat("[", 5000),
	strings.Repeat("**/", 200) + "b",
	strings.Repeat("**/a*/", 60) + "b",
}

// A pattern that does would take longer than any test may.
func TestNoPatternTakesForever(t *testing.T) {
	names := []string{strings.Repeat("a", 250), strings.Repeat("a/", 250) + "a"}
	for _, pattern := range hostile {
		if got, err := match.Filter(names, []string{pattern}, "", match.Options{}); err != nil || len(got) != 0 {
			t.Errorf("Filter(%.20q…) = %q, %v, want nothing", pattern, got, err)
		}
	}
}

func TestBracesStandForEachOfTheirChoices(t *testing.T) {
	names := []string{"f8", "f9", "f10", "f08", "f09", "g-1", "g0", "g1", "$x", "${x,y}"}
	for pattern, want := range map[string][]string{
		"f{8..10}":    {"f8", "f9", "f10"},
		"f{10..8..2}": {"f8", "f10"},
		"f{08..10}":   {"f10", "f08", "f09"},
		"g{-1..1}":    {"g-1", "g0", "g1"},
		"${x,y}":      {"${x,y}"},
	} {
		got, err := match.Filter(names, []string{pattern}, "", match.Options{Braces: true})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("Filter(names, %q) = %v (-want +got):\n%s", pattern, err, diff)
		}
	}
}

func TestBracesThatMultiplyAreBounded(t *testing.T) {
	for _, pattern := range []string{strings.Repeat("{a,b}", 60), "{1..1000000000}", strings.Repeat("{", 2000) + strings.Repeat(",}", 2000), strings.Repeat("{1..1}", 9000)} {
		_, err := match.Filter([]string{"a"}, []string{pattern}, "", match.Options{Braces: true})
		if err == nil || !strings.Contains(err.Error(), "more than 10000 patterns") {
			t.Errorf("Filter(%.20q…) = %v, want a bound", pattern, err)
		}
	}
}

func FuzzFilter(f *testing.F) {
	g := answers(f)
	for _, c := range g.Match {
		f.Add(strings.Join(c.Patterns, "\n"), "a/.b/c.js", c.Root, c.Base, c.NoDots)
	}
	for _, pattern := range hostile {
		f.Add(pattern, "aaaaaaaaaaaa/a", "", false, false)
	}
	f.Fuzz(func(t *testing.T, patterns, path, root string, base, noDots bool) {
		if len(patterns) > 500 || len(path) > 500 {
			t.Skip("long ones are slow, and bounded elsewhere")
		}
		lines := strings.Split(patterns, "\n")
		got, err := match.Filter([]string{path, path}, lines, root, match.Options{Base: base, NoDots: noDots})
		if err != nil {
			t.Fatalf("Filter(%q, %q) = %v", path, lines, err)
		}
		if len(got) > 1 || len(got) == 1 && got[0] != path {
			t.Errorf("Filter(%q, %q) = %q, want that path once at most", path, lines, got)
		}
		all, err := match.Filter([]string{path}, append(lines, "!"+path), root, match.Options{Base: base, NoDots: noDots})
		if err != nil || len(all) > len(got) {
			t.Errorf("one more exclusion chose %q, %v, before it was %q", all, err, got)
		}
	})
}
