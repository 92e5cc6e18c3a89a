package emulator

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/job"
)

// pool is a named group of agents and the jobs that wait for one of them.
type pool struct {
	id      int
	name    string
	created time.Time
	members []*agent   // by id
	waiting []*request // oldest first
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

func (s *Server) getPools(c *call) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wire := func(p *pool) poolWire {
		return poolWire{
			ID: p.id, Name: p.name, Scope: s.instance, PoolType: "automation", Size: len(p.members),
			CreatedOn: job.At(p.created), Properties: map[string]typedValue{},
		}
	}
	if id := c.v("poolId"); id != "" {
		p, err := s.poolOf(c)
		if err != nil {
			return nil, err
		}
		return wire(p), nil
	}
	name, ids := c.q("poolName"), c.q("poolIds")
	if ids == "" {
		ids = c.q("poolID") // §11.1
	}
	var out []poolWire
	for _, p := range s.pools {
		known := ids == "" || slices.Contains(strings.Split(ids, ","), strconv.Itoa(p.id))
		if known && (name == "" || strings.EqualFold(name, p.name)) && !strings.EqualFold(c.q("poolType"), "deployment") {
			out = append(out, wire(p))
		}
	}
	return listOf(out), nil
}

// poolOf finds the pool of a route. The caller holds s.mu.
func (s *Server) poolOf(c *call) (*pool, error) {
	id, err := strconv.Atoi(c.v("poolId"))
	p := s.pool(id)
	if err != nil || p == nil {
		return nil, poolNotFound(c.v("poolId"))
	}
	return p, nil
}
