package imagelayout

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"github.com/dockless-ci/dockless/internal/imagename"
)

func TestAnArchiveOfAllPlatformsHasEveryBlobAndNoManifestOfDockers(t *testing.T) {
	l, _, index := newLayout(t, "docker.io/library/one:1", "docker.io/library/two:1")
	d, named, err := l.find("two:1")
	if err != nil {
		t.Fatal(err)
	}
	latest, err := imagename.Full("two")
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := l.Archive(t.Context(), d, []reference.Named{named, latest}, ArchiveOptions{All: true}, &archive); err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for r := tar.NewReader(&archive); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[h.Name] = string(content)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		if files["blobs/sha256/"+m.Digest.Hex] == "" {
			t.Errorf("the archive lacks the manifest for %s", m.Platform)
		}
	}
	if got := files["index.json"]; !strings.Contains(got, "docker.io/library/two:1") || !strings.Contains(got, "docker.io/library/two:latest") {
		t.Errorf("index.json = %s, want both names", got)
	}
	if _, ok := files["manifest.json"]; ok {
		t.Error("an archive for all platforms pretends to be one of Docker's")
	}
}

func TestBlobsOfAnotherLayoutAreMoved(t *testing.T) {
	from, _, _ := newLayout(t, "docker.io/library/one:1", "docker.io/library/two:1")
	d, named, err := from.find("two:1")
	if err != nil {
		t.Fatal(err)
	}
	to := Layout{Dir: filepath.Join(t.TempDir(), "new")}
	if err := errors.Join(to.Adopt(from), to.Put(t.Context(), d, named.String())); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := to.Archive(t.Context(), d, nil, ArchiveOptions{All: true}, &archive); err != nil {
		t.Errorf("the moved image is not whole: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(from.Dir, "blobs", "sha256", "*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if err := to.Adopt(Layout{Dir: t.TempDir()}); err == nil {
		t.Error("a directory that is no layout was adopted")
	}
}

func TestABlobIsKeptUnderItsOwnDigestOnly(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	content := []byte("content")
	if err := l.PutBlob(digest.FromBytes(content), content); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Blob(digest.FromBytes(content)); err != nil || !bytes.Equal(got, content) {
		t.Errorf("Blob() = %q, %v", got, err)
	}
	if err := l.PutBlob(digest.FromString("other"), content); err == nil {
		t.Error("content was kept under a digest that is not its own")
	}
	if _, err := l.Blob("sha256:../../secret"); err == nil {
		t.Error("a path was read as a digest")
	}
	files, err := os.ReadDir(filepath.Join(l.Dir, "blobs", "sha256"))
	if err != nil || slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), ".new") }) {
		t.Errorf("files = %v, %v, want the blob alone", files, err)
	}
}
