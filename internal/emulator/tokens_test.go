package emulator_test

import (
	"testing"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/mask"
)

// §1.11: what a personal access token opens depends on its scope, and on the role of
// its owner in the pool.
func TestATokenOpensWhatItsScopeAndItsOwnersRoleAllow(t *testing.T) {
	const (
		pools  = "/_apis/distributedtask/pools"
		agents = pools + "/12/agents"
		nobody = agents + "/4711/usercapabilities"
		build  = "/11111111-2222-3333-4444-555555555555/_apis/build/builds/1"
	)
	type calls struct{ connection, list, get, put, other int }
	for name, c := range map[string]struct {
		scope emulator.Scope
		role  emulator.Role
		want  calls
		key   string // of the refusal of put
		sees  int    // pools
	}{
		"everything":  {emulator.ScopeManage, emulator.RoleAdministrator, calls{200, 200, 200, 404, 401}, "TaskAgentNotFoundException", 1},
		"read scope":  {emulator.ScopeRead, emulator.RoleAdministrator, calls{200, 200, 200, 401, 401}, "UnauthorizedRequestException", 1},
		"other scope": {emulator.ScopeOther, emulator.RoleAdministrator, calls{200, 401, 401, 401, 401}, "UnauthorizedRequestException", 0},
		"reader":      {emulator.ScopeManage, emulator.RoleReader, calls{200, 200, 200, 403, 401}, "AccessDeniedException", 1},
		"no role":     {emulator.ScopeManage, emulator.RoleNone, calls{200, 200, 404, 404, 401}, "TaskAgentPoolNotFoundException", 0},
	} {
		t.Run(name, func(t *testing.T) {
			srv := emulatortest.New(t, func(cfg *emulator.Config) {
				cfg.Tokens = []emulator.Token{{Secret: mask.NewSecret("limited"), Scope: c.scope, Roles: map[string]emulator.Role{"Default": c.role}}}
			})
			p := newPeer(t, srv, "a")
			with := basic("limited")
			status := func(method, path string, body any) int { return p.do(method, path, body, with).status }
			got := calls{
				connection: status("GET", connectionData, nil), list: status("GET", pools, nil), get: status("GET", agents, nil),
				put: status("PUT", nobody, map[string]string{}), other: status("GET", build, nil),
			}
			if got != c.want {
				t.Errorf("answers %+v, want %+v", got, c.want)
			}
			if a := p.do("PUT", nobody, map[string]string{}, with); a.key() != c.key {
				t.Errorf("setting capabilities is refused with %s, want %s", a.key(), c.key)
			}
			var list struct{ Count int }
			p.do("GET", pools, nil, with).into(t, &list)
			if list.Count != c.sees {
				t.Errorf("it sees %d pools, want %d", list.Count, c.sees)
			}
		})
	}
}

func TestATokenThatMakesNoSenseIsRefused(t *testing.T) {
	for name, token := range map[string]emulator.Token{
		"empty":         {},
		"the first one": {Secret: mask.NewSecret("pat")},
		"no scope":      {Secret: mask.NewSecret("x"), Scope: "vso.code"},
		"no pool":       {Secret: mask.NewSecret("x"), Roles: map[string]emulator.Role{"Nowhere": emulator.RoleReader}},
		"no role":       {Secret: mask.NewSecret("x"), Roles: map[string]emulator.Role{"Default": "King"}},
	} {
		cfg := emulator.Defaults()
		cfg.PAT, cfg.Tokens = mask.NewSecret("pat"), []emulator.Token{token}
		if err := cfg.Validate(); err == nil {
			t.Errorf("%s: nobody noticed", name)
		}
	}
}
