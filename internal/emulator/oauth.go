package emulator

import (
	"fmt"
	"mime"
	"net/http"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// grantPath is where agents exchange an assertion for a token. Together with
// the address under which the agent registered it is the assertion's audience.
const grantPath = "/_apis/oauth2/token"

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// An assertion is valid for five minutes and may be back-dated by 30 seconds (§3.1).
const (
	assertionLife     = 5 * time.Minute
	assertionBackdate = 30 * time.Second
)

// serveToken answers the token endpoint (§3.2).
func (s *Server) serveToken(w http.ResponseWriter, r *http.Request) int {
	if r.Method != http.MethodPost {
		return answerError(w, refuse(http.StatusMethodNotAllowed, "VssRequestContentException", "The token endpoint takes POST only."))
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	who, problem := s.checkGrant(r)
	if problem != "" {
		// Note the member's unusual name (§3.2).
		return answerJSON(w, http.StatusBadRequest, map[string]string{"error": "invalid_client", "errordescription": problem})
	}
	token, err := s.issue(who, s.cfg.TokenLifetime)
	if err != nil {
		return answerError(w, err)
	}
	return answerJSON(w, http.StatusOK, map[string]any{
		"access_token": token, "token_type": "JWT", "expires_in": int(s.cfg.TokenLifetime / time.Second),
	})
}

// checkGrant verifies a token request and says what is wrong with it.
func (s *Server) checkGrant(r *http.Request) (caller, string) {
	none := caller{}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind != "application/x-www-form-urlencoded" {
		return none, "The token request is not form-encoded."
	}
	if err := r.ParseForm(); err != nil {
		return none, "The form cannot be read."
	}
	if r.PostForm.Get("grant_type") != "client_credentials" || r.PostForm.Get("client_assertion_type") != assertionType {
		return none, "The grant is not client_credentials with a jwt-bearer assertion."
	}
	return s.checkAssertion(r.PostForm.Get("client_assertion"))
}

// checkAssertion verifies signature, audience, subject, validity and
// uniqueness of an assertion (§3.1).
func (s *Server) checkAssertion(text string) (caller, string) {
	none := caller{}
	var a *agent
	var audience string
	var c jwt.RegisteredClaims
	// Times are checked below, because their messages matter to clients.
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(text, &c, func(*jwt.Token) (any, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if a = s.agentByClient(c.Issuer); a == nil {
			return nil, fmt.Errorf("client %q is not registered", c.Issuer)
		}
		audience = a.authorizationURL
		return a.key, nil
	})
	switch {
	case err != nil && a == nil:
		return none, "The client is not registered."
	case err != nil:
		return none, "The signature of the assertion is not valid."
	case c.Subject != c.Issuer:
		return none, "The assertion's sub and iss differ."
	case len(c.Audience) != 1 || c.Audience[0] != audience:
		return none, "The assertion is for another audience."
	case c.ID == "":
		return none, "The assertion has no jti."
	case c.NotBefore == nil || c.ExpiresAt == nil:
		return none, "The assertion lacks nbf or exp."
	}
	if problem := s.checkValidity(c.NotBefore.Time, c.ExpiresAt.Time); problem != "" {
		return none, problem
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.assertions[c.ID]; known {
		return none, "The assertion was used before."
	}
	s.assertions[c.ID] = c.ExpiresAt.Time
	return caller{kind: byAgent, agent: a.id}, ""
}

// checkValidity judges when an assertion is valid. What a wrong clock explains
// names the server's time, by which clients recognize it (§3.4).
func (s *Server) checkValidity(from, until time.Time) string {
	now := s.clock()
	clock := "Current server time is " + now.Format("01/02/2006 15:04:05") + "."
	switch {
	case now.Before(from):
		return "The token is not yet valid. " + clock
	case now.After(until):
		return "The token has expired. " + clock
	case until.Sub(from) > assertionLife+assertionBackdate:
		return "The assertion is valid for longer than five minutes."
	case until.Sub(now) > assertionLife+time.Second: // whole seconds are rounded
		return "The assertion expires more than five minutes ahead. " + clock
	}
	return ""
}
