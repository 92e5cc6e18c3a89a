package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/dockless-ci/dockless/internal/job"
)

// saved is what outlives a server: who is registered, and the key with which
// tokens were signed, so that an agent keeps working across a restart. Sessions
// and jobs do not outlive it, as if the service had dropped them.
type saved struct {
	Instance    string        `json:"instance"`
	Signing     []byte        `json:"signing"`
	NextAgent   agentID       `json:"nextAgent"`
	NextMessage int64         `json:"nextMessage"`
	NextRequest job.RequestID `json:"nextRequest"`
	NextRun     int           `json:"nextRun"`
	Agents      []savedAgent  `json:"agents"`
	Renamed     []renamedPool `json:"renamedPools,omitempty"`
}

// renamedPool is a pool that has another name than the settings gave it.
type renamedPool struct {
	Configured string `json:"configured"`
	Name       string `json:"name"`
}

type savedAgent struct {
	Pool             string    `json:"pool"`
	ClientID         string    `json:"clientId"`
	AuthorizationURL string    `json:"authorizationUrl"`
	Wire             agentWire `json:"agent"`
}

// numbersAhead is how far the counters jump after a restart: ids that were
// given since the last save must not be given again.
const numbersAhead = 1000

func (s *Server) statePath() string { return filepath.Join(s.dir, "server.json") }

// save writes the registrations when they have changed. A running server does
// not need the file, so [Server.Run] saves once in a while and logs a failure.
func (s *Server) save() error {
	if s.ownsDir {
		return nil // nobody will read it
	}
	// The clock and Close may save at once; an older state must not replace a
	// newer one, nor one take the other's file away.
	s.saving.Lock()
	defer s.saving.Unlock()
	text, err := s.unsavedState()
	if err != nil || text == nil {
		return err
	}
	next := s.statePath() + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("saving registrations: %w", err)
	}
	if err := os.Rename(next, s.statePath()); err != nil {
		return fmt.Errorf("saving registrations: %w", err)
	}
	return nil
}

// unsavedState returns the registrations as JSON, nil when they are saved.
func (s *Server) unsavedState() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unsaved {
		return nil, nil
	}
	s.unsaved = false
	out := saved{
		Instance: s.instance, Signing: s.signing, NextAgent: s.nextAgent, NextMessage: s.nextMessage,
		NextRequest: s.nextRequest, NextRun: s.nextRun,
	}
	for _, p := range s.pools {
		if p.name != p.configured {
			out.Renamed = append(out.Renamed, renamedPool{p.configured, p.name})
		}
		for _, a := range p.members {
			out.Agents = append(out.Agents, savedAgent{Pool: p.name, ClientID: a.clientID, AuthorizationURL: a.authorizationURL, Wire: a.wire})
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("saving registrations: %w", err)
	}
	return text, nil
}

// load reads what an earlier server saved. Agents of pools that are gone are
// forgotten.
func (s *Server) load() error {
	text, err := os.ReadFile(s.statePath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var in saved
	if err == nil {
		err = json.Unmarshal(text, &in)
	}
	if err != nil {
		return fmt.Errorf("reading the emulator's state %s: %w", s.statePath(), err)
	}
	s.instance, s.signing, s.nextAgent = in.Instance, in.Signing, in.NextAgent
	s.nextMessage, s.nextRequest, s.nextRun = in.NextMessage+numbersAhead, in.NextRequest+numbersAhead, in.NextRun+numbersAhead
	for _, r := range in.Renamed {
		i := slices.IndexFunc(s.pools, func(p *pool) bool { return p.configured == r.Configured })
		if i >= 0 && s.poolNamed(r.Name) == nil { // settings that took the name meanwhile win
			s.pools[i].name = r.Name
		}
	}
	for _, sa := range in.Agents {
		p := s.poolNamed(sa.Pool)
		if p == nil {
			continue
		}
		key, err := sa.Wire.publicKey()
		if err != nil {
			return fmt.Errorf("reading the emulator's state %s: agent %s: %w", s.statePath(), sa.Wire.Name, err)
		}
		a := &agent{
			id: sa.Wire.ID, pool: p, wire: sa.Wire, clientID: sa.ClientID, authorizationURL: sa.AuthorizationURL,
			key: key, wake: make(chan struct{}),
		}
		a.statusChanges(s.now()) // its session ended with the earlier server
		s.join(a)
	}
	return nil
}
