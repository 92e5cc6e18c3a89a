package emulator

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// pool is a named group of agents and the jobs that wait for one of them.
type pool struct {
	id         int
	name       string
	configured string // the name in [Config], which it has until it is renamed
	created    time.Time
	members    []*agent   // by id
	waiting    []*request // oldest first
}

// poolWire is a pool (§2.1).
type poolWire struct {
	ID         int                   `json:"id"`
	Name       string                `json:"name"`
	Scope      string                `json:"scope"`
	PoolType   string                `json:"poolType"`
	IsHosted   bool                  `json:"isHosted"`
	IsLegacy   bool                  `json:"isLegacy"`
	Size       int                   `json:"size"`
	AutoUpdate bool                  `json:"autoUpdate"`
	CreatedOn  job.Time              `json:"createdOn"`
	Properties map[string]typedValue `json:"properties"`
}

func (s *Server) poolWire(p *pool) poolWire {
	return poolWire{
		ID: p.id, Name: p.name, Scope: s.instance, PoolType: "automation", Size: len(p.members),
		CreatedOn: job.At(p.created), Properties: map[string]typedValue{},
	}
}

func (s *Server) getPools(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id := c.v("poolId"); id != "" {
		p, err := s.poolOf(c)
		if err != nil {
			return nil, err
		}
		return s.poolWire(p), nil
	}
	name, ids := c.q("poolName"), c.q("poolIds")
	if ids == "" {
		ids = c.q("poolID") // §11.1
	}
	var out []poolWire
	for _, p := range s.pools {
		known := c.who.sees(p) && (ids == "" || slices.Contains(strings.Split(ids, ","), strconv.Itoa(p.id)))
		if known && (name == "" || strings.EqualFold(name, p.name)) && !strings.EqualFold(c.q("poolType"), "deployment") {
			out = append(out, s.poolWire(p))
		}
	}
	return listOf(out), nil
}

// updatePool renames a pool. Its agents and jobs go by its id and notice nothing;
// what looks it up by name must find the new one.
func (s *Server) updatePool(c *call) (any, error) {
	var in struct {
		Name string `json:"name"`
	}
	if err := c.decode(&in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p, err := s.poolOf(c)
	if err != nil {
		return nil, err
	}
	if in.Name == "" {
		return nil, badRequest("The pool has no name.")
	}
	if other := s.poolNamed(in.Name); other != nil && other != p {
		return nil, refuse(http.StatusConflict, "TaskAgentPoolExistsException", "There is a pool %s already.", other.name)
	}
	s.log.Info("pool renamed", "pool_id", p.id, "from", p.name, "to", in.Name)
	p.name = in.Name
	s.unsaved = true
	return s.poolWire(p), nil
}

// poolNamed finds a pool by name, ignoring case; nil is none. The caller holds s.mu.
func (s *Server) poolNamed(name string) *pool {
	i := slices.IndexFunc(s.pools, func(p *pool) bool { return strings.EqualFold(p.name, name) })
	if i < 0 {
		return nil
	}
	return s.pools[i]
}

// poolOf finds the pool of a route. The caller holds s.mu.
func (s *Server) poolOf(c *call) (*pool, error) {
	id, err := strconv.Atoi(c.v("poolId"))
	p := s.pool(id)
	if err != nil || p == nil {
		return nil, poolNotFound(c.v("poolId"))
	}
	return p, c.checkRole(p)
}
