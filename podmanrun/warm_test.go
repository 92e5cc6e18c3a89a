package podmanrun

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
)

// warmUnit is the container of service db in a compose file, where DIR is dir.
func warmUnit(t *testing.T, dir, services string) *unit {
	t.Helper()
	file := filepath.Join(dir, "compose.yml")
	if err := os.WriteFile(file, []byte("name: p\nservices:\n"+strings.ReplaceAll(services, "DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Load(t.Context(), LoadOptions{Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	u := &up{client: &Client{api: &libpod.Client{URI: &url.URL{Scheme: "unix"}}}, project: p.compose}
	service := p.compose.Services["db"]
	r, err := containerRequest(p.compose, service, 1, Owner{})
	if err != nil {
		t.Fatal(err)
	}
	n := newUnit(u, service, 1, r)
	n.health = healthOf(service, nil)
	return n
}

func image(id string, volumes ...string) *libpod.Image {
	img := &libpod.Image{ID: id, OS: "linux", Architecture: "amd64"}
	img.Config.Volumes = make(map[string]struct{})
	for _, v := range volumes {
		img.Config.Volumes[v] = struct{}{}
	}
	return img
}

func TestEveryInputOfAServiceMakesAnotherKey(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"init/a.sql": "1", "other/a.sql": "2", "conf": "1", "conf2": "2"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	const plain = `  db:
    image: x
    command: [serve]
    environment: {A: "1"}
    volumes: ["DIR/init:/init:ro", /data]
    configs: [{source: conf, target: /etc/conf}]
    healthcheck: {test: "true"}
    x-dockless: {warm: true}
configs: {conf: {file: DIR/conf}}
`
	key := func(text string, img *libpod.Image) string {
		t.Helper()
		n := warmUnit(t, dir, text)
		volumes, err := n.warmVolumes(warmWish{on: true}, img)
		if err != nil {
			t.Fatal(err)
		}
		k, err := n.warmKey(t.Context(), volumes, img)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	first := key(plain, image("1"))
	seen := map[string]string{first: "the first"}
	for name, other := range map[string]string{
		"command":     strings.Replace(plain, "[serve]", "[serve, -v]", 1),
		"entrypoint":  strings.Replace(plain, "command:", "entrypoint:", 1),
		"environment": strings.Replace(plain, `{A: "1"}`, `{A: "2"}`, 1),
		"user":        strings.Replace(plain, "image: x", "image: x\n    user: '7'", 1),
		"host name":   strings.Replace(plain, "image: x", "image: x\n    hostname: h", 1),
		"script":      strings.Replace(plain, "DIR/init", "DIR/other", 1),
		"its place":   strings.Replace(plain, ":/init:", ":/start:", 1),
		"config":      strings.Replace(plain, "DIR/conf}", "DIR/conf2}", 1),
		"volume":      strings.Replace(plain, " /data", " /var", 1),
		"healthcheck": strings.Replace(plain, `"true"`, `"exit 0"`, 1),
	} {
		k := key(other, image("1"))
		if seen[k] != "" {
			t.Errorf("another %s makes the key of %s", name, seen[k])
		}
		seen[k] = name
	}
	for name, img := range map[string]*libpod.Image{"image": image("2"), "volume of the image": image("1", "/more"), "architecture": {ID: "1", OS: "linux", Architecture: "arm64"}} {
		if k := key(plain, img); k == first {
			t.Errorf("another %s makes the same key", name)
		}
	}
	for name, other := range map[string]string{
		"label":        strings.Replace(plain, "image: x", "image: x\n    labels: {a: b}", 1),
		"memory limit": strings.Replace(plain, "image: x", "image: x\n    mem_limit: 1g", 1),
		"port":         strings.Replace(plain, "image: x", "image: x\n    ports: ['80']", 1),
	} {
		if key(other, image("1")) != first {
			t.Errorf("another %s makes another key", name)
		}
	}
}

func TestWhatCannotStartWarmSaysWhy(t *testing.T) {
	const check = "    healthcheck: {test: 'true'}\n"
	for name, c := range map[string]struct {
		services string
		wish     []string
		volumes  []string // of the image
		want     string   // in the reason; empty: it can, with
		targets  []string
	}{
		"a volume of the image":         {"  db:\n    image: x\n" + check, nil, []string{"/data"}, "", []string{"/data"}},
		"a volume of the service":       {"  db:\n    image: x\n    volumes: [/data]\n" + check, nil, nil, "", []string{"/data"}},
		"one of several":                {"  db:\n    image: x\n    volumes: ['vol:/a', 'wol:/b:ro', /c]\n" + check + "volumes: {vol: {}, wol: {}}\n", []string{"vol", "/c"}, nil, "", []string{"/a", "/c"}},
		"a bind mount over it":          {"  db:\n    image: x\n    volumes: ['./d:/data']\n" + check, nil, []string{"/data"}, "it has no volume", nil},
		"no healthcheck":                {"  db:\n    image: x\n", nil, []string{"/data"}, "no healthcheck", nil},
		"several containers":            {"  db:\n    image: x\n    scale: 2\n" + check, nil, []string{"/data"}, "several containers", nil},
		"hooks":                         {"  db:\n    image: x\n    post_start: [{command: a}]\n" + check, nil, []string{"/data"}, "hooks", nil},
		"a secret of Podman's":          {"  db:\n    image: x\n    secrets: [s]\n" + check + "secrets: {s: {external: true}}\n", nil, []string{"/data"}, "a secret", nil},
		"a read-only volume":            {"  db:\n    image: x\n    volumes: ['vol:/a:ro']\n" + check + "volumes: {vol: {}}\n", nil, nil, "read-only", nil},
		"an external volume":            {"  db:\n    image: x\n    volumes: ['vol:/a']\n" + check + "volumes: {vol: {external: true}}\n", nil, nil, "external", nil},
		"another service's volume":      {"  db:\n    image: x\n    volumes: ['vol:/a']\n" + check + "  b: {image: x, volumes: ['vol:/a']}\nvolumes: {vol: {}}\n", nil, nil, "service b's, too", nil},
		"a service in its network":      {"  db:\n    image: x\n" + check + "  b: {image: x, network_mode: 'service:db'}\n", nil, []string{"/data"}, "service b lives", nil},
		"a service with its volumes":    {"  db:\n    image: x\n" + check + "  b: {image: x, volumes_from: [db]}\n", nil, []string{"/data"}, "service b lives", nil},
		"a part of a volume":            {"  db:\n    image: x\n    volumes: [{type: volume, source: vol, target: /a, volume: {subpath: s}}]\n" + check + "volumes: {vol: {}}\n", nil, nil, "only a part", nil},
		"a wish for what is not there":  {"  db:\n    image: x\n" + check, []string{"nothing"}, []string{"/data"}, "no volume nothing", nil},
		"a volume with driver options":  {"  db:\n    image: x\n    volumes: ['vol:/a']\n" + check + "volumes: {vol: {driver_opts: {type: tmpfs}}}\n", nil, nil, "driver of its own", nil},
		"volumes of another container":  {"  db:\n    image: x\n    volumes_from: ['container:c']\n" + check, nil, []string{"/data"}, "another container", nil},
		"somebody who waits for an end": {"  db:\n    image: x\n" + check, nil, []string{"/data"}, "waits for its end", nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := warmUnit(t, t.TempDir(), c.services)
			n.completes = name == "somebody who waits for an end"
			volumes, err := n.warmVolumes(warmWish{on: true, volumes: c.wish}, image("1", c.volumes...))
			if c.want != "" {
				if _, ok := errors.AsType[notWarmError](err); !ok || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("warmVolumes = %v, want a reason with %q", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.targets, (&warmth{volumes: volumes}).targets()); diff != "" {
				t.Errorf("volumes (-want +got):\n%s", diff)
			}
			n.mount(volumes)
			for _, v := range n.request.Volumes {
				if v.Name == "" {
					t.Errorf("the volume at %s has no name", v.Dest)
				}
			}
		})
	}
}

func TestAWishForAWarmStartIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		"{warm: true}":                        "",
		"{warm: false}":                       "",
		"{warm: {volumes: [data, /var/lib]}}": "",
		"{}":                                  "",
		"{warm: 'yes'}":                       "warm is neither true",
		"{warm: {volumes: []}}":               "warm has volumes",
		"{warm: {volumes: [1]}}":              "warm has volumes",
		"{warm: {paths: [a]}}":                "warm has volumes",
		"{hot: true}":                         "has no key hot",
		"[warm]":                              "is no mapping",
	} {
		file := filepath.Join(t.TempDir(), "compose.yml")
		if err := os.WriteFile(file, []byte("name: p\nservices:\n  db:\n    image: x\n    x-dockless: "+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(t.Context(), LoadOptions{Files: []string{file}})
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), file+":")):
			t.Errorf("%s: Load = %v, want the place and %q", text, err, want)
		}
	}
}

func TestTheSizeOfWhatIsKeptIsASize(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "0": 0, "5GiB": 5 << 30, "10m": 10 << 20} {
		if got, err := (Config{WarmSize: text}).warmSize(); err != nil || got != want {
			t.Errorf("warmSize(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"much", "-1"} {
		if _, err := (Config{WarmSize: text}).warmSize(); err == nil || !strings.Contains(err.Error(), "DOCKLESS_WARM_SIZE") {
			t.Errorf("warmSize(%q) = %v, want an error that names the setting", text, err)
		}
	}
}
