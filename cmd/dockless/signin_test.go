package main

import (
	"testing"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Tasks are told of the proxy that the agent itself uses, however it is written.
func TestTasksAreToldOfTheAgentsProxy(t *testing.T) {
	for address, want := range map[string]struct{ url, user, password string }{
		"http://proxy:3128":      {"http://proxy:3128", "", ""},
		"proxy:3128":             {"http://proxy:3128", "", ""},
		"10.0.0.1:3128":          {"http://10.0.0.1:3128", "", ""},
		"proxy":                  {"http://proxy", "", ""},
		"me:secret@proxy:3128":   {"http://proxy:3128", "me", "secret"},
		"https://me:s%40@proxy/": {"https://proxy/", "me", "s@"},
		"":                       {"", "", ""},
		"http://[broken":         {"", "", ""},
	} {
		n := taskNetwork(ado.NetworkConfig{HTTPSProxy: mask.NewSecret(address)})
		if n.ProxyURL != want.url || n.ProxyUser != want.user || n.ProxyPassword.Reveal() != want.password {
			t.Errorf("%q: tasks are told %q for %q with %q, want %+v", address, n.ProxyURL, n.ProxyUser, n.ProxyPassword.Reveal(), want)
		}
	}
}
