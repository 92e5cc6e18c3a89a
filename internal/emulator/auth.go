package emulator

import (
	"crypto/subtle"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/mask"
)

// callerKind is a set of credentials (§0.3).
type callerKind int

const (
	byAdmin callerKind = 1 << iota // the personal access token, or a token of AdminTokens
	byAgent                        // a token from the OAuth endpoint
	byJob                          // the token inside a job message
)

// caller is who makes a call, as its credential proves.
type caller struct {
	kind   callerKind
	agent  agentID   // of an agent token
	token  string    // id of a token of ours
	until  time.Time // end of its validity
	limits *Token    // of a personal access token; nil: it opens everything
	job    job.ID    // of a job token
	plan   job.PlanID
}

func (c caller) name() string {
	switch c.kind {
	case byAgent:
		return "agent " + c.agent.String()
	case byJob:
		return "job " + string(c.job)
	}
	if c.limits != nil {
		return "the owner of a limited token"
	}
	return "Administrator"
}

// claims is what our own tokens carry (Appendix D: HS256; nobody else reads them).
type claims struct {
	jwt.RegisteredClaims
	Kind  callerKind `json:"kind"`
	Agent agentID    `json:"agent,omitempty"`
	Plan  job.PlanID `json:"plan,omitempty"`
	Job   job.ID     `json:"job,omitempty"`
}

// issue signs a token for who that is valid for life.
func (s *Server) issue(who caller, life time.Duration) (string, error) {
	c := claims{
		// Without nbf, or a clock that a fault turns back would close the token of a
		// running job, which nobody can renew.
		RegisteredClaims: jwt.RegisteredClaims{
			ID: newGUID(), Issuer: "dockless-emulator", ExpiresAt: jwt.NewNumericDate(s.clock().Add(life)),
		},
		Kind: who.kind, Agent: who.agent, Plan: who.plan, Job: who.job,
	}
	return jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.signing)
}

// authenticate finds out who calls and that the credential was not revoked. Its
// error is a 401 with a challenge.
func (s *Server) authenticate(r *http.Request) (caller, error) {
	who, err := s.identify(r)
	if err != nil {
		return caller{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, revoked := s.revoked[who.token]; revoked {
		return caller{}, unauthorized("The access token was revoked.")
	}
	return who, nil
}

// revoke makes an agent token useless from now on. A job token cannot be renewed,
// and a personal access token is the operator's: both stay valid.
func (s *Server) revoke(who caller) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if who.kind == byAgent {
		s.revoked[who.token] = who.until
	}
}

// identify reads the credential of a call.
func (s *Server) identify(r *http.Request) (caller, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "Basic"):
		// The user name is ignored (§1.6).
		_, password, ok := r.BasicAuth()
		same := func(known mask.Secret) bool {
			return subtle.ConstantTimeCompare([]byte(password), []byte(known.Reveal())) == 1
		}
		if ok && same(s.cfg.PAT) {
			return caller{kind: byAdmin}, nil
		}
		for i := range s.cfg.Tokens {
			if t := &s.cfg.Tokens[i]; ok && same(t.Secret) {
				return caller{kind: byAdmin, limits: t}, nil
			}
		}
		return caller{}, unauthorized("The personal access token is not valid for this server.")
	case strings.EqualFold(scheme, "Bearer") && s.cfg.AdminTokens != nil && s.cfg.AdminTokens(strings.TrimSpace(token)):
		return caller{kind: byAdmin}, nil
	case strings.EqualFold(scheme, "Bearer"):
		var c claims
		_, err := jwt.ParseWithClaims(strings.TrimSpace(token), &c, func(*jwt.Token) (any, error) { return s.signing, nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.clock))
		if err != nil {
			return caller{}, unauthorized("The access token is not valid or has expired.")
		}
		return caller{kind: c.Kind, agent: c.Agent, plan: c.Plan, job: c.Job, token: c.ID, until: c.ExpiresAt.Time}, nil
	}
	return caller{}, unauthorized("The call carries no credential: send a personal access token as Basic or an access token as Bearer.")
}

// authorize checks that the endpoint is open to the caller. Pool resources
// refuse the job token, plan resources the agent token (§0.3), and a job token
// opens the resources of its own plan only.
func (c *call) authorize(e endpoint) error {
	inPlan := c.v("planId") != ""
	switch {
	case e.open&c.who.kind == 0 && inPlan:
		return planForbidden("%s %s of a plan is refused with this credential (§0.3): it takes the job token.", c.r.Method, c.where.resource)
	case e.open&c.who.kind == 0:
		return accessDenied("%s may not %s %s (§0.3).", c.who.name(), c.r.Method, c.where.resource)
	}
	return c.checkScope()
}

// newGUID returns a random GUID as the service writes it.
func newGUID() string { return uuid.NewString() }

// guid returns text in the form in which ids are compared, "" for no GUID.
func guid(text string) string {
	id, err := uuid.Parse(text)
	if err != nil {
		return ""
	}
	return id.String()
}

// zeroGUID is the lock token agents send (§7.1) and the session id of a new session.
const zeroGUID = "00000000-0000-0000-0000-000000000000"
