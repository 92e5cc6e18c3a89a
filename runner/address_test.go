package runner

import (
	"testing"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// Git takes the address on its command line and keeps it on disk.
func TestPasswordsLeaveTheAddressOfARepository(t *testing.T) {
	for address, want := range map[string][2]string{
		"https://host/r":                       {"https://host/r", ""},
		"https://org@dev.azure.com/org/_git/r": {"https://org@dev.azure.com/org/_git/r", ""},
		"https://user:@host/r":                 {"https://user:@host/r", ""},
		"https://user:pa%40ss@host/a%20b":      {"https://user@host/a%20b", "basic dXNlcjpwYUBzcw=="},
		"http://:token@host:81/r":              {"http://host:81/r", "basic OnRva2Vu"},
		"ssh://git:pass@host/r":                {"ssh://git:pass@host/r", ""},
		"git@host:r":                           {"git@host:r", ""},
		"file:///r":                            {"file:///r", ""},
	} {
		x := &execution{masks: mask.NewSet(), m: &job.Message{}}
		if got, credentials := x.withoutPassword(address, ""); got != want[0] || credentials != want[1] {
			t.Errorf("withoutPassword(%q) = %q, %q, want %q", address, got, credentials, want)
		}
		if got, credentials := x.withoutPassword(address, "bearer job"); got != want[0] || credentials != "bearer job" {
			t.Errorf("withoutPassword(%q) beside credentials = %q, %q", address, got, credentials)
		}
	}
}
