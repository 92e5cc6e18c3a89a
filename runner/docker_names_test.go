package runner

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dockless-ci/dockless/internal/buildcache"
	"github.com/dockless-ci/dockless/internal/imagebuild"
	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/runner/internal/vars"
)

// Language §5.4, names and tags.
func TestNamesOfImages(t *testing.T) {
	for name, c := range map[string]struct {
		repository, tags string
		registries, want []string
	}{
		"plain":            {"My App", "v1", nil, []string{"myapp:v1"}},
		"registry":         {"shop/web", "1\n2,3\n\n", []string{"reg.example.com:5000"}, []string{"reg.example.com:5000/shop/web:1", "reg.example.com:5000/shop/web:2", "reg.example.com:5000/shop/web:3"}},
		"hub":              {"shop/web", "1", []string{"index.docker.io"}, []string{"shop/web:1"}},
		"several logins":   {"web", "1", []string{"a.io", "b.io"}, []string{"a.io/web:1", "b.io/web:1"}},
		"no tags":          {"web", "", []string{"a.io"}, []string{"a.io/web"}},
		"no repository":    {"", "1", []string{"a.io"}, nil},
		"registry's case":  {"web", "V1", []string{"A.io"}, []string{"a.io/web:V1"}},
		"only white space": {"web", " \n ", nil, []string{"web"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, dockerNames(c.repository, c.registries, splitTags(c.tags))); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRegistryHosts(t *testing.T) {
	for address, want := range map[string]string{
		"https://index.docker.io/v1/": "index.docker.io", "reg.example.com": "reg.example.com", "http://localhost:5000": "localhost:5000", "contoso.azurecr.io": "contoso.azurecr.io", "": "",
	} {
		host, insecure := registryHost(address)
		if host != want || insecure != (address == "http://localhost:5000") {
			t.Errorf("registryHost(%q) = %q, %t", address, host, insecure)
		}
	}
}

func TestDockerfilesAreFoundByPattern(t *testing.T) {
	root := t.TempDir()
	for _, file := range []string{"b/Dockerfile", "a/x/Dockerfile", "a/Dockerfile.dev", ".git/Dockerfile"} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string]string{
		"**/Dockerfile": "a/x/Dockerfile", "Dockerfile*": "a/Dockerfile.dev", "b/*": "b/Dockerfile", "b/Dockerfile": "b/Dockerfile",
		"*/Dockerfile": "b/Dockerfile", "**/nothing*": "", "missing": "", root + "/**/Dockerfile": "a/x/Dockerfile",
	} {
		got, err := findFile("Dockerfile", root, pattern)
		if want == "" {
			if err == nil {
				t.Errorf("findFile(%q) = %q, want an error", pattern, got)
			}
			continue
		}
		if err != nil || got != filepath.Join(root, want) {
			t.Errorf("findFile(%q) = %q, %v, want %s", pattern, got, err, want)
		}
	}
}

func TestLabelsNameWhereAnImageComesFrom(t *testing.T) {
	x := &execution{masks: mask.NewSet()}
	x.vars = vars.New(func(string) {})
	for name, value := range map[string]string{
		"system.teamFoundationCollectionUri": "https://dev.azure.com/contoso/", "build.sourceVersion": "abc", "build.buildNumber": "1.2", "system.teamProject": "",
	} {
		x.define(name, value)
	}
	want := map[string]string{"com.azure.dev.image.system.teamfoundationcollectionuri": "https://dev.azure.com/contoso/", "com.azure.dev.image.build.sourceversion": "abc"}
	if diff := cmp.Diff(want, x.imageLabels(false)); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	want["com.azure.dev.image.build.buildnumber"] = "1.2"
	if diff := cmp.Diff(want, x.imageLabels(true)); diff != "" {
		t.Errorf("labels with pipeline data (-want +got):\n%s", diff)
	}
}

func TestBaseImages(t *testing.T) {
	for text, want := range map[string]string{
		"FROM golang:1 AS build\nRUN x\nfrom --platform=linux/amd64 debian@sha256:abc\n": "debian",
		"FROM golang:1 AS build\nFROM Build\n":                                           "golang:1",
		"FROM $BASE\n":                                                                   "",
		"FROM scratch":                                                                   "",
		"# FROM x\nRUN":                                                                  "",
	} {
		if got := baseImage([]byte(text)); got != want {
			t.Errorf("baseImage(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestArgumentsOfABuild(t *testing.T) {
	x := &execution{masks: mask.NewSet(), log: slog.New(slog.DiscardHandler), m: &job.Message{}}
	x.vars = vars.New(func(string) {})
	x.define("system.defaultWorkingDirectory", "/src")
	d := &dockerStep{attempt: &attempt{x: x, env: environment{"FROM_ENV": "e"}}}
	var r imagebuild.Request
	err := d.buildFlags(&r, `--build-arg A=1 --build-arg "B=two words" --build-arg FROM_ENV --target last -t extra:1 --no-cache --pull --platform linux/arm64,linux/amd64 --label k=v -f other/Dockerfile --cache-from type=registry,ref=r/c`)
	if err != nil {
		t.Fatal(err)
	}
	want := imagebuild.Request{
		BuildArgs: map[string]string{"A": "1", "B": "two words", "FROM_ENV": "e"}, Target: "last", Tags: []string{"extra:1"}, NoCache: true, Pull: true,
		Platforms: []string{"linux/arm64,linux/amd64"}, Labels: map[string]string{"k": "v"}, Dockerfile: "/src/other/Dockerfile",
		CacheFrom: []buildcache.Entry{{Type: "registry", Attrs: map[string]string{"ref": "r/c"}}},
	}
	if diff := cmp.Diff(want, r, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	for _, bad := range []string{"--isolation=x", "context", `--build-arg "open`} {
		if err := d.buildFlags(&imagebuild.Request{}, bad); err == nil {
			t.Errorf("arguments %q were accepted", bad)
		}
	}
}

func TestMaskHintsThatAreLiteralsBecomeValues(t *testing.T) {
	for expr, want := range map[string]string{`hunter2`: "hunter2", `a\.b\\c\ d`: `a.b\c d`, `(?i)x`: "", `a+`: "", `a|b`: "", `[ab]c`: ""} {
		x := &execution{masks: mask.NewSet()}
		if err := x.addPattern(expr); err != nil {
			t.Errorf("addPattern(%q): %v", expr, err)
		}
		if want != "" && x.masks.Mask("<"+want+">") != "<***>" {
			t.Errorf("the hint %q does not hide %q", expr, want)
		}
	}
}
