package emulator

import (
	"cmp"
	"crypto/rsa"
	"encoding/base64"
	"math"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// agentID names an agent within the whole server.
type agentID int

func (id agentID) String() string { return strconv.Itoa(int(id)) }

// agent is a registered member of a pool.
type agent struct {
	id               agentID
	pool             *pool
	wire             agentWire // name, version, capabilities, …
	clientID         string
	authorizationURL string
	key              *rsa.PublicKey
	session          *session      // nil: offline
	request          *request      // the job it has; it takes one at a time
	messages         []*message    // undeleted, ascending ids
	wake             chan struct{} // closed and replaced when messages or session change
}

// statusChanges notes when the agent went online or offline.
func (a *agent) statusChanges(now time.Time) { a.wire.StatusChangedOn = date(now) }

// wakeUp makes every poll of the agent look again.
func (a *agent) wakeUp() {
	close(a.wake)
	a.wake = make(chan struct{})
}

// agentWire is a TaskAgent (§2.4).
type agentWire struct {
	ID                 agentID               `json:"id"`
	Name               string                `json:"name"`
	Version            string                `json:"version,omitempty"`
	OSDescription      string                `json:"osDescription,omitempty"`
	Enabled            *bool                 `json:"enabled,omitempty"` // nil in a request: true
	Status             string                `json:"status,omitempty"`
	ProvisioningState  string                `json:"provisioningState,omitempty"`
	MaxParallelism     int                   `json:"maxParallelism,omitempty"`
	CreatedOn          *job.Time             `json:"createdOn,omitempty"`
	StatusChangedOn    *job.Time             `json:"statusChangedOn,omitempty"`
	Authorization      *agentAuthorization   `json:"authorization,omitempty"`
	SystemCapabilities map[string]string     `json:"systemCapabilities,omitempty"`
	UserCapabilities   map[string]string     `json:"userCapabilities,omitempty"`
	AssignedRequest    *requestWire          `json:"assignedRequest,omitempty"`
	Properties         map[string]typedValue `json:"properties,omitempty"`
}

type agentAuthorization struct {
	ClientID         string     `json:"clientId,omitempty"`
	AuthorizationURL string     `json:"authorizationUrl,omitempty"`
	PublicKey        *publicKey `json:"publicKey,omitempty"`
}

// publicKey is an RSA key as two big-endian numbers without sign padding (§2.2).
type publicKey struct {
	Exponent string `json:"exponent"`
	Modulus  string `json:"modulus"`
}

type typedValue struct {
	Type  string `json:"$type"`
	Value any    `json:"$value"`
}

// agentOf finds the agent of a route. The caller holds s.mu.
func (s *Server) agentOf(c *call) (*agent, error) {
	p, err := s.poolOf(c)
	if err != nil {
		return nil, err
	}
	id, err := strconv.Atoi(c.v("agentId"))
	a := s.agents[agentID(id)]
	if err != nil || a == nil || a.pool != p {
		return nil, agentNotFound(c.v("agentId"))
	}
	return a, nil
}

// self finds the agent of the caller's token in the pool of the route. The
// caller holds s.mu.
func (s *Server) self(c *call) (*agent, error) {
	p, err := s.poolOf(c)
	if err != nil {
		return nil, err
	}
	a := s.agents[c.who.agent]
	switch {
	case a == nil:
		return nil, s.agentGone(c.who.agent)
	case a.pool != p:
		return nil, agentNotFound(c.who.agent.String())
	}
	return a, nil
}

// agentGone refuses a call of an agent that was removed.
func (s *Server) agentGone(id agentID) error {
	if s.cfg.DeletedAgent == DeletedNotFound {
		return agentNotFound(id.String())
	}
	return registrationRevoked()
}

func (s *Server) agentByClient(clientID string) *agent {
	for _, a := range s.agents {
		if a.clientID == clientID {
			return a
		}
	}
	return nil
}

func (s *Server) getAgents(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.poolOf(c)
	if err != nil {
		return nil, err
	}
	if c.v("agentId") != "" {
		a, err := s.agentOf(c)
		if err != nil {
			return nil, err
		}
		return s.show(c, a), nil
	}
	var demands []string
	if text := c.q("demands"); text != "" {
		demands = strings.Split(text, ",")
	}
	var out []agentWire
	for _, a := range p.members {
		name := c.q("agentName")
		if (name == "" || strings.EqualFold(name, a.wire.Name)) && a.satisfies(demands) {
			out = append(out, s.show(c, a))
		}
	}
	return listOf(out), nil
}

// show returns a as callers see it; capabilities and requests only when asked for.
func (s *Server) show(c *call, a *agent) agentWire {
	if a.session != nil && s.sessionExpired(a.session, s.now()) {
		s.endSession(a.session, "expired")
	}
	out := a.wire
	out.Status = "offline"
	if a.session != nil {
		out.Status = "online"
	}
	asked := func(name string) bool { return strings.EqualFold(c.q(name), "true") }
	if !asked("includeCapabilities") {
		out.SystemCapabilities, out.UserCapabilities = nil, nil
	}
	if asked("includeAssignedRequest") && a.request != nil {
		w := s.requestWire(a.request)
		out.AssignedRequest = &w
	}
	return out
}

// addAgent registers an agent (§2.5).
func (s *Server) addAgent(c *call) (any, error) {
	var in agentWire
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	key, err := in.publicKey()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.poolOf(c)
	if err != nil {
		return nil, err
	}
	if in.Name == "" {
		return nil, badRequest("The agent has no name (§2.4).")
	}
	for _, a := range p.members {
		if strings.EqualFold(a.wire.Name, in.Name) {
			return nil, refuse(http.StatusConflict, "TaskAgentExistsException", "The pool %s has an agent %s already.", p.name, in.Name)
		}
	}
	a := &agent{id: s.nextAgent, pool: p, wake: make(chan struct{})}
	s.nextAgent++
	created := job.At(s.now())
	in.CreatedOn = &created
	s.register(c, a, in, key)
	s.join(a)
	s.unsaved = true
	s.log.Info("agent registered", "agent_id", int(a.id), "agent", in.Name, "pool_id", p.id)
	return s.registration(a), nil
}

// join makes a a member of its pool. Ids grow, so members stay sorted.
func (s *Server) join(a *agent) {
	s.agents[a.id] = a
	a.pool.members = append(a.pool.members, a)
}

// replaceAgent gives an agent a new key and description (§2.6). The client id
// changes too, so that the assertion of a process with the old key is refused.
func (s *Server) replaceAgent(c *call) (any, error) {
	var in agentWire
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	key, err := in.publicKey()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.agentOf(c)
	if err != nil {
		return nil, err
	}
	if in.ID != 0 && in.ID != a.id {
		return nil, badRequest("The body is agent %s, the route agent %s.", in.ID, a.id)
	}
	in.CreatedOn, in.UserCapabilities = a.wire.CreatedOn, a.wire.UserCapabilities
	s.register(c, a, in, key)
	s.unsaved = true
	s.log.Info("agent replaced", "agent_id", int(a.id), "agent", a.wire.Name)
	return s.registration(a), nil
}

// register takes over what the agent says about itself and makes its credentials.
func (s *Server) register(c *call, a *agent, in agentWire, key *rsa.PublicKey) {
	enabled := in.Enabled == nil || *in.Enabled
	a.key, a.clientID, a.authorizationURL = key, newGUID(), base(c.r)+grantPath
	public := in.Authorization.PublicKey
	in.ID, in.Enabled, in.Status, in.StatusChangedOn, in.AssignedRequest = a.id, &enabled, "", a.wire.StatusChangedOn, nil
	if in.StatusChangedOn == nil {
		in.StatusChangedOn = date(s.now()) // offline from now on
	}
	in.ProvisioningState, in.Authorization = cmp.Or(in.ProvisioningState, "Provisioned"), &agentAuthorization{PublicKey: public}
	a.wire = in
}

// registration is the answer that carries the credentials.
func (s *Server) registration(a *agent) agentWire {
	out := a.wire
	out.Status = "offline"
	if a.session != nil {
		out.Status = "online"
	}
	out.Authorization = &agentAuthorization{ClientID: a.clientID, AuthorizationURL: a.authorizationURL, PublicKey: a.wire.Authorization.PublicKey}
	if out.Properties == nil {
		out.Properties = map[string]typedValue{}
	}
	return out
}

// updateAgent changes what an administrator may change: whether it is enabled.
func (s *Server) updateAgent(c *call) (any, error) {
	var in agentWire
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.agentOf(c)
	if err != nil {
		return nil, err
	}
	if in.Enabled != nil {
		a.wire.Enabled = in.Enabled
		s.unsaved = true
		s.assign(a.pool)
	}
	return s.show(c, a), nil
}

func (s *Server) setUserCapabilities(c *call) (any, error) {
	var in map[string]string
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.agentOf(c)
	if err != nil {
		return nil, err
	}
	a.wire.UserCapabilities = in
	s.unsaved = true
	s.assign(a.pool)
	return s.show(c, a), nil
}

// deleteAgent removes an agent (§2.9). Only the registration credential may.
func (s *Server) deleteAgent(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.agentOf(c)
	if err != nil {
		return nil, err
	}
	delete(s.agents, a.id)
	a.pool.members = slices.DeleteFunc(a.pool.members, func(m *agent) bool { return m == a })
	s.unsaved = true
	if a.session != nil {
		s.endSession(a.session, "agent removed")
	}
	s.giveBack(a)
	a.wakeUp()
	s.log.Info("agent removed", "agent_id", int(a.id), "agent", a.wire.Name)
	return nil, nil
}

// agentUpdate takes the progress of a self-update (§10.1).
func (s *Server) agentUpdate(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.agentOf(c)
	if err != nil {
		return nil, err
	}
	if a.id != c.who.agent {
		return nil, accessDenied("Agent %s may not report the update of agent %s.", c.who.agent, a.id)
	}
	return nil, refuse(http.StatusNotFound, "TaskAgentPendingUpdateNotFoundException", "Agent %s has no pending update.", a.id)
}

func (s *Server) getPackage(c *call) (any, error) {
	return nil, refuse(http.StatusNotFound, "PackageNotFoundException", "There is no package %s for %s.", c.v("packageType"), c.v("platform"))
}

// publicKey reads and checks the key of a registration (§2.2, A5).
func (w agentWire) publicKey() (*rsa.PublicKey, error) {
	if w.Authorization == nil || w.Authorization.PublicKey == nil {
		return nil, badRequest("The agent has no authorization.publicKey (§2.5).")
	}
	modulus, err := base64.StdEncoding.DecodeString(w.Authorization.PublicKey.Modulus)
	if err != nil || len(modulus) == 0 || modulus[0] == 0 {
		return nil, badRequest("The modulus is not base64 of an unsigned big-endian number without padding (§2.2).")
	}
	exponent, err := base64.StdEncoding.DecodeString(w.Authorization.PublicKey.Exponent)
	if err != nil || len(exponent) == 0 || len(exponent) > 4 || exponent[0] == 0 {
		return nil, badRequest("The exponent is not base64 of an unsigned big-endian number without padding (§2.2).")
	}
	n, e := new(big.Int).SetBytes(modulus), new(big.Int).SetBytes(exponent)
	// More bits than anybody uses would make encrypting a session key take minutes.
	if bits := n.BitLen(); bits < 2048 || bits > 16384 {
		return nil, badRequest("The key has %d bits, want at least 2048 and at most 16384 (§3.1).", bits)
	}
	if n.Bit(0) == 0 || e.Bit(0) == 0 || e.Int64() < 3 || e.Int64() > math.MaxInt32 {
		return nil, badRequest("The modulus or the exponent is none that RSA has (§2.2).")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

// base returns the address under which the caller reached this server.
func base(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}
