package podmanrun_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun"
)

const shop = `
name: shop
services:
  web: {image: w, depends_on: [api], ports: ["8000-8001:80"]}
  api: {image: a, depends_on: [db], volumes: ["cache:/c"]}
  db: {image: d, volumes: ["data:/d"], container_name: the-db}
  tool: {image: t, profiles: [tools], depends_on: [db]}
volumes: {cache: {}, data: {}}
`

func loadText(t *testing.T, text string, environment map[string]string, services ...string) *podmanrun.Project {
	t.Helper()
	dir := write(t, map[string]string{"compose.yml": text})
	p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Environment: environment, Services: services})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAPartOfAProjectHasWhatItNeeds(t *testing.T) {
	p := loadText(t, shop, nil)
	for name, c := range map[string]struct {
		services []string
		deps     bool
		want     []string
		volumes  []string
	}{
		"everything":                        {nil, true, []string{"api", "db", "web"}, []string{"shop_cache", "shop_data"}},
		"with dependencies":                 {[]string{"api"}, true, []string{"api", "db"}, []string{"shop_cache", "shop_data"}},
		"without them":                      {[]string{"web", "api"}, false, []string{"api", "web"}, []string{"shop_cache"}},
		"a service that no profile has":     {[]string{"tool"}, true, []string{"db", "tool"}, []string{"shop_data"}},
		"everything, dependencies or not":   {nil, false, []string{"api", "db", "web"}, []string{"shop_cache", "shop_data"}},
		"one that is a dependency, as well": {[]string{"db", "api"}, true, []string{"api", "db"}, []string{"shop_cache", "shop_data"}},
	} {
		t.Run(name, func(t *testing.T) {
			part, err := loadText(t, shop, nil, c.services...).Only(c.services, c.deps)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, part.ServiceNames()); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(c.volumes, part.Volumes()); diff != "" {
				t.Errorf("volumes (-want +got):\n%s", diff)
			}
		})
	}
	if _, err := p.Only([]string{"wbe"}, true); err == nil || !strings.Contains(err.Error(), `no service "wbe"`) {
		t.Errorf("Only(wbe) = %v, want an error that names it", err)
	}
	if _, err := p.Only([]string{"tool"}, true); err == nil || !strings.Contains(err.Error(), "tool is behind profiles that are not active: tools") {
		t.Errorf("Only(tool) of a project that was read without it = %v, want an error that names its profiles", err)
	}
}

const profiles = `
name: shop
services:
  web: {image: w, depends_on: {extra: {condition: service_started, required: false}, db: {condition: service_started}}}
  extra: {image: e, profiles: [more]}
  db: {image: d}
  tool: {image: t, profiles: [tools], env_file: [tool.env], label_file: [tool.labels], environment: [BARE], depends_on: [helper]}
  helper: {image: h, profiles: [others], environment: [BARE]}
  beside: {image: b, profiles: [tools], external_links: [x]}
`

func TestAServiceThatIsNamedIsReadWhateverItsProfiles(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": profiles, "tool.env": "FROM_FILE=1\n", "tool.labels": "from.file=2\n"})
	p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Environment: map[string]string{"BARE": "3"}, Services: []string{"tool"}})
	if err != nil {
		t.Fatal(err)
	}
	if p, err = p.Only([]string{"tool"}, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"helper", "tool"}, p.ServiceNames()); diff != "" {
		t.Errorf("services (-want +got):\n%s", diff)
	}
	text, err := p.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for word, times := range map[string]int{`FROM_FILE: "1"`: 1, `BARE: "3"`: 2, `from.file: "2"`: 1, "- tools": 1} {
		if got := strings.Count(string(text), word); got < times {
			t.Errorf("%s is there %d times, want %d:\n%s", word, got, times, text)
		}
	}
}

func TestAServiceThatIsNamedIsJudgedWhateverItsProfiles(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": profiles})
	if _, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir}); err != nil {
		t.Errorf("the services without profiles are refused: %v", err)
	}
	_, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Services: []string{"beside"}})
	if err == nil || !strings.Contains(err.Error(), "services.beside.external_links") {
		t.Errorf("a key that is refused behind a profile: %v", err)
	}
}

func TestAProjectMayHaveOnlyServicesBehindProfiles(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": "name: p\nservices: {tool: {image: t, profiles: [x]}}\n"})
	for name, c := range map[string]struct {
		o    podmanrun.LoadOptions
		want int // services; -1 is an error
	}{"nothing is named": {podmanrun.LoadOptions{}, -1}, "one is": {podmanrun.LoadOptions{Services: []string{"tool"}}, 1}, "none is needed": {podmanrun.LoadOptions{Idle: true}, 0}} {
		c.o.WorkingDir = dir
		p, err := podmanrun.Load(t.Context(), c.o)
		if (err != nil) != (c.want < 0) || err == nil && (len(p.ServiceNames()) != c.want || p.Name() != "p") {
			t.Errorf("%s: Load = %v, want %d services", name, err, c.want)
		}
	}
}

func TestAnOptionalDependencyStaysBehindItsProfile(t *testing.T) {
	for name, c := range map[string]struct{ load, only, want []string }{
		"not asked for": {[]string{"web"}, []string{"web"}, []string{"db", "web"}},
		"asked for":     {[]string{"web", "extra"}, []string{"web"}, []string{"db", "extra", "web"}},
	} {
		part, err := loadText(t, profiles, nil, c.load...).Only(c.only, true)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, part.ServiceNames()); diff != "" {
			t.Errorf("%s: services (-want +got):\n%s", name, diff)
		}
	}
}

func TestAPartOfAProjectHasTheSameHashes(t *testing.T) {
	p := loadText(t, shop, nil)
	whole, err := p.Hashes()
	if err != nil {
		t.Fatal(err)
	}
	part, err := p.Only([]string{"web"}, false)
	if err != nil {
		t.Fatal(err)
	}
	alone, err := part.Hashes()
	if err != nil || alone["web"] != whole["web"] {
		t.Errorf("the hash of web alone = %q, %v, and with the others %q: it would be made anew", alone["web"], err, whole["web"])
	}
	scaled, err := p.Scaled(map[string]int{"web": 2})
	if err != nil {
		t.Fatal(err)
	}
	if more, err := scaled.Hashes(); err != nil || more["web"] != whole["web"] {
		t.Errorf("the hash of the first of two = %q, %v, and alone %q", more["web"], err, whole["web"])
	}
}

func TestANumberOfContainersThatCannotBeIsRefused(t *testing.T) {
	p := loadText(t, shop, nil)
	for words, scale := range map[string]map[string]int{
		"container_name": {"db": 2}, "fewer ports": {"web": 3}, "no service": {"wbe": 1},
	} {
		if _, err := p.Scaled(scale); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("Scaled(%v) = %v, want an error about %s", scale, err, words)
		}
	}
	if none, err := p.Scaled(map[string]int{"web": 0}); err != nil || podmanrun.Plan(none)[2].Replicas != 0 {
		t.Errorf("Scaled(web=0) = %v", err)
	}
}

func TestTheSectionBuildBecomesARequest(t *testing.T) {
	p := loadText(t, `
name: shop
services:
  app:
    build:
      context: .
      dockerfile: app.Dockerfile
      args: {FIXED: "1", GIVEN: , MISSING: }
      target: prod
      tags: ["team/app:2"]
      secrets: [word]
      ssh: [default]
      ulimits: {nofile: {soft: 10, hard: 20}, nproc: 5}
      privileged: true
      shm_size: 8m
      extra_hosts: ["registry:10.0.0.1"]
      labels: {a: b}
  base: {image: busybox}
secrets: {word: {environment: WORD}}
`, map[string]string{"WORD": "hush", "GIVEN": "2"})
	list, err := p.Builds()
	if err != nil || len(list) != 1 {
		t.Fatalf("Builds() = %d, %v, want one", len(list), err)
	}
	r := list[0]
	if len(r.Secrets) != 1 || r.Secrets[0].ID != "word" || r.Secrets[0].Value.Reveal() != "hush" {
		t.Errorf("the secrets are %v, want word with its value", r.Secrets)
	}
	got := []any{r.Service, r.Image, r.Dockerfile, r.Args, r.Target, r.Tags, r.SSH, r.Ulimits, r.Allow, r.ShmSize, r.ExtraHosts, r.Labels}
	want := []any{
		"app", "shop-app", "app.Dockerfile",
		map[string]string{"FIXED": "1", "GIVEN": "2"},
		"prod",
		[]string{"team/app:2"},
		[]podmanrun.BuildSSH{{ID: "default"}},
		[]string{"nofile=10:20", "nproc=5:5"},
		[]string{"security.insecure"},
		int64(8 << 20),
		[]string{"registry:10.0.0.1"},
		map[string]string{"a": "b"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the request differs (-want +got):\n%s", diff)
	}
}
