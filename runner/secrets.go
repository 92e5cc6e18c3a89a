package runner

import (
	"encoding/base64"
	"fmt"
	"maps"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/dockless-ci/dockless/internal/job"
)

// shownParameters are the parameters of service connections that are no
// secrets (protocol §8.11), in lower case.
var shownParameters = map[string]bool{
	"role": true, "scope": true, "tenantid": true, "issuedat": true, "expiresat": true, "audience": true,
	"authenticationtype": true, "authorizationtype": true, "accesstokentype": true,
	"accesstokenfetchingmethod": true, "usewindowssecurity": true, "unsecured": true,
	"oauthaccesstokenissupplied": true, "completecallbackpayload": true, "acceptuntrustedcertificates": true,
}

// shortest returns the length below which a secret is not masked, which an
// operator may set up to 6 (protocol §8.11).
func shortest(c Config) int {
	text, _ := c.environ("AZP_IGNORE_SECRETS_SHORTER_THAN")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return min(max(n, 0), 6)
}

// tooShort warns of a secret that is in ordinary text all the time. It names
// where the secret comes from, not the value.
func tooShort(secret string) string {
	return secret + " has fewer than four characters; everything that looks like it is hidden in the logs. " +
		"With AZP_IGNORE_SECRETS_SHORTER_THAN=4 in its environment the agent leaves such values alone."
}

// tooMany warns that not every spelling of a secret is hidden any more.
func tooMany(secret string) string {
	return secret + " is hidden as it is and line by line only, not in every encoding, and so are all after it: " +
		"the secrets of this job are so large that hiding more forms of them would take too much memory."
}

// registerSecrets adds every secret of the message to the masks, before
// anything is written anywhere. It returns what is wrong with mask hints, and
// which secrets are too short.
func (x *execution) registerSecrets() []string {
	var problems []string
	add := func(value, format string, names ...any) {
		added := x.masks.Add(value)
		if added.Short {
			problems = append(problems, tooShort(fmt.Sprintf(format, names...)))
		}
		if added.Partial && !x.full.Swap(true) {
			problems = append(problems, tooMany(fmt.Sprintf(format, names...)))
		}
	}
	for _, s := range x.cfg.Secrets {
		add(s.Reveal(), "A secret in the settings of the agent")
	}
	for _, name := range slices.Sorted(maps.Keys(x.m.Variables)) {
		if v := x.m.Variables[name]; v.IsSecret {
			add(v.Value, "Secret variable %s", name)
		}
	}
	for _, e := range x.m.Resources.Endpoints {
		for _, name := range slices.Sorted(maps.Keys(e.Authorization.Parameters)) {
			if !shownParameters[strings.ToLower(name)] {
				add(e.Authorization.Parameters[name], "Parameter %s of service connection %s", name, e.Name)
			}
		}
		if user, password, ok := basicCredentials(e); ok {
			x.masks.Add(base64.StdEncoding.EncodeToString([]byte(user + ":" + password)))
		}
	}
	for _, f := range x.m.Resources.SecureFiles {
		x.masks.Add(f.Ticket)
	}
	for i, h := range x.m.Mask {
		if !strings.EqualFold(h.Type, "regex") {
			problems = append(problems, fmt.Sprintf("Mask hint %d is of a type that is not known and was ignored.", i+1))
			continue
		}
		if text, ok := onlyMatch(h.Value); ok {
			add(text, "The text of mask hint %d", i+1)
		}
		if err := x.addPattern(h.Value); err != nil {
			problems = append(problems, fmt.Sprintf("Mask hint %d is no regular expression this agent understands; only its text is masked.", i+1))
		}
	}
	return problems
}

// addPattern masks what expr matches, and its text. The service sends every
// secret as an expression that matches nothing but itself; such a one becomes a
// value, because a value is found much faster than an expression.
func (x *execution) addPattern(expr string) error {
	x.masks.Add(expr)
	if text, ok := onlyMatch(expr); ok {
		x.masks.Add(text)
		return nil
	}
	err := x.masks.AddPattern(expr)
	if err != nil {
		x.masks.Add(unescapePattern(expr))
	}
	return err
}

// onlyMatch returns the only text that expr matches, if there is just one.
func onlyMatch(expr string) (string, bool) {
	parsed, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return "", false
	}
	return literal(parsed.Simplify())
}

// literal returns the only text that parsed matches, if there is just one.
func literal(parsed *syntax.Regexp) (string, bool) {
	switch {
	case parsed.Op == syntax.OpLiteral && parsed.Flags&syntax.FoldCase == 0:
		return string(parsed.Rune), true
	case parsed.Op == syntax.OpConcat:
		var all strings.Builder
		for _, sub := range parsed.Sub {
			part, ok := literal(sub)
			if !ok {
				return "", false
			}
			all.WriteString(part)
		}
		return all.String(), true
	}
	return "", false
}

var escaped = regexp.MustCompile(`\\(.)`)

// unescapePattern guesses the text behind an escaped expression.
func unescapePattern(expr string) string { return escaped.ReplaceAllString(expr, "$1") }

// basicCredentials returns the user and password with which e is entered over
// HTTP (protocol §8.2).
func basicCredentials(e job.Endpoint) (user, password string, ok bool) {
	parameter := func(name string) string { v, _ := job.Lookup(e.Authorization.Parameters, name); return v }
	switch strings.ToLower(e.Authorization.Scheme) {
	case "oauth":
		user, password = "OAuth", parameter("AccessToken")
	case "personalaccesstoken", "installationtoken":
		user, password = "x-access-token", parameter("AccessToken")
		if strings.EqualFold(e.Authorization.Scheme, "PersonalAccessToken") {
			user = "PersonalAccessToken"
		}
	case "token":
		user, password = "x-access-token", parameter("AccessToken")
		if password == "" {
			user, password = "Token", parameter("ApiToken")
		}
	case "usernamepassword":
		user, password = parameter("Username"), parameter("Password")
	case "serviceprincipal":
		user, password = parameter("ServicePrincipalId"), parameter("ServicePrincipalKey")
	}
	return user, password, password != ""
}
