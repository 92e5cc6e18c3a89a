package podmanrun_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/dockless-ci/dockless/podmanrun"
)

func TestWhatALaterFileTakesAwayIsNotJudged(t *testing.T) {
	const base = "services:\n  a: {image: x, isolation: x, deploy: {placement: {constraints: [y]}}, networks: {default: {link_local_ips: [z]}}}\n" +
		"  a.b: {image: x}\n"
	for name, c := range map[string]struct {
		over string
		want []string // what is said, of an error or as warnings; none: nothing
	}{
		"the keys": {
			"services:\n  a: {isolation: !reset null, deploy: {placement: !reset {}}, networks: {default: {link_local_ips: !reset []}}}\n", nil,
		},
		"whatever value the reset has": {
			"services:\n  a: {isolation: !reset word, deploy: !reset {placement: {}}, networks: !reset [other]}\n", nil,
		},
		"what is above them": {
			"services:\n  a: !override {image: y}\n", nil,
		},
		"what is above them, for something that is no better": {
			"services:\n  a: !override {image: y, provider: {type: z}}\n", []string{"%/over.yml:2:26: services.a.provider is not supported"},
		},
		"one of them": {
			"services:\n  a: {networks: !reset null, isolation: !reset null}\n", []string{"%/base.yml:2:40: services.a.deploy.placement is ignored"},
		},
		"another service, whose name begins alike": {
			"services:\n  a.b: !override {image: y}\n",
			[]string{"%/base.yml:2:17: services.a.isolation is not supported", "%/base.yml:2:93: services.a.networks.default.link_local_ips is not supported"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"base.yml": base, "over.yml": c.over})
			files := []string{filepath.Join(dir, "base.yml"), filepath.Join(dir, "over.yml")}
			p, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{Files: files})
			var said []string
			if err != nil {
				said = strings.Split(err.Error(), "\n")
			} else {
				said = p.Warnings()
			}
			if len(said) != len(c.want) {
				t.Fatalf("Load says %q, want %q", said, c.want)
			}
			for i, want := range c.want {
				if want = strings.ReplaceAll(want, "%", dir); !strings.HasPrefix(said[i], want) {
					t.Errorf("Load says %q, want %q", said[i], want)
				}
			}
		})
	}
}

func TestAResetInTheFileItselfIsNoKey(t *testing.T) {
	dir := write(t, map[string]string{"compose.yml": "services:\n  a: {image: x, isolation: !reset null, provider: !reset {type: y}}\n"})
	if _, err := podmanrun.Load(t.Context(), podmanrun.LoadOptions{WorkingDir: dir}); err != nil {
		t.Errorf("Load = %v", err)
	}
}
