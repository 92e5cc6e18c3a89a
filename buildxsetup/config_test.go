package buildxsetup

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/containerd/platforms"
	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/hint"
)

func TestHostsAreReadWithTheirPlatforms(t *testing.T) {
	tests := map[string]struct {
		list string
		want []string
	}{
		"nothing":                       {"", nil},
		"one":                           {"tcp://buildkitd:1234", []string{"tcp://buildkitd:1234"}},
		"two, spaces and an empty part": {" tcp://a:1 , ,unix:///run/b.sock", []string{"tcp://a:1", "unix:///run/b.sock"}},
		"commas between platforms":      {"tcp://a:1?platforms=linux/arm64,linux/arm/v7,tcp://b:2", []string{"tcp://a:1 linux/arm64 linux/arm/v7", "tcp://b:2"}},
		"platforms named twice":         {"tcp://a:1?platforms=linux/amd64&platforms=linux/386", []string{"tcp://a:1 linux/amd64 linux/386"}},
		"an IPv6 address":               {"tcp://[::1]:1234", []string{"tcp://[::1]:1234"}},
		"an unclean path":               {"unix:///run//x/../b.sock", []string{"unix:///run/b.sock"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hosts, err := parseHosts(test.list)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, h := range hosts {
				text := h.endpoint
				for _, p := range h.platforms {
					text += " " + platforms.FormatAll(p)
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("parseHosts(%q) (-want +got):\n%s", test.list, diff)
			}
		})
	}
}

func TestAWrongHostIsRefusedWithAHint(t *testing.T) {
	for name, list := range map[string]string{
		"no scheme":          "buildkitd:1234",
		"another scheme":     "ssh://buildkitd",
		"no port":            "tcp://buildkitd",
		"a path":             "tcp://buildkitd:1234/x",
		"a relative socket":  "unix://run/b.sock",
		"the same one twice": "tcp://a:1,tcp://a:1",
		"an unknown setting": "tcp://a:1?plattforms=linux/arm64",
		"no platform":        "tcp://a:1?platforms=linux/a/b/c/d",
		"a user":             "tcp://me@a:1",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := parseHosts(list)
			if hints := hint.All(err); err == nil || len(hints) == 0 || !strings.Contains(hints[0], "BUILDKIT_HOST") {
				t.Errorf("parseHosts(%q) = %v with hints %q, want an error whose hint names BUILDKIT_HOST", list, err, hints)
			}
		})
	}
}

func TestValidateReportsEverything(t *testing.T) {
	err := Config{Hosts: "nonsense", Name: "1 2"}.Validate()
	for _, want := range []string{"BUILDKIT_HOST", "BUILDX_BUILDER", "DOCKLESS_BUILDKIT_TIMEOUT", "DOCKER_CONFIG"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate() = %v, want %s named", err, want)
		}
	}
	if err := (Config{Name: "dockless", Timeout: time.Second, Home: "/home/me"}).Validate(); err != nil {
		t.Errorf("Validate() = %v, want none", err)
	}
}

func TestTheOwnDaemonRunsRootlessWhenNotRoot(t *testing.T) {
	all := func(name string) (string, error) { return "/bin/" + name, nil }
	if got, err := daemonCommand(true, all); err != nil || strings.Join(got, " ") != "/bin/buildkitd" {
		t.Errorf("daemonCommand(root) = %q, %v", got, err)
	}
	got, err := daemonCommand(false, all)
	if err != nil || got[0] != "/bin/rootlesskit" || got[len(got)-1] != "--rootless" {
		t.Errorf("daemonCommand(user) = %q, %v, want buildkitd inside rootlesskit", got, err)
	}
	none := func(string) (string, error) { return "", errors.New("not there") }
	if _, err := daemonCommand(true, none); len(hint.All(err)) == 0 {
		t.Errorf("daemonCommand without buildkitd = %v, want a hint", err)
	}
}

func FuzzParseHosts(f *testing.F) {
	for _, seed := range []string{"", "tcp://a:1", "unix:///x?platforms=linux/arm64,linux/amd64,tcp://b:2", "tcp://[::1]:2", ",,://"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, list string) {
		hosts, err := parseHosts(list)
		if err != nil {
			return
		}
		for _, h := range hosts {
			again, err := parseHosts(h.endpoint)
			if err != nil || len(again) != 1 || again[0].endpoint != h.endpoint {
				t.Errorf("parseHosts(%q) = %+v, %v, want the endpoint of %q again", h.endpoint, again, err, list)
			}
		}
	})
}
