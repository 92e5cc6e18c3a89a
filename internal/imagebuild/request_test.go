package imagebuild

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
)

func contextDir(tb testing.TB, files map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

func TestARequestThatCannotWorkIsRefusedWithAHint(t *testing.T) {
	good := contextDir(t, map[string]string{"Dockerfile": "FROM scratch"})
	tests := map[string]struct {
		r    Request
		want string
	}{
		"no context":             {Request{}, "no context"},
		"context that is absent": {Request{Context: filepath.Join(good, "absent")}, "reading the build context"},
		"context that is a file": {Request{Context: filepath.Join(good, "Dockerfile")}, "no directory"},
		"no Dockerfile":          {Request{Context: t.TempDir()}, "there is no"},
		"another Dockerfile":     {Request{Context: good, Dockerfile: filepath.Join(good, "Dockerfile.other")}, "there is no"},
		"Dockerfile a directory": {Request{Context: good, Dockerfile: good}, "is a directory"},
		"a wrong tag":            {Request{Context: good, Tags: []string{"UPPER"}}, "no image name"},
		"a wrong platform":       {Request{Context: good, Platforms: []string{"linux/a/b/c"}}, "no platform"},
		"push without a name":    {Request{Context: good, Push: true}, "no name to push"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := test.r.Validate()
			if err == nil || !strings.Contains(err.Error(), test.want) || len(hint.All(err)) == 0 {
				t.Errorf("Validate() = %v with hints %q, want %q and a hint", err, hint.All(err), test.want)
			}
		})
	}
}

func TestGoodRequestsPass(t *testing.T) {
	lower := contextDir(t, map[string]string{"dockerfile": "FROM scratch"})
	for name, r := range map[string]Request{
		"lower-case Dockerfile":    {Context: lower},
		"Dockerfile from a stream": {Context: lower, Dockerfile: "nowhere", DockerfileText: strings.NewReader("FROM scratch")},
		"a Git repository":         {Context: "https://example.com/shop.git#main"},
	} {
		if err := r.Validate(); err != nil {
			t.Errorf("Validate(%s) = %v", name, err)
		}
	}
	if err := (&Request{Context: lower, Layout: "a", Outputs: []Output{{Type: "oci", Attrs: map[string]string{"tar": "false"}}}}).Validate(); err == nil {
		t.Error("two layout directories passed")
	}
}

func TestTagsAndPlatformsAreNormalizedAndTakenOnce(t *testing.T) {
	r := Request{Tags: []string{"nginx", "docker.io/library/nginx:latest", "reg:5000/a/b:1"}, Platforms: []string{"linux/arm64,linux/amd64", "arm64"}}
	named, err := r.references()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range named {
		names = append(names, n.String())
	}
	if diff := cmp.Diff([]string{"docker.io/library/nginx:latest", "reg:5000/a/b:1"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if got, err := r.platforms(); err != nil || len(got) != 2 {
		t.Errorf("platforms = %v, %v, want two", got, err)
	}
}

func TestAMissingSecretIsReportedBeforeAnythingIsBuilt(t *testing.T) {
	gone := errors.New("gone")
	_, err := readSecrets(t.Context(), []Secret{{ID: "a", Open: func(context.Context) ([]byte, error) { return nil, gone }}})
	if !errors.Is(err, gone) {
		t.Errorf("readSecrets = %v, want %v", err, gone)
	}
	_, err = readSecrets(t.Context(), []Secret{{ID: "big", Open: func(context.Context) ([]byte, error) { return make([]byte, 1<<20), nil }}})
	if err == nil || !strings.Contains(err.Error(), "big") {
		t.Errorf("readSecrets of a mebibyte = %v, want an error that names it", err)
	}
}

func TestPushesAreSplitByTransport(t *testing.T) {
	s := &solver{r: &Request{Tags: []string{"plain:5000/a", "secure/b", "secure/c"}, Insecure: []string{"plain:5000"}, Push: true}}
	exports, err := s.exports()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, e := range exports {
		got[e.Attrs["name"]] = e.Attrs["registry.insecure"]
	}
	want := map[string]string{"plain:5000/a:latest": "true", "docker.io/secure/b:latest,docker.io/secure/c:latest": ""}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exports (-want +got):\n%s", diff)
	}
}

func TestMetadataIsWrittenAsBuildxDoes(t *testing.T) {
	r := Result{Metadata: metadata(map[string]string{
		"containerimage.digest":     "sha256:abc",
		"containerimage.descriptor": "eyJtZWRpYVR5cGUiOiJ4In0=",
		"image.name":                "reg/a:1",
		"step":                      "RUN echo '##vso[task.complete]'",
	}, "dockless/dockless0/id")}
	file := filepath.Join(t.TempDir(), "meta.json")
	if err := r.WriteMetadata(file); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "buildx.build.ref": "dockless/dockless0/id",
  "containerimage.descriptor": {
    "mediaType": "x"
  },
  "containerimage.digest": "sha256:abc",
  "image.name": "reg/a:1",
  "step": "RUN echo '\u0023\u0023vso[task.complete]'"
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if err := r.WriteMetadata(filepath.Join(t.TempDir(), "no", "dir")); err == nil {
		t.Error("WriteMetadata into a missing directory = nil, want an error")
	}
}

func TestCachesAreNamedForTheImageElseForTheContext(t *testing.T) {
	for want, r := range map[string]Request{
		"team/shop": {Context: "/src/other", Tags: []string{"reg.example/team/shop:7"}},
		"other":     {Context: "/src/other"},
		"":          {Context: "https://example.com/repo.git"},
		"given":     {Context: "/src/other", Tags: []string{"shop"}, Cache: buildcache.Policy{Name: "given"}},
	} {
		if got := r.cache().Name; got != want {
			t.Errorf("the caches of %+v are named %q, want %q", r, got, want)
		}
	}
}
