package bake

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/imagebuild"
)

func noLoad() (io.WriteCloser, error) { return nil, errors.ErrUnsupported }

// requests resolves and turns into requests.
func requests(t *testing.T, text string) ([]Build, error) {
	t.Helper()
	plan, err := resolveText(t, "b.json", text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return plan.Requests(RequestOptions{Load: noLoad, LookupEnv: func(string) (string, bool) { return "", false }, Cache: buildcache.Policy{Repo: "r/cache"}})
}

func TestATargetBecomesARequest(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := errors.Join(os.Mkdir("app", 0o750), os.WriteFile("app/D", nil, 0o600), os.WriteFile("Dockerfile", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	got, err := requests(t, `{"target": {
		"default": {
			"context": "app", "dockerfile": "D", "contexts": {"b": "target:base", "src": "cwd://src", "i": "docker-image://x"},
			"tags": ["example.com/team/shop:1"], "target": "final", "platforms": ["linux/arm64"], "args": {"A": "1"}, "labels": {"l": "2"},
			"annotations": ["index,manifest:a=b=c"], "attest": ["type=provenance,mode=max", "type=sbom"], "ulimits": ["nofile=1:2"],
			"shm-size": "64m", "network": "none", "extra-hosts": {"db": "10.0.0.1,10.0.0.2"}, "pull": true,
			"no-cache-filter": ["x"], "entitlements": ["network.host"], "ssh": ["k=a,b"], "secret": ["id=s,src=f"],
			"cache-from": ["team/cache", {"type": "registry", "ref": "team/other", "a": "b,c"}], "cache-to": ["type=inline"],
			"output": ["type=registry", "type=docker", "type=image,push=true,compression=zstd", "type=local,dest=out"]
		},
		"base": {"dockerfile-inline": "FROM x\n", "attest": [{"type": "sbom", "disabled": true}], "network": "default"}
	}}`)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Target != "base" {
		t.Fatalf("requests = %+v, want base and then default", got)
	}
	want := imagebuild.Request{
		Context: "app", Dockerfile: "app/D", Contexts: map[string]string{"src": "src", "i": "docker-image://x"},
		Tags: []string{"example.com/team/shop:1"}, Target: "final", Platforms: []string{"linux/arm64"}, BuildArgs: map[string]string{"A": "1"}, Labels: map[string]string{"l": "2"},
		Annotations: map[string]string{"index,manifest:a": "b=c"}, Attestations: map[string]string{"provenance": "mode=max", "sbom": ""},
		Ulimits: []string{"nofile=1:2"}, ShmSize: 64 << 20, Network: "none", AddHosts: []string{"db:10.0.0.1", "db:10.0.0.2"},
		Pull: true, NoCacheFilter: []string{"x"}, Allow: []string{"network.host"}, SSH: []imagebuild.SSH{{ID: "k", Paths: []string{"a", "b"}}},
		CacheFrom: []buildcache.Entry{{Type: "registry", Attrs: map[string]string{"ref": "team/cache"}}, {Type: "registry", Attrs: map[string]string{"ref": "team/other", "a": "b,c"}}},
		CacheTo:   []buildcache.Entry{{Type: "inline", Attrs: map[string]string{}}},
		Push:      true,
		Outputs: []imagebuild.Output{
			{Type: "image", Attrs: map[string]string{"push": "true", "compression": "zstd"}},
			{Type: "local", Dest: "out", Attrs: map[string]string{}},
		},
		Cache: buildcache.Policy{Repo: "r/cache", Name: "team/shop/default"},
	}
	r := got[1].Request
	if r.Load == nil || len(r.Secrets) != 1 || r.Secrets[0].ID != "s" {
		t.Errorf("the request neither loads nor has its secret: %+v", r)
	}
	if diff := cmp.Diff(want, r, cmpopts.IgnoreFields(imagebuild.Request{}, "Load", "Secrets", "Auth", "Open")); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"b": "base"}, got[1].Links); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	base := got[0].Request
	text, err := io.ReadAll(base.DockerfileText)
	if err != nil || string(text) != "FROM x\n" || base.Network != "" || len(base.Attestations) != 0 {
		t.Errorf("the base = %+v with the Dockerfile %q", base, text)
	}
}

func TestAnAttestationIsSwitchedOffInEveryWayThatBooleansAreWritten(t *testing.T) {
	t.Chdir(t.TempDir())
	for attest, want := range map[string]map[string]string{
		`"type=sbom,disabled=1", "type=provenance,DISABLED=True"`:                               {},
		`{"type": "sbom", "disabled": 1}, {"type": "provenance", "disabled": "T"}`:              {},
		`{"type": "sbom", "disabled": true}, {"type": "provenance", "disabled": "TRUE"}`:        {},
		`"type=sbom,disabled=0", {"type": "provenance", "disabled": "False", "mode": "max"}`:    {"sbom": "", "provenance": "mode=max"},
		`"type=sbom,disabled=f", {"type": "provenance", "disabled": false, "generator": "a,b"}`: {"sbom": "", "provenance": `"generator=a,b"`},
		`"type=sbom,disabled=1", "type=sbom,disabled=0"`:                                        {"sbom": ""},
	} {
		builds, err := requests(t, `{"target": {"default": {"dockerfile-inline": "FROM x", "attest": [`+attest+`]}}}`)
		if err != nil {
			t.Errorf("attest = [%s]: %v", attest, err)
			continue
		}
		if diff := cmp.Diff(want, builds[0].Request.Attestations); diff != "" {
			t.Errorf("attest = [%s] (-want +got):\n%s", attest, diff)
		}
	}
}

func TestWhatCannotBeBuiltIsReportedAtOnce(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := requests(t, `{
		"group": {"default": {"targets": ["a", "b", "c"]}},
		"target": {
			"a": {"context": "nowhere"},
			"b": {"call": "check", "shm-size": "much", "dockerfile-inline": "FROM x"},
			"c": {"dockerfile": "-", "annotations": ["x"]}
		}}`)
	if err == nil {
		t.Fatal("there is no error")
	}
	for _, want := range []string{"target a: reading the build context", "target b: ", "asked for check", `shm-size "much"`, "target c: ", "standard input", `annotation "x"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want it to contain %q", err, want)
		}
	}
	if hints := strings.Join(hint.All(err), "\n"); !strings.Contains(hints, "--set b.call=build") {
		t.Errorf("hints = %q, want how to build b", hints)
	}
}

func TestTargetsHaveCachesOfTheirOwn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "repository")
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	for _, c := range []struct{ target, tag, want string }{
		{"web", "shop/web:1", "shop/web"},
		{"web", "example.com:5000/shop", "shop/web"},
		{"web", "busybox", "library/busybox/web"},
		{"a", "Not A Tag", "repository/a"},
		{"a", "", "repository/a"},
	} {
		var tags []string
		if c.tag != "" {
			tags = []string{c.tag}
		}
		if got := cacheName(c.target, tags); got != c.want {
			t.Errorf("cacheName(%s, %s) = %s, want %s", c.target, c.tag, got, c.want)
		}
	}
}
