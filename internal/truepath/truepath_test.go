package truepath

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLinksAreFollowedAlsoToWhatIsNotThere(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"job/sub", "outside"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"job/out":      "../outside",
		"job/inner":    "sub",
		"job/nowhere":  "../outside/new",
		"job/far":      filepath.Join(root, "outside", "a", "b"),
		"job/twice":    "nowhere",
		"job/loop":     "loop",
		"outside/back": "../job/later",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]struct {
		of     string
		within bool
	}{
		"job":                {"job", true},
		"job/new/file":       {"job/new/file", true},
		"job/inner/file":     {"job/sub/file", true},
		"job/out/file":       {"outside/file", false},
		"job/nowhere":        {"outside/new", false},
		"job/nowhere/file":   {"outside/new/file", false},
		"job/far/file":       {"outside/a/b/file", false},
		"job/twice/x":        {"outside/new/x", false},
		"outside/back/x":     {"job/later/x", true},
		"job/out/back/x":     {"job/later/x", true},
		"job/sub/../../else": {"else", false},
		"job/..x":            {"job/..x", true},
	} {
		full := filepath.Join(root, path)
		if got := Of(full); got != filepath.Join(root, want.of) {
			t.Errorf("Of(%s) = %s, want %s", path, got, want.of)
		}
		if got := Within(full, filepath.Join(root, "job")); got != want.within {
			t.Errorf("Within(%s, job) = %v, want %v", path, got, want.within)
		}
	}
	if got := Of(filepath.Join(root, "job/loop")); got != filepath.Join(root, "job/loop") {
		t.Errorf("Of(a loop) = %s, want it as it is", got)
	}
}
