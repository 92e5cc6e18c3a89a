package podmanrun_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/podmanrun"
)

// write makes a directory with files and returns it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAnUnusableKeyIsAnErrorWithItsPosition(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  []string // with %/ for the directory
	}{
		"no compose key": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    portz: [1]\n"},
			[]string{"%/compose.yml:4:5: services.a.portz is not a key of compose files"},
		},
		"not supported": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    isolation: x\n"},
			[]string{"%/compose.yml:4:5: services.a.isolation is not supported"},
		},
		"every one is reported": {
			map[string]string{"compose.yml": "services:\n  a: {image: x, isolation: x}\n  b: {image: x, provider: {type: x}}\n"},
			[]string{"%/compose.yml:2:17: services.a.isolation is not supported", "%/compose.yml:3:17: services.b.provider is not supported"},
		},
		"with what to do instead": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    external_links: [b]\n"},
			[]string{"%/compose.yml:4:5: services.a.external_links is not supported: put both services on one external network"},
		},
		"below an object in a list": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    volumes:\n      - type: bind\n        source: /a\n        target: /b\n        bind: {recursive: readonly}\n"},
			[]string{"%/compose.yml:2:3: service a: a bind mount with recursive: readonly is not supported"},
		},
		"in an anchor": {
			map[string]string{"compose.yml": "x-all: &all\n  isolation: x\nservices:\n  a:\n    <<: *all\n    image: x\n"},
			[]string{"%/compose.yml:2:3: services.a.isolation is not supported"},
		},
		"in an included file": {
			map[string]string{"compose.yml": "include: [more/m.yml]\nservices: {a: {image: x}}\n", "more/m.yml": "services: {b: {image: x, isolation: x}}\n"},
			[]string{"%/more/m.yml:1:26: services.b.isolation is not supported"},
		},
		"in an extended file": {
			map[string]string{"compose.yml": "services: {a: {extends: {file: base.yml, service: b}}}\n", "base.yml": "services: {b: {image: x, isolation: x}, unused: {image: x, provider: {type: x}}}\n"},
			[]string{"%/base.yml:1:26: services.b.isolation is not supported"},
		},
		"a value that compose refuses": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    healthcheck:\n      retries: many\n"},
			[]string{"%/compose.yml:5:7: ", "retries", "many"},
		},
		"a missing variable": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: ${TAG:?give TAG}\n"},
			[]string{"%/compose.yml:3:5: ", "give TAG"},
		},
		"a cycle": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    depends_on: [b]\n  b:\n    image: x\n    depends_on: [a]\n"},
			[]string{"%/compose.yml:4:5: ", "a -> b -> a"},
		},
		"broken YAML": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n  b: [\n"},
			[]string{"%/compose.yml:4:6: "},
		},
		"a subpath that climbs": {
			map[string]string{"compose.yml": "services:\n  a: {image: x, volumes: [{type: volume, source: v, target: /v, volume: {subpath: a/../../b}}]}\nvolumes: {v: {}}\n"},
			[]string{"%/compose.yml:2:3: service a: ", `volume v: the subpath "a/../../b" leads out of the volume`},
		},
		"a seccomp profile that is not there": {
			map[string]string{"compose.yml": "services:\n  a: {image: x, security_opt: [\"seccomp:./profile.json\"]}\n"},
			[]string{`%/compose.yml:2:3: service a: security_opt "seccomp:./profile.json": stat %/profile.json: no such file`},
		},
		"a seccomp profile that is none": {
			map[string]string{"compose.yml": "services:\n  a: {image: x, security_opt: [seccomp=profile.json]}\n", "profile.json": "- yaml"},
			[]string{"%/compose.yml:2:3: ", "%/profile.json is no JSON"},
		},
		"a mode of the network that nobody has": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    network_mode: slirp9\n"},
			[]string{"%/compose.yml:2:3: ", `network_mode "slirp9" is not supported, only bridge, host, none, service:NAME, container:NAME`},
		},
		"fewer host ports than replicas": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    scale: 3\n    ports: [{target: 80, published: 8000-8001}]\n"},
			[]string{"%/compose.yml:2:3: ", "the range has fewer ports than the service has replicas"},
		},
		"a subnet that is none": {
			map[string]string{"compose.yml": "services:\n  a: {image: x}\nnetworks:\n  default:\n    ipam: {config: [{subnet: ten.five}]}\n"},
			[]string{"%/compose.yml:4:3: ", `"ten.five" is no subnet`},
		},
		"a secret without its variable": {
			map[string]string{"compose.yml": "services:\n  a: {image: x, secrets: [s]}\nsecrets: {s: {environment: NOBODY_HAS_SET_THIS}}\n"},
			[]string{"%/compose.yml:2:3: ", "the variable NOBODY_HAS_SET_THIS is not set"},
		},
		"two replicas of one name": {
			map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    container_name: me\n    deploy: {replicas: 2}\n"},
			[]string{"%/compose.yml:", "container name must be unique"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, c.files)
			_, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir})
			if err == nil {
				t.Fatal("Load succeeded")
			}
			for _, want := range c.want {
				if want = strings.ReplaceAll(want, "%", dir); !strings.Contains(err.Error(), want) {
					t.Errorf("Load: %v\nwant it to contain %q", err, want)
				}
			}
			if got, want := strings.Count(err.Error(), "\n")+1, len(c.want); name == "every one is reported" && got != want {
				t.Errorf("the error has %d lines, want %d", got, want)
			}
			if strings.Contains(err.Error(), "unused") {
				t.Errorf("Load complains about a service that is not part of the project: %v", err)
			}
		})
	}
}

func TestAKeyErrorCarriesItsPosition(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": "services:\n  a:\n    image: x\n    isolation: x\n"})
	_, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir})
	got, ok := errors.AsType[*podmanrun.KeyError](err)
	if !ok {
		t.Fatalf("Load = %v, want a *KeyError", err)
	}
	want := &podmanrun.KeyError{File: filepath.Join(dir, "compose.yml"), Line: 4, Column: 5, Key: "services.a.isolation", Reason: "is not supported: it is for Windows"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the error differs (-want +got):\n%s", diff)
	}
}

func TestWhatHasNoMeaningHereIsAWarning(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": `version: "3"
services:
  a:
    image: x
    deploy:
      placement: {constraints: [node.role == manager]}
      resources: {limits: {memory: 64m}}
  b:
    image: x
    restart: "no"
  hidden:
    image: x
    restart: always
    isolation: x
    profiles: [debug]
`})
	p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "compose.yml")
	want := []string{
		file + ":1:1: version is ignored: the compose specification has no versions any more",
		file + ":6:7: services.a.deploy.placement is ignored: it has no meaning without Swarm",
	}
	if diff := cmp.Diff(want, p.Warnings()); diff != "" {
		t.Errorf("warnings differ (-want +got):\n%s", diff)
	}
}

func TestTheNameOfAProjectHasAnOrder(t *testing.T) {
	named := "name: fromfile\nservices: {a: {image: x}}\n"
	for name, c := range map[string]struct {
		content string
		options podmanrun.LoadOptions
		want    string
	}{
		"option":      {named, podmanrun.LoadOptions{Name: "given", Environment: map[string]string{"COMPOSE_PROJECT_NAME": "fromenv"}}, "given"},
		"environment": {named, podmanrun.LoadOptions{Environment: map[string]string{"COMPOSE_PROJECT_NAME": "fromenv"}}, "fromenv"},
		"file":        {named, podmanrun.LoadOptions{}, "fromfile"},
		"directory":   {"services: {a: {image: x}}\n", podmanrun.LoadOptions{}, "my-shop"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"My-Shop/docker-compose.yml": c.content})
			c.options.WorkingDir = filepath.Join(dir, "My-Shop")
			p, err := podmanrun.Load(t.Context(), c.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.Name(); got != c.want {
				t.Errorf("Name() = %q, want %q", got, c.want)
			}
		})
	}
}

func TestVariablesComeFromTheCallerThenFromFiles(t *testing.T) {
	dir := write(t, map[string]string{
		".env":        "TAG=fromdotenv\nUSER_NAME=fromdotenv\n",
		"other.env":   "TAG=fromother\n",
		"compose.yml": "services: {a: {image: \"x:${TAG}\", user: \"${USER_NAME:-nobody}\"}}\n",
	})
	for name, c := range map[string]struct {
		options podmanrun.LoadOptions
		want    string
	}{
		".env":     {podmanrun.LoadOptions{}, "x:fromdotenv"},
		"env file": {podmanrun.LoadOptions{EnvFiles: []string{"other.env"}}, "x:fromother"},
		"caller":   {podmanrun.LoadOptions{Environment: map[string]string{"TAG": "fromcaller"}}, "x:fromcaller"},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.WorkingDir = dir
			p, err := podmanrun.Load(t.Context(), c.options)
			if err != nil {
				t.Fatal(err)
			}
			if got := podmanrun.Plan(p)[0].Image; got != c.want {
				t.Errorf("image = %q, want %q", got, c.want)
			}
		})
	}
}

func TestProfilesChooseServices(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": "services:\n  a: {image: x}\n  b: {image: x, profiles: [debug]}\n"})
	for name, c := range map[string]struct {
		options podmanrun.LoadOptions
		want    []string
	}{
		"none":        {podmanrun.LoadOptions{}, []string{"a"}},
		"option":      {podmanrun.LoadOptions{Profiles: []string{"debug"}}, []string{"a", "b"}},
		"environment": {podmanrun.LoadOptions{Environment: map[string]string{"COMPOSE_PROFILES": "other, debug"}}, []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			c.options.WorkingDir = dir
			p, err := podmanrun.Load(t.Context(), c.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, p.ServiceNames()); diff != "" {
				t.Errorf("services differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAMissingFileNamesTheOption(t *testing.T) {
	_, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: t.TempDir()})
	if hints := hint.All(err); len(hints) != 1 || !strings.Contains(hints[0], "-f") {
		t.Errorf("Load = %v with hints %q, want one that names -f", err, hints)
	}
}

func TestThePlanFollowsDependencies(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": `services:
  web: {image: w, depends_on: {migrate: {condition: service_completed_successfully}, cache: {condition: service_started}}}
  migrate: {image: m, depends_on: {db: {condition: service_healthy}}}
  db: {image: d}
  cache: {image: c}
  built: {build: ., depends_on: {gone: {condition: service_started, required: false}}}
  gone: {image: g, profiles: [never]}
`})
	p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Name: "shop"})
	if err != nil {
		t.Fatal(err)
	}
	want := []podmanrun.Step{
		{Service: "built", Image: "shop-built"},
		{Service: "cache", Image: "c"},
		{Service: "db", Image: "d"},
		{Service: "migrate", Image: "m", Wave: 1, After: []podmanrun.Dependency{{Service: "db", Condition: podmanrun.ServiceHealthy}}},
		{Service: "web", Image: "w", Wave: 2, After: []podmanrun.Dependency{
			{Service: "cache", Condition: podmanrun.ServiceStarted}, {Service: "migrate", Condition: podmanrun.ServiceCompleted},
		}},
	}
	for i := range want {
		want[i].Replicas, want[i].Networks = 1, []string{"shop_default"}
	}
	want[0].Build = true
	if diff := cmp.Diff(want, podmanrun.Plan(p)); diff != "" {
		t.Errorf("the plan differs (-want +got):\n%s", diff)
	}
}

func FuzzLoad(f *testing.F) {
	for _, seed := range []string{
		"services: {a: {image: x}}\n", "x: &a {<<: *a}\n", "a: &a [*a]\nservices: *a\n", "services:\n  a: !reset {image: x}\n",
		"include: [a, {path: [b]}]\nservices: {a: {extends: a}}\n", "? {a: b}\n: c\n", "services: [1, 2]\n", "---\n---\n", "\"\": 1\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		file := filepath.Join(dir, "compose.yml")
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{Files: []string{file}, Name: "fuzz"})
		if (p == nil) == (err == nil) {
			t.Errorf("Load = %v, %v; want exactly one of them", p, err)
		}
	})
}
