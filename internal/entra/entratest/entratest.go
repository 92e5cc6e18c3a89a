// Package entratest knows how to be Microsoft Entra for a test: a tenant with
// one application, over HTTPS with a certificate of its own, and beside it the
// metadata service of an Azure machine and registries of Azure, which exchange
// tokens. Only _test.go files import it.
//
// It verifies what the real one does: the tenant, the scope, the secret, the
// signature of a certificate's or a federated assertion. A test asks it with
// [Server.Accepts] whether a token is good, as Azure DevOps does.
package entratest

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

// What the tenant knows.
const (
	Tenant   = "7ec0e2b6-38c9-4a4b-8e0a-2a0e6d7a2f11"
	ClientID = "5d0f2a3e-4d7c-4d6e-9b51-6f0c3c1f8a77"
	devops   = "499b84ac-1321-427f-aa17-267ca6975798"
	issuer   = "https://cluster.example.com"
	subject  = "system:serviceaccount:dockless:agent"
	audience = "api://AzureADTokenExchange"
)

// Server is a running tenant. Its methods may be called concurrently.
type Server struct {
	URL    string // of the authority
	CAFile string // PEM with the certificate to trust
	Secret string // the application's

	t       testing.TB
	cluster *rsa.PrivateKey // signs the tokens of service accounts
	server  *httptest.Server

	mu          sync.Mutex
	life        time.Duration
	certificate *rsa.PublicKey       // of the application; nil: none
	tokens      map[string]time.Time // issued → valid until
	audiences   map[string]string    // issued → the resource that it is for
	refresh     map[string]string    // issued by a registry → its name
	exchanges   int                  // how often a registry was asked
	noRegistry  bool                 // the tenant knows no registries
	asked       []string             // path of every request for a token
	answer      http.HandlerFunc     // in place of tokens; nil: none
}

// New starts a tenant whose tokens live for an hour.
func New(t testing.TB) *Server {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{t: t, cluster: key, Secret: "secret-" + uuid.NewString(), life: time.Hour, tokens: make(map[string]time.Time), audiences: make(map[string]string), refresh: make(map[string]string)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{tenant}/v2.0/.well-known/openid-configuration", s.discover)
	mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", s.token)
	mux.HandleFunc("GET /metadata/identity/oauth2/token", s.metadata)
	mux.HandleFunc("POST /oauth2/exchange", s.exchange)
	s.server = httptest.NewTLSServer(mux)
	t.Cleanup(s.server.Close)
	s.URL = s.server.URL + "/"
	s.CAFile = filepath.Join(t.TempDir(), "entra-ca.pem")
	if err := os.WriteFile(s.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// Transport returns connections that trust the tenant, and from which the
// addresses of the metadata service and of registries of Azure lead to it.
func (s *Server) Transport() http.RoundTripper {
	return roundTrip(func(req *http.Request) (*http.Response, error) {
		if host := req.URL.Host; host == "169.254.169.254" || strings.HasSuffix(host, ".azurecr.io") {
			if req = req.Clone(req.Context()); req.Host == "" {
				req.Host = host
			}
			to, err := url.Parse(s.server.URL)
			if err != nil {
				return nil, err
			}
			req.URL.Scheme, req.URL.Host = to.Scheme, to.Host
		}
		return s.server.Client().Transport.RoundTrip(req)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// SetLife says how long the tokens live that are issued from now on.
func (s *Server) SetLife(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = d
}

// SetCertificate registers a certificate with the application.
func (s *Server) SetCertificate(key *rsa.PublicKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certificate = key
}

// Answer has every request for a token answered by h; nil ends that.
func (s *Server) Answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = h
}

// Accepts reports whether token was issued here and has not expired.
func (s *Server) Accepts(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.tokens[token])
}

// Revoke makes every token that was issued so far worthless.
func (s *Server) Revoke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.tokens)
}

// Asked returns how often a token was asked for.
func (s *Server) Asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// FederatedToken returns a token of the service account that the application
// trusts, as Kubernetes projects it.
func (s *Server) FederatedToken() string {
	s.t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer: issuer, Subject: subject, Audience: jwt.ClaimStrings{audience},
		ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour)), ID: uuid.NewString(),
	}).SignedString(s.cluster)
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

// Issue returns a token for Azure DevOps as the tenant gives it to the application.
func (s *Server) Issue() (token string, life time.Duration) { return s.issue(devops) }

func (s *Server) issue(resource string) (token string, life time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	until := time.Now().Add(s.life)
	token = webToken(map[string]any{"tid": Tenant, "exp": until.Unix(), "jti": uuid.NewString()})
	s.tokens[token], s.audiences[token] = until, resource
	return token, s.life
}

// webToken returns a token with claims that nobody has signed.
func webToken(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err) // they are texts and numbers
	}
	return "eyJ0eXAiOiJKV1QiLCJhbGciOiJub25lIn0." + base64.RawURLEncoding.EncodeToString(payload) + ".signature"
}

func (s *Server) discover(w http.ResponseWriter, r *http.Request) {
	base := s.server.URL + "/" + r.PathValue("tenant")
	answer(w, http.StatusOK, map[string]any{
		"issuer": base + "/v2.0", "authorization_endpoint": base + "/oauth2/v2.0/authorize", "token_endpoint": base + "/oauth2/v2.0/token",
	})
}

// replaced notes a request for a token and tells whether something else answers it.
func (s *Server) replaced(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.Path)
	h := s.answer
	s.mu.Unlock()
	if h != nil {
		h(w, r)
	}
	return h != nil
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	if s.replaced(w, r) {
		return
	}
	refused := func(code string, number int, format string, args ...any) {
		answer(w, http.StatusUnauthorized, map[string]any{
			"error": code, "error_codes": []int{number},
			"error_description": fmt.Sprintf("AADSTS%d: ", number) + fmt.Sprintf(format, args...) + "\r\nTrace ID: 1\r\nThe request was " + r.Form.Encode(),
		})
	}
	if err := r.ParseForm(); err != nil {
		refused("invalid_request", 900144, "The form cannot be read.")
		return
	}
	// Any grant but this one would be another protocol.
	switch {
	case r.PathValue("tenant") != Tenant:
		refused("invalid_request", 90002, "Tenant '%s' not found.", r.PathValue("tenant"))
	case r.Form.Get("grant_type") != "client_credentials":
		refused("unsupported_grant_type", 70003, "The grant is not supported.")
	case r.Form.Get("client_id") != ClientID:
		refused("unauthorized_client", 700016, "The application was not found.")
	case s.resourceOf(r.Form.Get("scope")) == "":
		refused("invalid_resource", 500011, "The resource principal was not found in the tenant.")
	case r.Form.Get("client_secret") == s.Secret:
		s.grant(w, s.resourceOf(r.Form.Get("scope")))
	case r.Form.Get("client_secret") != "":
		refused("invalid_client", 7000215, "Invalid client secret %s provided.", r.Form.Get("client_secret"))
	case r.Form.Get("client_assertion") != "":
		if number := s.verify(r.Form.Get("client_assertion")); number != 0 {
			refused("invalid_client", number, "The assertion is not accepted.")
			return
		}
		s.grant(w, s.resourceOf(r.Form.Get("scope")))
	default:
		refused("invalid_client", 7000218, "The request needs a secret or an assertion.")
	}
}

// resourceOf is what the first of the scopes is for, or "" when the tenant does
// not know it; MSAL adds those of OpenID.
func (s *Server) resourceOf(scopes string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first string
	_, _ = fmt.Sscan(scopes, &first) // nothing is no scope
	switch resource := strings.TrimSuffix(first, "/.default"); {
	case resource == devops, resource == management, resource == registries && !s.noRegistry:
		return resource
	}
	return ""
}

// verify returns the number of the error of an assertion, or zero.
func (s *Server) verify(assertion string) int {
	s.mu.Lock()
	certificate := s.certificate
	s.mu.Unlock()
	var c jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(assertion, &c)
	if err != nil {
		return 50027
	}
	if c.Issuer == issuer {
		_, err = jwt.Parse(assertion, func(*jwt.Token) (any, error) { return &s.cluster.PublicKey, nil },
			jwt.WithValidMethods([]string{"RS256"}), jwt.WithAudience(audience), jwt.WithSubject(subject), jwt.WithExpirationRequired())
		if err != nil {
			return 700211
		}
		return 0
	}
	if certificate == nil {
		return 700027
	}
	_, err = jwt.Parse(assertion, func(*jwt.Token) (any, error) { return certificate, nil },
		jwt.WithValidMethods([]string{"RS256", "PS256"}), jwt.WithIssuer(ClientID), jwt.WithSubject(ClientID),
		jwt.WithAudience(s.server.URL+"/"+Tenant+"/oauth2/v2.0/token"), jwt.WithExpirationRequired())
	if err != nil {
		return 700027
	}
	return 0
}

func (s *Server) grant(w http.ResponseWriter, resource string) {
	token, life := s.issue(resource)
	answer(w, http.StatusOK, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(life / time.Second)})
}

// metadata is the machine's own service. A request without its header is refused,
// which is what shows that somebody is there.
func (s *Server) metadata(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Metadata") != "true" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request"})
		return
	}
	if s.replaced(w, r) {
		return
	}
	q := r.URL.Query()
	if id := q.Get("client_id"); s.resourceOf(q.Get("resource")) == "" || (id != "" && id != ClientID) {
		answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_request", "error_description": "Identity not found"})
		return
	}
	token, life := s.issue(q.Get("resource"))
	answer(w, http.StatusOK, map[string]string{
		"access_token": token, "token_type": "Bearer", "resource": q.Get("resource"),
		"expires_on": fmt.Sprint(time.Now().Add(life).Unix()), "expires_in": fmt.Sprint(int(life / time.Second)),
	})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client sees it
}
