package entratest

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The resources of registries of Azure.
const (
	registries = "https://containerregistry.azure.net"
	management = "https://management.azure.com"
)

// ForgetRegistries makes the tenant one that does not know Azure's registries as
// a resource.
func (s *Server) ForgetRegistries() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noRegistry = true
}

// Exchanges returns how often a registry was asked for a token.
func (s *Server) Exchanges() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exchanges
}

// AcceptsAt reports whether the refresh token was issued by that registry and has
// not expired.
func (s *Server) AcceptsAt(registry, token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refresh[token] == registry && time.Now().Before(s.tokens[token])
}

// exchange is a registry of Azure that takes a token of the tenant for a refresh
// token of its own, as it does at /oauth2/exchange. A registry called closed is
// open to nobody.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exchanges++
	host := r.Host
	token := r.PostFormValue("access_token")
	switch {
	case r.PostFormValue("grant_type") != "access_token", r.PostFormValue("service") != host, r.PostFormValue("tenant") != Tenant:
		answer(w, http.StatusBadRequest, refusal("DENIED", "The request was "+r.Form.Encode()))
		return
	case s.audiences[token] != registries && s.audiences[token] != management, !time.Now().Before(s.tokens[token]), strings.HasPrefix(host, "closed."):
		answer(w, http.StatusUnauthorized, refusal("UNAUTHORIZED", "authentication required for "+token))
		return
	}
	until := time.Now().Add(s.life)
	refresh := webToken(map[string]any{"exp": until.Unix(), "iss": "Azure Container Registry", "jti": uuid.NewString()})
	s.tokens[refresh], s.refresh[refresh] = until, host
	answer(w, http.StatusOK, map[string]string{"refresh_token": refresh})
}

func refusal(code, message string) map[string]any {
	return map[string]any{"errors": []map[string]string{{"code": code, "message": message}}}
}
