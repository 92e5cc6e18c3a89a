package imagebuild

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func manifest(t *testing.T, platform string) ocispecs.Descriptor {
	t.Helper()
	return ocispecs.Descriptor{MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString(platform), Size: 7, Platform: &named(t, platform)[0]}
}

func attestation(t *testing.T, platform string) ocispecs.Descriptor {
	t.Helper()
	return ocispecs.Descriptor{
		MediaType: ocispecs.MediaTypeImageManifest, Digest: digest.FromString("attestation of " + platform), Size: 9,
		Platform: &ocispecs.Platform{OS: "unknown", Architecture: "unknown"},
		Annotations: map[string]string{
			"vnd.docker.reference.digest": digest.FromString(platform).String(), "vnd.docker.reference.type": "attestation-manifest",
		},
	}
}

func TestTheIndexHasImagesInTheOrderAskedForAndThenTheirAttestations(t *testing.T) {
	annotations, err := parseAnnotations(map[string]string{"index:a": "1", "index-descriptor:b": "2", "c": "3"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := assemble([][]ocispecs.Descriptor{
		{manifest(t, "linux/amd64"), manifest(t, "linux/386"), attestation(t, "linux/amd64"), attestation(t, "linux/386")},
		{manifest(t, "linux/arm64"), attestation(t, "linux/arm64")},
		{manifest(t, "linux/arm64")}, // twice
	}, named(t, "linux/386,linux/arm64,linux/amd64"), annotations)
	if err != nil {
		t.Fatal(err)
	}
	var index ocispecs.Index
	if err := json.Unmarshal(got.raw, &index); err != nil {
		t.Fatal(err)
	}
	want := []ocispecs.Descriptor{
		manifest(t, "linux/386"), manifest(t, "linux/arm64"), manifest(t, "linux/amd64"),
		attestation(t, "linux/386"), attestation(t, "linux/arm64"), attestation(t, "linux/amd64"),
	}
	if diff := cmp.Diff(want, index.Manifests); diff != "" {
		t.Errorf("manifests (-want +got):\n%s", diff)
	}
	if index.MediaType != ocispecs.MediaTypeImageIndex || index.SchemaVersion != 2 || !cmp.Equal(index.Annotations, map[string]string{"a": "1"}) {
		t.Errorf("index = %+v", index)
	}
	if got.Digest != digest.FromBytes(got.raw) || got.Size != int64(len(got.raw)) || !cmp.Equal(got.Annotations, map[string]string{"b": "2"}) {
		t.Errorf("descriptor = %+v", got.Descriptor)
	}
}

func TestAnnotationsAreReadAsBuildxReadsThem(t *testing.T) {
	amd64 := named(t, "linux/amd64")[0]
	for full, want := range map[string][]annotation{
		"org.example": {{level: "manifest", key: "org.example"}},
		"manifest:k":  {{level: "manifest", key: "k"}},
		"index,manifest-descriptor[linux/amd64]:k":  {{level: "index", key: "k"}, {level: "manifest-descriptor", platform: &amd64, key: "k"}},
		"index-descriptor:a:b":                      {{level: "index-descriptor", key: "a:b"}},
		"https://example.com/key":                   {{level: "manifest", key: "https://example.com/key"}},
		"index,other:k":                             {{level: "manifest", key: "index,other:k"}},
		"manifest[linux/nothing/like/this/at/all]:": nil,
		"index[linux/amd64]:k":                      nil,
		"manifest:":                                 nil,
		"":                                          nil,
		"two words":                                 nil,
	} {
		got, err := parseAnnotation(full)
		if (err != nil) != (want == nil) {
			t.Errorf("parseAnnotation(%q) = %v, %v", full, got, err)
		} else if err == nil {
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(annotation{})); diff != "" {
				t.Errorf("parseAnnotation(%q) (-want +got):\n%s", full, diff)
			}
		}
	}
}

func TestAPartGetsTheAnnotationsThatAreItsOwn(t *testing.T) {
	all, err := parseAnnotations(map[string]string{"a": "1", "manifest[linux/amd64]:b": "2", "manifest-descriptor[linux/arm64]:c": "3", "index:d": "4"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		kind   string
		wanted string
		part   bool
		want   map[string]string
	}{
		{"one of several nodes", client.ExporterImage, "linux/arm64", true, map[string]string{"annotation-manifest.a": "1", "annotation-manifest-descriptor.c": "3"}},
		{"one of several nodes with two platforms", client.ExporterOCI, "linux/386,linux/amd64", true, map[string]string{"annotation-manifest.a": "1", "annotation-manifest[linux/amd64].b": "2"}},
		{"the only node", client.ExporterImage, "linux/arm64,linux/amd64", false, map[string]string{
			"annotation-manifest.a": "1", "annotation-manifest[linux/amd64].b": "2", "annotation-manifest-descriptor[linux/arm64].c": "3", "annotation-index.d": "4",
		}},
		{"an archive of Docker's", client.ExporterDocker, "linux/amd64", false, map[string]string{"annotation-manifest.a": "1", "annotation-manifest.b": "2"}},
		{"files", client.ExporterLocal, "linux/amd64", false, map[string]string{}},
	} {
		entries := []client.ExportEntry{{Type: test.kind, Attrs: map[string]string{}}}
		annotate(entries, all, named(t, test.wanted), test.part)
		if diff := cmp.Diff(test.want, entries[0].Attrs); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(`{"schemaVersion":2,"manifests":[{"mediaType":"m","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1}]}`)
	f.Add(`{"manifests":[{"digest":"../../x"}]}`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, raw string) {
		list, err := parseIndex([]byte(raw), digest.FromString(raw))
		if err != nil {
			return
		}
		for _, d := range list {
			if d.Digest.Validate() != nil {
				t.Errorf("a manifest %q that is no digest", d.Digest)
			}
		}
		if _, err := assemble([][]ocispecs.Descriptor{list}, nil, nil); err != nil {
			t.Error(err)
		}
	})
}

func FuzzAnnotation(f *testing.F) {
	for _, s := range []string{"a", "index:a", "manifest[linux/amd64],index:k", "manifest[]:k", ":"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, full string) {
		list, err := parseAnnotation(full)
		if err == nil && (len(list) == 0 || list[0].key == "" || !strings.HasSuffix(full, list[0].key)) {
			t.Errorf("parseAnnotation(%q) = %+v", full, list)
		}
	})
}
