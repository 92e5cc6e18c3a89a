package conceal

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// make builds a tree of files; "name -> target" is a link.
func makeTree(t *testing.T, entries ...string) string {
	t.Helper()
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name, target, isLink := strings.Cut(e, " -> ")
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if isLink {
			err = os.Symlink(target, path)
		} else {
			err = os.WriteFile(path, nil, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestWhatIsHiddenOutlivesARotation(t *testing.T) {
	for name, c := range map[string]struct {
		entries           []string
		file, mount, want string
	}{
		"a mounted Secret is hidden as a whole": {
			[]string{"azp/..2026_1/token", "azp/..data -> ..2026_1", "azp/token -> ..data/token"}, "azp/token", "azp", "azp",
		},
		"so is one whose file lies deeper": {
			[]string{"azp/..2026_1/a/token", "azp/..data -> ..2026_1", "azp/a -> ..data/a"}, "azp/a/token", "azp", "azp",
		},
		"a mount of its own without links, too":   {[]string{"azp/token"}, "azp/token", "azp", "azp"},
		"a link to the mount changes nothing":     {[]string{"mnt/token", "azp -> mnt"}, "azp/token", "mnt", "mnt"},
		"a file that is a mount is itself hidden": {[]string{"etc/token", "etc/other"}, "etc/token", "etc/token", "etc/token"},
		"a file in a mount of other things":       {[]string{"home/agent/token", "home/agent/.bashrc"}, "home/agent/token", "home", "home/agent/token"},
		"a file on the root file system":          {[]string{"etc/dockless/token"}, "etc/dockless/token", "", "etc/dockless/token"},
		"a link to a file elsewhere":              {[]string{"store/1", "etc/token -> ../store/1"}, "etc/token", "", "store/1"},
	} {
		t.Run(name, func(t *testing.T) {
			root := makeTree(t, c.entries...)
			got, err := target(filepath.Join(root, c.file), func(path string) (bool, error) {
				return c.mount != "" && path == filepath.Join(root, c.mount), nil
			})
			if want := filepath.Join(root, c.want); err != nil || got != want {
				t.Errorf("target(%s) = %s, %v, want %s", c.file, got, err, want)
			}
		})
	}
}

func TestEverythingBesideTheHiddenFilesStaysReadable(t *testing.T) {
	root := makeTree(t, "run/secrets/azp/token", "run/secrets/buildkit/key", "run/podman/socket", "run/secrets/entra/token", "run/link -> podman")
	hidden := []string{filepath.Join(root, "run/secrets/entra"), filepath.Join(root, "run/secrets/azp"), filepath.Join(root, "run/secrets/azp/token")}
	tr := newTree(hidden)
	if want := []string{hidden[1], hidden[0]}; !slices.Equal(tr.hidden, want) {
		t.Errorf("hidden = %q, want %q", tr.hidden, want)
	}
	all, err := tr.siblings()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, path := range all {
		if inside, ok := strings.CutPrefix(path, root+"/"); ok {
			got = append(got, inside)
		}
	}
	if want := []string{"run/podman", "run/secrets/buildkit"}; !slices.Equal(got, want) {
		t.Errorf("siblings below the tree = %q, want %q", got, want)
	}
	if !slices.Contains(tr.ancestors, "/") || slices.Contains(all, filepath.Join(root, "run")) {
		t.Errorf("ancestors %q are to reach the root and are no siblings", tr.ancestors)
	}
}
