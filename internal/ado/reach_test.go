package ado_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/mask"
)

func TestAServerIsReachedWithoutACredential(t *testing.T) {
	srv := emulatortest.New(t)
	connections := ado.NewHTTP()
	t.Cleanup(connections.CloseIdleConnections)
	got, err := ado.Reach(t.Context(), srv.URL+"/", connections)
	if err != nil || got.Status != http.StatusUnauthorized || got.TLS != nil || !got.HasClock || got.Ahead != 0 {
		t.Errorf("Reach() = %+v, %v, want 401 and a clock that is right", got, err)
	}
	srv.Fail(emulator.Fault{Kind: emulator.FaultClockSkew, For: -time.Hour})
	if got, err = ado.Reach(t.Context(), srv.URL, connections); err != nil || (got.Ahead+time.Hour).Abs() > 5*time.Second {
		t.Errorf("Reach() = %+v, %v, want a clock an hour behind", got, err)
	}
}

func TestWhatIsNoServerIsNotReached(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	t.Cleanup(plain.Close)
	for name, c := range map[string]struct{ address, hint string }{
		"an authority that is not known": {secure.URL, "DOCKLESS_CA_FILE"},
		"no organization":                {plain.URL, "names an organization"},
		"nobody":                         {gone.URL, "this machine reaches it"},
	} {
		connections := ado.NewHTTP()
		_, err := ado.Reach(t.Context(), c.address, connections)
		connections.CloseIdleConnections()
		if hints := strings.Join(hint.All(err), "\n"); err == nil || !strings.Contains(hints, c.hint) {
			t.Errorf("%s: %v, hints %q, want one with %q", name, err, hints, c.hint)
		}
	}
}

func TestWhatATokenMayIsProvedWithoutAChange(t *testing.T) {
	for name, c := range map[string]struct {
		scope        emulator.Scope
		role         emulator.Role
		found, prove error
	}{
		"everything":            {emulator.ScopeManage, emulator.RoleAdministrator, nil, nil},
		"a scope to read":       {emulator.ScopeRead, emulator.RoleAdministrator, nil, ado.ErrUnauthorized},
		"another scope":         {emulator.ScopeOther, emulator.RoleAdministrator, ado.ErrUnauthorized, ado.ErrUnauthorized},
		"a role to look":        {emulator.ScopeManage, emulator.RoleReader, nil, ado.ErrAccessDenied},
		"no role":               {emulator.ScopeManage, emulator.RoleNone, ado.ErrPoolNotFound, ado.ErrPoolNotFound},
		"neither scope nor one": {emulator.ScopeOther, emulator.RoleNone, ado.ErrUnauthorized, ado.ErrUnauthorized},
	} {
		t.Run(name, func(t *testing.T) {
			srv := emulatortest.New(t, func(cfg *emulator.Config) {
				cfg.Tokens = []emulator.Token{{Secret: mask.NewSecret("limited"), Scope: c.scope, Roles: map[string]emulator.Role{"Default": c.role}}}
			})
			of := func(token mask.Secret) *ado.Registration {
				r, err := ado.NewRegistration(srv.URL, token, options(t))
				if err != nil {
					t.Fatal(err)
				}
				return r
			}
			pool, err := of(srv.PAT).FindPool(t.Context(), "Default")
			if err != nil {
				t.Fatal(err)
			}
			limited := of(mask.NewSecret("limited"))
			if _, err := limited.Connect(t.Context()); err != nil {
				t.Errorf("Connect() = %v", err)
			}
			if _, err := limited.FindPool(t.Context(), "Default"); !errors.Is(err, c.found) {
				t.Errorf("FindPool() = %v, want %v", err, c.found)
			}
			if err := limited.ProveManage(t.Context(), pool.ID); !errors.Is(err, c.prove) {
				t.Errorf("ProveManage() = %v, want %v", err, c.prove)
			}
			if agents := srv.Agents(); len(agents) != 0 {
				t.Errorf("the pool has agents now: %v", agents)
			}
		})
	}
}
