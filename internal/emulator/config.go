package emulator

import (
	"errors"
	"fmt"
	"time"

	"github.com/dockless-ci/dockless/internal/mask"
	"github.com/dockless-ci/dockless/internal/statuspage"
)

// Config says which pools there are and how patient the server is. Take
// [Defaults] and change what differs; a zero duration fails [Config.Validate]
// unless its comment says otherwise.
type Config struct {
	Pools    []string    // names of the pools, at least one
	PAT      mask.Secret // the personal access token that opens everything
	Tokens   []Token     // further ones, that open less
	StateDir string      // registrations, logs and attachments; empty: a temporary directory that Close removes

	PollHold      time.Duration // how long a message poll is held; zero answers at once
	LockDuration  time.Duration // how far ahead a renewal moves a request's lock
	LockGrace     time.Duration // how long after its lock expired a job is abandoned; zero: at once
	SessionExpiry time.Duration // how long a session lives that nobody polls
	TokenLifetime time.Duration // how long an agent token is valid
	CancelTimeout time.Duration // time for graceful exit named in a cancellation message

	// AdminTokens reports whether a bearer token belongs to an administrator, as
	// Microsoft Entra's do (§1.11); nil: none does. It is called concurrently.
	AdminTokens func(token string) bool

	Status  statuspage.Config // who sees the status page; the zero value is nobody
	Version string            // of this program, for that page

	PlainMessages bool         // sessions get no key and messages are readable, for debugging
	DeletedAgent  DeletedAgent // what an agent is told that was removed
}

// DeletedAgent is how calls are refused that carry the token of an agent that was
// removed. The protocol document leaves open which of the two the service says
// (§1.8 has both); an agent ends in good order with one and as failed with the
// other (§5.6).
type DeletedAgent string

// The refusals of a removed agent.
const (
	DeletedRevoked  DeletedAgent = "revoked"   // 403 TaskAgentAccessTokenExpiredException
	DeletedNotFound DeletedAgent = "not-found" // 404 TaskAgentNotFoundException
)

// Defaults returns the settings of a server that behaves like the service, with
// the pool "Default" and without a PAT.
func Defaults() Config {
	return Config{
		Pools:         []string{"Default"},
		PollHold:      50 * time.Second, // §5.1
		LockDuration:  10 * time.Minute, // §7.1
		LockGrace:     5 * time.Minute,  // §7.1: an agent tries for five minutes longer than its lock
		SessionExpiry: time.Minute,      // §4.4
		TokenLifetime: 50 * time.Minute, // §3.2, the 3000 s of its example
		CancelTimeout: 5 * time.Minute,  // §5.4, the 00:05:00 of its example
		DeletedAgent:  DeletedRevoked,
		Status:        statuspage.Config{Access: statuspage.Loopback},
	}
}

// Validate reports everything that is wrong with c.
func (c Config) Validate() error {
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if len(c.Pools) == 0 {
		problem("no pool is named")
	}
	seen := make(map[string]bool)
	for _, name := range c.Pools {
		if name == "" || seen[name] {
			problem("pool %q is empty or named twice", name)
		}
		seen[name] = true
	}
	if c.PAT.IsZero() {
		problem("the personal access token is empty")
	}
	for _, t := range c.Tokens {
		t.check(c, problem)
	}
	if c.DeletedAgent != DeletedRevoked && c.DeletedAgent != DeletedNotFound {
		problem("deleted agent is %q, want %s or %s", c.DeletedAgent, DeletedRevoked, DeletedNotFound)
	}
	if err := c.Status.Validate(); c.Status.Access != "" && err != nil {
		problem("status page: %w", err)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
		least time.Duration
	}{
		{"poll hold", c.PollHold, 0},
		{"lock duration", c.LockDuration, 1},
		{"lock grace", c.LockGrace, 0},
		{"session expiry", c.SessionExpiry, 1},
		{"token lifetime", c.TokenLifetime, time.Second}, // expires_in counts whole seconds
		{"cancel timeout", c.CancelTimeout, time.Second},
	} {
		if d.value < d.least {
			problem("%s is %s, want at least %s", d.name, d.value, d.least)
		}
	}
	return errors.Join(problems...)
}
