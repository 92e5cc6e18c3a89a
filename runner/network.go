package runner

import (
	"regexp"
	"strings"

	"github.com/dockless-ci/dockless/internal/mask"
)

// TaskNetwork is what downloaded tasks are told of the way to servers (protocol
// §1.10). The zero value tells nothing: they go straight to them, and trust what
// Node trusts.
type TaskNetwork struct {
	ProxyURL      string // without user and password
	ProxyUser     string
	ProxyPassword mask.Secret
	NoProxy       string // hosts that are reached without, as in NO_PROXY
	CAFile        string // PEM file of further certificate authorities
}

// variables returns the variables that the task library reads, but for the
// password, which is a secret one.
func (t TaskNetwork) variables() [][2]string {
	var pairs [][2]string
	if t.ProxyURL != "" {
		pairs = append(pairs,
			[2]string{"agent.proxyurl", t.ProxyURL},
			[2]string{"agent.proxybypasslist", plainJSON(bypass(t.NoProxy))})
		if t.ProxyUser != "" {
			pairs = append(pairs, [2]string{"agent.proxyusername", t.ProxyUser})
		}
	}
	if t.CAFile != "" {
		pairs = append(pairs, [2]string{"agent.cainfo", t.CAFile})
	}
	return pairs
}

// bypass turns the hosts of NO_PROXY into the regular expressions that tasks match
// with an address. A host stands for everything below it, too.
func bypass(noProxy string) []string {
	patterns := []string{}
	for host := range strings.FieldsFuncSeq(noProxy, func(r rune) bool { return r == ',' || r == ';' || r == ' ' }) {
		if host == "*" {
			patterns = append(patterns, ".*")
			continue
		}
		host = strings.TrimPrefix(strings.TrimPrefix(host, "*"), ".")
		patterns = append(patterns, `^(.*://)?([^/]*\.)?`+regexp.QuoteMeta(host)+`(:\d+)?(/.*)?$`)
	}
	return patterns
}
