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

func loadText(t *testing.T, text string, environment map[string]string) *podmanrun.Project {
	t.Helper()
	dir := write(t, map[string]string{"compose.yml": text})
	p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir, Environment: environment})
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
			part, err := p.Only(c.services, c.deps)
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
