package imagebuild

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestWhatSeveralNodesMirrorIsRefused(t *testing.T) {
	w := &work{r: &Request{Outputs: []Output{{Type: "local", Dest: t.TempDir(), Attrs: map[string]string{"mode": "delete"}}}}}
	if _, err := newMerger(t.Context(), w, 2); err == nil || len(hint.All(err)) == 0 {
		t.Errorf("newMerger() of two parts = %v, want an error with a hint", err)
	}
	if _, err := newMerger(t.Context(), w, 1); err != nil {
		t.Errorf("newMerger() of one part = %v", err)
	}
}

func TestTheFormOfTheImageIsThatOfThePushAndTheOutputs(t *testing.T) {
	r := &Request{
		Push: true, PushAttrs: map[string]string{"compression": "zstd", "store": "false"},
		Outputs: []Output{{Type: "oci", Attrs: map[string]string{"force-compression": "true"}}, {Type: "local", Attrs: map[string]string{"compression": "gzip"}}},
	}
	if diff := cmp.Diff(map[string]string{"compression": "zstd", "force-compression": "true"}, r.form()); diff != "" {
		t.Errorf("form() (-want +got):\n%s", diff)
	}
}

func TestOutputsByDigestNameTheirRepositories(t *testing.T) {
	m := &merger{r: &Request{Outputs: []Output{
		{Type: "image", Attrs: map[string]string{"name": "cr.example/a:1,cr.example/a:2", "push": "true", "push-by-digest": "true"}},
		{Type: "image", Attrs: map[string]string{"name": "cr.example/b", "push": "true"}},
	}}}
	var got []string
	for _, n := range m.pushedByDigest() {
		got = append(got, n.String())
	}
	if diff := cmp.Diff([]string{"cr.example/a"}, got); diff != "" {
		t.Errorf("pushedByDigest() (-want +got):\n%s", diff)
	}
}
