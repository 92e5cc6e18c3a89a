package soak

import (
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/dockless-ci/dockless/internal/emulator"
)

// mischief is what happens to every n-th request, in turn. A lost lock costs a
// whole job, so it comes once in a round of twelve; what costs a retry comes
// more often.
var mischief = []emulator.Fault{
	{Kind: emulator.FaultStatus, Answer: emulator.FaultAnswer{Code: http.StatusServiceUnavailable}},
	{Kind: emulator.FaultReset},
	{Kind: emulator.FaultDelay, For: 300 * time.Millisecond},
	{Kind: emulator.FaultStatus, Answer: emulator.FaultAnswer{Code: http.StatusInternalServerError}},
	{Kind: emulator.FaultDrop},
	{Kind: emulator.FaultExpireSession},
	{Kind: emulator.FaultStatus, Answer: emulator.FaultAnswer{Code: http.StatusTooManyRequests, RetryAfter: time.Second}},
	{Kind: emulator.FaultReset},
	{Kind: emulator.FaultRevokeToken},
	{Kind: emulator.FaultStatus, Answer: emulator.FaultAnswer{Code: http.StatusBadGateway, After: true}},
	{Kind: emulator.FaultLoseLock},
	{Kind: emulator.FaultDelay, For: time.Second},
}

// faults is the emulator with a fault for every n-th request.
type faults struct {
	srv   *emulator.Server
	every int

	mu       sync.Mutex
	over     bool
	requests int
	hits     map[string]int // by kind
}

// ServeHTTP arms a fault for the request when its turn has come, and passes it on.
// Another request for the same may take the fault, which makes no difference.
func (f *faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.requests++
	if f.every > 0 && !f.over && f.requests%f.every == 0 {
		m := mischief[f.requests/f.every%len(mischief)]
		if m.Kind == emulator.FaultRevokeToken && !forgiven(r) {
			m = emulator.Fault{Kind: emulator.FaultReset}
		}
		m.Match, m.Count = r.Method+" ^"+regexp.QuoteMeta(r.URL.Path)+"$", 1
		if _, err := f.srv.Fail(m); err == nil {
			if f.hits == nil {
				f.hits = make(map[string]int)
			}
			f.hits[name(m)]++
		}
	}
	f.mu.Unlock()
	f.srv.ServeHTTP(w, r)
}

// forgiven reports whether a refused token may be followed by another. The
// registration credential is rightly refused for good, and so is a download: a
// job has one token. OPTIONS may be on the way to one.
func forgiven(r *http.Request) bool {
	return strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") && r.Method != http.MethodOptions && !strings.Contains(r.URL.Path, "/tasks/")
}

// end lets everything work again.
func (f *faults) end() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.srv.Heal()
}

// counts returns how many requests there were, and the faults by kind.
func (f *faults) counts() (requests int, hits map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests, maps.Clone(f.hits)
}

// name is what the table calls a fault.
func name(m emulator.Fault) string {
	switch {
	case m.Kind == emulator.FaultStatus && m.Answer.After:
		return http.StatusText(m.Answer.Code) + ", carried out"
	case m.Kind == emulator.FaultStatus:
		return http.StatusText(m.Answer.Code)
	}
	return string(m.Kind)
}
