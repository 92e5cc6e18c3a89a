package registryauth

import (
	"strings"
	"testing"
	"time"
)

func FuzzReadClaims(f *testing.F) {
	f.Add("eyJ0eXAiOiJKV1QifQ.eyJleHAiOjE3MDAwMDAwMDAsInRpZCI6InQifQ.sig")
	f.Add("a.eyJleHAiOjFlNDAwfQ.b")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		if ends := readClaims(token).ends(); !ends.IsZero() && (ends.Year() < 1970 || ends.Year() > 40000) {
			t.Errorf("%q ends at %s", token, ends)
		}
	})
}

func FuzzReadExchange(f *testing.F) {
	f.Add(200, []byte(`{"refresh_token":"se-cret"}`))
	f.Add(401, []byte(`{"errors":[{"code":"UNAUTHORIZED","message":"se-cret"}]}`))
	f.Add(500, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		token, err := readExchange("team.azurecr.io", status, body)
		if (err == nil) == token.IsZero() {
			t.Errorf("token %v with error %v", token.IsZero(), err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "{<\"\n") {
			t.Errorf("the error quotes the answer: %v", err)
		}
	})
}

func FuzzReadGoogle(f *testing.F) {
	f.Add(`{"access_token":"t","expires_in":3599}`)
	f.Add(`{"access_token":"t","expires_in":-9223372036854775808}`)
	now := time.Unix(1_700_000_000, 0)
	f.Fuzz(func(t *testing.T, text string) {
		found, err := readGoogle(text, now)
		if err == nil && found.empty() || !found.ends.IsZero() && !found.ends.After(now) {
			t.Errorf("readGoogle(%q) = %+v, %v", text, found, err)
		}
	})
}

func FuzzReadHelper(f *testing.F) {
	f.Add([]byte(`{"ServerURL":"reg.example","Username":"me","Secret":"s"}`))
	f.Add([]byte(`{"Username":"<token>","Secret":"s"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		found, err := readHelper(text)
		if err != nil && (!found.empty() || strings.Contains(err.Error(), "{")) {
			t.Errorf("readHelper(%q) = %+v, %v", text, found, err)
		}
	})
}
