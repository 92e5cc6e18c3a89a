package ado

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// at is the header of an answer written when the server's clock shows t.
func at(t time.Time) http.Header { return http.Header{"Date": {t.UTC().Format(http.TimeFormat)}} }

func TestTheServersClockIsReadFromItsAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		skew, trip time.Duration
		header     func(time.Time) http.Header
		want, give time.Duration // and by how much the result may differ
		warn       bool
	}{
		"the clocks agree":          {0, 20 * time.Millisecond, at, 0, 0, false},
		"a second is noise":         {time.Second, 20 * time.Millisecond, at, 0, 0, false},
		"an hour ahead":             {time.Hour, 20 * time.Millisecond, at, time.Hour, time.Second, true},
		"ten seconds behind":        {-10 * time.Second, 0, at, -10 * time.Second, time.Second, false},
		"a day behind, slowly told": {-24 * time.Hour, 4 * time.Second, at, -24 * time.Hour, 3 * time.Second, true},
		"a held poll":               {time.Hour, 50 * time.Second, at, 0, 0, false},
		"no date":                   {time.Hour, 0, func(time.Time) http.Header { return http.Header{} }, 0, 0, false},
		"a cache's copy": {time.Hour, 0, func(t time.Time) http.Header {
			h := at(t)
			h.Set("Age", "3600")
			return h
		}, 0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := &Clock{}
				sent := time.Now()
				time.Sleep(c.trip / 2)
				header := c.header(time.Now().Add(c.skew))
				time.Sleep(c.trip - c.trip/2)
				warned := clock.observe("h", sent, header)
				if off := (clock.ahead("h") - c.want).Abs(); off > c.give || warned != c.warn {
					t.Errorf("ahead by %s (warned: %t), want %s (%t)", clock.ahead("h"), warned, c.want, c.warn)
				}
				if c.warn && clock.observe("h", time.Now(), header) {
					t.Error("the same difference is warned of twice")
				}
			})
		})
	}
}

func TestNoClockAgreesWithThisMachine(t *testing.T) {
	var none *Clock
	if none.observe("h", time.Now(), at(time.Now().Add(time.Hour))) || none.ahead("h") != 0 {
		t.Error("a client without a clock learned a difference")
	}
}

// A proxy or a token endpoint whose clock is wrong says nothing about the server's.
func TestEveryHostHasItsOwnClock(t *testing.T) {
	clock := &Clock{}
	for range 3 {
		clock.observe("right", time.Now(), at(time.Now()))
		clock.observe("wrong", time.Now(), at(time.Now().Add(time.Hour)))
	}
	if right, wrong := clock.ahead("right"), clock.ahead("wrong"); right != 0 || wrong < 59*time.Minute {
		t.Errorf("ahead by %s and %s, want 0 and an hour", right, wrong)
	}
	if off := time.Until(clock.At("https://wrong/x")); off < 59*time.Minute {
		t.Errorf("the time at the host of an address is %s ahead, want an hour", off)
	}
}
