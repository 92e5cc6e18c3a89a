package ado

import (
	"net/http"
	"net/url"
	"sync"
	"time"
)

const (
	// clockNoise is the difference that an answer's date cannot tell from none: it
	// has whole seconds and was written somewhere on the way.
	clockNoise = 2 * time.Second
	// clockTrip is the longest exchange whose date is believed: a held poll is
	// answered much later than it was sent.
	clockTrip = 5 * time.Second
	// clockWarning is a difference that an operator should hear of. Assertions are
	// valid for minutes and locks for longer, but the service accepts no assertion
	// from its own future, and people compare logs.
	clockWarning = 30 * time.Second
)

// Clock is the clocks of the servers that we speak with, as far as their answers
// tell (protocol §3.4): each host has its own. One is shared by all clients of an
// agent. Its zero value is ready and agrees with this machine's clock; a nil one
// always does. It is safe for concurrent use.
type Clock struct {
	mu     sync.Mutex
	hosts  map[string]time.Duration // a host's clock minus ours
	warned map[string]bool
}

// At returns the time at the host of an address.
func (c *Clock) At(address string) time.Time {
	u, err := url.Parse(address)
	if err != nil {
		return time.Now()
	}
	return time.Now().Add(c.ahead(u.Host))
}

// ahead returns how far a host's clock is ahead of this machine's; negative when
// it is behind, zero within the noise.
func (c *Clock) ahead(host string) time.Duration {
	if c == nil {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[host]
}

// observe learns from the date of a host's answer to a request that was sent at a
// time. It reports whether the difference became one to warn of.
func (c *Clock) observe(host string, sent time.Time, header http.Header) (warn bool) {
	if c == nil || header.Get("Age") != "" { // a cache's copy is as old as it is
		return false
	}
	date, err := http.ParseTime(header.Get("Date"))
	trip := time.Since(sent)
	if err != nil || trip > clockTrip {
		return false
	}
	// On average the date was written half a trip ago, and cut by half a second.
	return c.set(host, date.Add(time.Second/2).Sub(sent.Add(trip/2)), trip)
}

// set takes a difference over that was measured across a trip of that length.
func (c *Clock) set(host string, ahead, trip time.Duration) (warn bool) {
	if c == nil {
		return false
	}
	if ahead.Abs() < clockNoise+trip/2 {
		ahead = 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hosts == nil {
		c.hosts, c.warned = make(map[string]time.Duration), make(map[string]bool)
	}
	c.hosts[host] = ahead
	wrong := ahead.Abs() > clockWarning
	warn = wrong && !c.warned[host]
	c.warned[host] = wrong
	return warn
}
