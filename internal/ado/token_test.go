package ado_test

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/mask"
)

var agentKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := ado.GenerateKey()
	if err != nil {
		panic(err)
	}
	return key
})

func tokens(t *testing.T, srv *service) *ado.TokenSource {
	t.Helper()
	return ado.NewTokenSource(ado.Credentials{ClientID: "client-1", Audience: "https://vstoken/x", Endpoint: srv.URL + "/token", Key: agentKey()}, options(t))
}

func parseForm(t *testing.T, body string) url.Values {
	t.Helper()
	form, err := url.ParseQuery(body)
	if err != nil {
		t.Fatal(err)
	}
	return form
}

// Protocol §3.1 and §3.2.
func TestA7TheAssertionHasExactlyTheDocumentedClaims(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, ado.TokenAnswer{AccessToken: "granted", ExpiresIn: 3000})
	})
	token, err := tokens(t, srv).Token(t.Context())
	if err != nil || token.Reveal() != "granted" {
		t.Fatalf("Token = %v, %v, want what was granted", token, err)
	}
	asked := srv.asked()[0]
	form := parseForm(t, asked.Body)
	if asked.Method != http.MethodPost || asked.Header.Get("Content-Type") != "application/x-www-form-urlencoded" ||
		form.Get("grant_type") != "client_credentials" || form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		t.Errorf("request = %+v, want the form of §3.2", asked)
	}
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(form.Get("client_assertion"), claims, func(*jwt.Token) (any, error) { return &agentKey().PublicKey, nil }, jwt.WithValidMethods([]string{"RS256"}))
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header["typ"] != "JWT" || claims["iss"] != "client-1" || claims["sub"] != "client-1" || claims["aud"] != "https://vstoken/x" || claims["jti"] == "" || len(claims) != 6 {
		t.Errorf("claims = %v, want iss, sub, aud, jti, nbf, exp", claims)
	}
	if nbf, exp := claims["nbf"].(float64), claims["exp"].(float64); exp-nbf != 300 {
		t.Errorf("exp - nbf = %v s, want 300", exp-nbf)
	}
}

func TestATokenIsRenewedWhenMostOfItsLifeIsOver(t *testing.T) {
	n := 0
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		n++
		answer(w, http.StatusOK, ado.TokenAnswer{AccessToken: fmt.Sprint("token-", n), ExpiresIn: 1})
	})
	source := tokens(t, srv)
	first, err := source.Token(t.Context())
	again, err2 := source.Token(t.Context())
	if err != nil || err2 != nil || first != again {
		t.Errorf("two tokens in a row: %v %v, want one", err, err2)
	}
	time.Sleep(900 * time.Millisecond)
	if later, err := source.Token(t.Context()); err != nil || later == first {
		t.Errorf("after 90 %% of its life the token is the same (%v), want another", err)
	}
}

// Protocol §1.9: "the OAuth token call additionally retries 429 and 500".
func TestTheTokenCallRetriesMore(t *testing.T) {
	for status, want := range map[int]int{429: 4, 500: 4, 502: 4, 503: 4, 504: 4, 403: 1, 404: 1} {
		srv := newService(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, status, "") })
		if _, err := tokens(t, srv).Token(t.Context()); err == nil || len(srv.asked()) != want {
			t.Errorf("status %d: %d requests (%v), want %d", status, len(srv.asked()), err, want)
		}
	}
}

// An assertion whose answer was lost may have been used up (protocol §3.1: jti).
func TestEveryAttemptToGetATokenHasAnAssertionOfItsOwn(t *testing.T) {
	used := map[string]bool{}
	srv := newService(t, nil)
	srv.handle = func(w http.ResponseWriter, _ *http.Request) {
		asked := srv.asked()
		assertion := parseForm(t, asked[len(asked)-1].Body).Get("client_assertion")
		if used[assertion] {
			t.Error("an assertion was sent twice")
		}
		used[assertion] = true
		if len(used) < 3 {
			refuse(w, http.StatusBadGateway, "")
			return
		}
		answer(w, http.StatusOK, ado.TokenAnswer{AccessToken: "granted"})
	}
	if _, err := tokens(t, srv).Token(t.Context()); err != nil || len(used) != 3 {
		t.Errorf("Token: %v after %d assertions, want success with the third", err, len(used))
	}
}

// Protocol §3.4.
func TestAWrongClockIsCorrectedByTheServers(t *testing.T) {
	for name, c := range map[string]struct{ header, sentence bool }{"by header": {true, false}, "by sentence": {false, true}} {
		t.Run(name, func(t *testing.T) {
			serverNow := time.Now().Add(-3 * time.Hour).UTC()
			srv := newService(t, nil)
			srv.handle = func(w http.ResponseWriter, _ *http.Request) {
				asked := srv.asked()
				claims := jwt.MapClaims{}
				if _, _, err := jwt.NewParser().ParseUnverified(parseForm(t, asked[len(asked)-1].Body).Get("client_assertion"), claims); err != nil {
					t.Error(err)
				}
				if nbf := time.Unix(int64(claims["nbf"].(float64)), 0); nbf.After(serverNow.Add(2 * time.Second)) {
					w.Header()["Date"] = nil
					if c.header {
						w.Header().Set("Date", serverNow.Format(http.TimeFormat))
					}
					text := "The token is not yet valid. Current server time is soon."
					if c.sentence {
						text = "The token is not yet valid. Current server time is " + serverNow.Format("01/02/2006 15:04:05") + "."
					}
					answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_client", "errordescription": text})
					return
				}
				answer(w, http.StatusOK, ado.TokenAnswer{AccessToken: "granted"})
			}
			if _, err := tokens(t, srv).Token(t.Context()); err != nil || len(srv.asked()) != 2 {
				t.Errorf("Token: %v after %d requests, want success at the second", err, len(srv.asked()))
			}
		})
	}
}

func TestARefusedAssertionMeansThatTheRegistrationIsGone(t *testing.T) {
	srv := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_client", "errordescription": "unknown client " + secret})
	})
	_, err := tokens(t, srv).Token(t.Context())
	if !errors.Is(err, ado.ErrUnauthorized) || strings.Contains(err.Error(), secret) || len(srv.asked()) != 1 {
		t.Errorf("Token = %v after %d requests, want unauthorized at once, without the description", err, len(srv.asked()))
	}
}

// Protocol §3.3: a new token after a challenge, and a bounded number of rounds.
func TestA8AChallengeGetsANewToken(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		challenge  string
		permanent  bool
		accept     string // the token that is accepted; empty: none
		wantTokens int
		wantCalls  int
	}{
		"expired token":      {401, "Bearer", false, "token-2", 2, 2},
		"redirect":           {302, `Bearer authorization_uri=https://x`, false, "token-2", 2, 2},
		"never good":         {401, "Bearer", false, "", 3, 3},
		"no challenge":       {401, "Basic", false, "", 1, 1},
		"refused for good":   {401, "Bearer", true, "", 1, 1},
		"forbidden is final": {403, "Bearer", false, "", 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			granted, calls := 0, 0
			srv := newService(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/token" {
					granted++
					answer(w, http.StatusOK, ado.TokenAnswer{AccessToken: fmt.Sprint("token-", granted), ExpiresIn: 3000})
					return
				}
				calls++
				if c.accept != "" && r.Header.Get("Authorization") == "Bearer "+c.accept {
					answer(w, http.StatusOK, ado.JobRequest{RequestID: 903, LockedUntil: jobTime(time.Now())})
					return
				}
				w.Header().Set("WWW-Authenticate", c.challenge)
				if c.permanent {
					w.Header().Set("X-VSS-AuthenticateError", "1")
				}
				w.WriteHeader(c.status)
			})
			client, err := ado.NewClient(srv.URL, 12, tokens(t, srv), options(t))
			if err != nil {
				t.Fatal(err)
			}
			_, err = client.RenewRequest(t.Context(), 903)
			if (err == nil) != (c.accept != "") || granted != c.wantTokens || calls != c.wantCalls {
				t.Errorf("RenewRequest = %v with %d tokens and %d calls, want %d and %d", err, granted, calls, c.wantTokens, c.wantCalls)
			}
		})
	}
}

func TestASecretIsNeverPartOfTheRegistrationsAddress(t *testing.T) {
	if _, err := ado.NewRegistration("https://user:"+secret+"@host", mask.NewSecret("x"), options(t)); err == nil || strings.Contains(err.Error(), secret) {
		t.Errorf("NewRegistration = %v, want an error without the password", err)
	}
}
