package runner

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

func TestABuildDoesNotWriteThroughLinksOfContainers(t *testing.T) {
	s, agents := workspace(t)
	d := &dockerStep{attempt: &attempt{x: s.x}}
	output := func(kind, dest string) imagebuild.Request {
		return imagebuild.Request{Outputs: []imagebuild.Output{{Type: kind, Dest: dest}}}
	}
	cache := func(dest string) imagebuild.Request {
		return imagebuild.Request{CacheTo: []buildcache.Entry{{Type: "local", Attrs: map[string]string{"dest": dest}}}}
	}
	for what, c := range map[string]struct {
		metadata, imageID string
		asked             imagebuild.Request
		ok                bool
	}{
		"--metadata-file":         {metadata: s.Path("real/config.json")},
		"--iidfile":               {imageID: s.Path("out/config.json")},
		"a directory":             {asked: output("local", s.Path("out"))},
		"an archive":              {asked: output("oci", s.Path("real/config.json"))},
		"a cache":                 {asked: cache(s.Path("out/cache"))},
		"folders of the job":      {metadata: s.Path("new/m.json"), imageID: s.Path("inner/id"), asked: output("tar", s.Path("new/a.tar")), ok: true},
		"a cache and a directory": {asked: imagebuild.Request{CacheTo: cache(s.Path("c")).CacheTo, Outputs: output("local", s.Path("o")).Outputs}, ok: true},
	} {
		d.metadata, d.imageID = c.metadata, c.imageID
		if err := d.mayWrite(c.asked); c.ok != (err == nil) || err != nil && !strings.Contains(err.Error(), "the input arguments") {
			t.Errorf("%s: %v; want it to be allowed: %t", what, err, c.ok)
		}
	}

	d.metadata, d.imageID = "", ""
	asked := output("oci", s.Path("new/a.tar"))
	if err := d.mayWrite(asked); err != nil {
		t.Fatal(err)
	}
	f, err := asked.Outputs[0].Create(asked.Outputs[0].Dest)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.write(s.Path("inner/id"), []byte("sha256:0")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(s.Path("real/id")); err != nil || string(got) != "sha256:0" {
		t.Errorf("the file has %q, %v", got, err)
	}
	// A container may put a link there while the build runs.
	if err := os.Remove(asked.Outputs[0].Dest); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(agents, "config.json"), asked.Outputs[0].Dest); err != nil {
		t.Fatal(err)
	}
	if _, err := asked.Outputs[0].Create(asked.Outputs[0].Dest); err == nil {
		t.Error("an archive was made through a link")
	}
	if err := d.write(s.Path("real/config.json"), []byte("evil")); err == nil {
		t.Error("a file was written through a link")
	}
	if got, err := os.ReadFile(filepath.Join(agents, "config.json")); err != nil || string(got) != "secret" {
		t.Errorf("the agent's file has %q, %v", got, err)
	}
}
