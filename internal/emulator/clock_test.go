package emulator_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dockless-ci/dockless/internal/emulator"
	"github.com/dockless-ci/dockless/internal/emulator/emulatortest"
)

// §3.4: the texts by which a client knows that its clock is wrong, and the Date
// header by which it can do better.
func TestAWrongClockJudgesAssertions(t *testing.T) {
	for name, c := range map[string]struct {
		skew time.Duration
		says string
	}{
		"late":  {-10 * time.Minute, "not yet valid. Current server time is "},
		"early": {10 * time.Minute, "has expired. Current server time is "},
	} {
		t.Run(name, func(t *testing.T) {
			srv := emulatortest.New(t)
			p := newPeer(t, srv, "a")
			p.register()
			p.fault(`{"match":"GET nowhere","kind":"clock-skew","value":"` + c.skew.String() + `","count":1,"every":5}`)
			a := p.exchange(p.sign(p.assertion()))
			checkGrant(t, a, false, c.says)
			checkGrant(t, a, false, time.Now().UTC().Add(c.skew).Format("01/02/2006 15:"))

			server := dateOf(t, a)
			if off := server.Sub(time.Now().Add(c.skew)).Abs(); off > 5*time.Second {
				t.Errorf("Date is %s off the shifted clock", off)
			}
			claims := p.assertion()
			claims["nbf"], claims["exp"] = jwt.NewNumericDate(server), jwt.NewNumericDate(server.Add(5*time.Minute))
			checkGrant(t, p.exchange(p.sign(claims)), true, "")
			checkGrant(t, p.exchange(p.sign(claims)), false, "used before")

			if f := srv.Faults()[0]; f.Match != "" || f.Count != 0 || f.Every != 0 || f.Hits == 0 {
				t.Errorf("fault = %+v, want one that concerns every call", f)
			}
			srv.Heal()
			p.token()
			if off := time.Since(dateOf(t, p.do("GET", connectionData, nil, p.pat()))).Abs(); off > 5*time.Second {
				t.Errorf("Date is %s off after the fault was removed", off)
			}
		})
	}
}

func dateOf(t *testing.T, a answerOf) time.Time {
	t.Helper()
	at, err := http.ParseTime(a.header.Get("Date"))
	if err != nil {
		t.Fatalf("Date = %q: %v", a.header.Get("Date"), err)
	}
	return at
}

// The clock that clients see is not the one by which the server acts.
func TestAWrongClockEndsNoSessionAndLosesNoLock(t *testing.T) {
	srv, p, id := taken(t)
	p.mustRenew()
	for _, skew := range []time.Duration{-24 * time.Hour, 12 * time.Hour} {
		before := srv.Fail(emulator.Fault{Kind: emulator.FaultClockSkew, For: time.Second}) // the newest counts
		srv.Fail(emulator.Fault{Kind: emulator.FaultClockSkew, For: skew})
		srv.HealOne(before)
		p.agentToken = p.tokenAt(time.Now().Add(skew))
		a := p.want(204, "GET", p.pollPath(), nil, bearer(p.agentToken))
		if off := dateOf(t, a).Sub(time.Now().Add(skew)).Abs(); off > 5*time.Second {
			t.Errorf("Date is %s off the shifted clock", off)
		}
		var out struct{ LockedUntil time.Time }
		p.renew().into(t, &out)
		if off := out.LockedUntil.Sub(time.Now().Add(skew).Add(time.Minute)).Abs(); off > 10*time.Second {
			t.Errorf("lockedUntil = %s, %s off a minute ahead of the shifted clock", out.LockedUntil, off)
		}
		p.mustPatch(p.jobRecord("inProgress", "")) // a job token lives for two days
		srv.Heal()
	}
	time.Sleep(50 * time.Millisecond) // lets the clock of the server tick
	if st, _ := srv.Job(id); st.State != emulator.Running || time.Since(st.QueuedAt.Time) > time.Minute || !srv.Agents()["a"] {
		t.Errorf("status = %+v, want running as if nothing had happened", st)
	}
	p.token()
	p.mustRenew()
}

// tokenAt is token for a client whose clock says now.
func (p *peer) tokenAt(now time.Time) string {
	p.t.Helper()
	claims := p.assertion()
	claims["nbf"], claims["exp"] = now.Unix(), now.Add(5*time.Minute).Unix()
	a := p.exchange(p.sign(claims))
	var out struct {
		Token string `json:"access_token"`
	}
	if a.into(p.t, &out); out.Token == "" {
		p.t.Fatalf("token = %d %s", a.status, a.body)
	}
	return out.Token
}

// §3.3: tokens are valid by the server's clock.
func TestTokensExpireByTheClockOfTheServer(t *testing.T) {
	srv := emulatortest.New(t)
	p := newPeer(t, srv, "a")
	p.register()
	p.token()
	srv.Fail(emulator.Fault{Kind: emulator.FaultClockSkew, For: -time.Hour})
	p.want(200, "GET", connectionData, nil, bearer(p.agentToken))
	srv.Fail(emulator.Fault{Kind: emulator.FaultClockSkew, For: time.Hour})
	if a := p.do("GET", connectionData, nil, bearer(p.agentToken)); !challenged(a) || !strings.Contains(string(a.body), "expired") {
		t.Errorf("a token of 50 minutes, an hour later = %d %s, want 401 with a challenge", a.status, a.body)
	}
}
