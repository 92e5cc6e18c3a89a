package bake

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cwdFile has what a bake file can say of the working directory.
const cwdFile = `{"target": {"default": {
	"context": "cwd://sub/../sub/", "dockerfile": "cwd://D", "tags": ["t"],
	"contexts": {"all": "cwd://", "sub": "cwd://./sub/", "as is": "./sub/", "image": "docker-image://x", "base": "target:base",
		"repository": "cwd://github.com/a/b", "target": "cwd://target:base", "layout": "cwd://oci-layout:///etc"}
}, "base": {"context": "cwd://github.com/a/b", "dockerfile-inline": "FROM x"}}}`

// buildx strips the prefix of a context before it prints it; nothing says that it
// has to.
func TestTheWorkingDirectoryIsMeantHoweverAFileIsResolved(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.MkdirAll("github.com/a/b", 0o750), os.Mkdir("sub", 0o750), os.WriteFile("D", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	native, err := resolveText(t, "b.json", cwdFile, Options{})
	if err != nil {
		t.Fatal(err)
	}
	printed, err := readPrinted([]byte(cwdFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, plan := range map[string]*Plan{"here": native, "by buildx": printed} {
		if err := plan.Check(Access{}); err != nil {
			t.Errorf("resolved %s: %v, want that the working directory may be read", name, err)
		}
		builds, err := plan.Requests(RequestOptions{})
		if err != nil {
			t.Errorf("resolved %s: %v", name, err)
			continue
		}
		r := builds[1].Request
		if r.Context != "sub" || r.Dockerfile != "D" || builds[0].Request.Context != "github.com/a/b" {
			t.Errorf("resolved %s: context %q with the Dockerfile %q, of the base %q, want sub, D and the directory github.com/a/b", name, r.Context, r.Dockerfile, builds[0].Request.Context)
		}
		want := map[string]string{
			"all": ".", "sub": "sub", "as is": "./sub/", "image": "docker-image://x",
			"repository": "github.com/a/b", "target": "./target:base", "layout": "oci-layout:/etc",
		}
		if diff := cmp.Diff(want, r.Contexts); diff != "" {
			t.Errorf("resolved %s: named contexts (-want +got):\n%s", name, diff)
		}
	}
}

func TestADirectoryThatIsMissingIsNoRepository(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := requests(t, `{"target": {"default": {"context": "cwd://github.com/a/b"}}}`)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error = %v, want that there is no directory github.com/a/b", err)
	}
}

func TestADockerfileHereBelongsToARemoteContext(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("D", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	builds, err := requests(t, `{"target": {"default": {"context": "https://example.com/a.git", "dockerfile": "cwd://D"}}}`)
	if err != nil {
		t.Fatal(err)
	}
	if file := builds[0].Request.Dockerfile; !filepath.IsAbs(file) || filepath.Base(file) != "D" {
		t.Errorf("the Dockerfile = %q, want the absolute path of D: a relative one is inside the repository", file)
	}
}

func TestABakeFileHereIsRead(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("b.json", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := Read([]string{"cwd://b.json"}, strings.NewReader(""))
	if err != nil || len(files) != 1 || files[0].Name != "b.json" {
		t.Errorf("Read(cwd://b.json) = %v, %v, want b.json", files, err)
	}
}
