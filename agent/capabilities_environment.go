package agent

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxCapability is the length from which on the value of a variable is no
// capability (protocol §2.7).
const maxCapability = 1024

// ignoreVariable names variables that are no capabilities, comma-separated
// (protocol §2.7).
const ignoreVariable = "VSO_AGENT_IGNORE"

// ignoredVariables are those that protocol §2.7 leaves out, in lower case.
var ignoredVariables = []string{
	"comp_wordbreaks", "ls_colors", "term", "term_program", "term_program_version", "shlvl", "psmodulepath", "system_accesstoken",
}

// environmentCapabilities returns the variables that jobs may demand: those of
// protocol §2.7 without the ones that seem to hold a secret. Everybody who may
// look at a pool sees its agents' capabilities, and a pod's environment holds
// the passwords of whatever runs in it; a demand on one of those is nothing that
// a pipeline could mean.
func environmentCapabilities(environment []string) map[string]string {
	ignored := slices.Clone(ignoredVariables)
	for _, variable := range environment {
		if name, list, _ := strings.Cut(variable, "="); strings.EqualFold(name, ignoreVariable) {
			for entry := range strings.SplitSeq(strings.ToLower(list), ",") {
				ignored = append(ignored, strings.TrimSpace(entry))
			}
		}
	}
	found := make(map[string]string, len(environment))
	for _, variable := range environment {
		name, value, ok := strings.Cut(variable, "=")
		switch {
		case !ok, strings.TrimSpace(name) == "":
		case utf8.RuneCountInString(value) >= maxCapability:
		case slices.Contains(ignored, strings.ToLower(name)):
		case namesSecret(name), holdsSecret(name, value):
		default:
			found[name] = value
		}
	}
	return found
}

// secretWords say that a variable holds a secret when they are a word of its
// name. PAT is a personal access token, SAS a shared access signature.
var secretWords = []string{
	"token", "secret", "password", "passwd", "pass", "passphrase", "pwd", "key", "apikey", "accesskey", "privatekey",
	"credential", "cred", "creds", "connectionstring", "connstr", "sas", "pat", "jwt", "cookie", "bearer",
	"auth", "authorization", "webhook", // SSH_AUTH_SOCK goes with them, which no pipeline means
}

// secretPhrases do so with more than one word.
var secretPhrases = []string{"_connection_string_", "_conn_str_", "_auth_config_"}

// secretEndings do so at the end of a word that was written as one, as in
// PGPASSWORD. They end hardly an innocent word, as "key" ends "monkey"; a bypass
// and a compass are no loss.
var secretEndings = []string{"token", "secret", "password", "passwd", "passphrase", "pass", "apikey", "credential"}

// namesSecret reports whether a variable's name says that it holds a secret. A
// plural and a number at the end of a word make no difference. PWD alone is a
// directory, and so is OLDPWD; MYSQL_PWD is none.
func namesSecret(name string) bool {
	words := wordsOf(name)
	if len(words) == 1 && words[0] == "pwd" {
		return false
	}
	for _, word := range words {
		if slices.Contains(secretWords, word) {
			return true
		}
		for _, ending := range secretEndings {
			if strings.HasSuffix(word, ending) {
				return true
			}
		}
	}
	joined := "_" + strings.Join(words, "_") + "_"
	return slices.ContainsFunc(secretPhrases, func(p string) bool { return strings.Contains(joined, p) })
}

// wordsOf splits a name at everything but letters and digits, and where a
// capital follows a small letter. The words come in lower case and without the
// number or the s of a plural at their end.
func wordsOf(name string) []string {
	var spaced strings.Builder
	last := ' '
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			r = ' '
		case unicode.IsUpper(r) && unicode.IsLower(last):
			spaced.WriteByte(' ')
		}
		spaced.WriteRune(r)
		last = r
	}
	words := strings.Fields(strings.ToLower(spaced.String()))
	for i, word := range words {
		word = strings.TrimRight(word, "0123456789")
		if word != "sas" && !strings.HasSuffix(word, "ss") {
			word = strings.TrimSuffix(word, "s")
		}
		words[i] = word
	}
	return words
}

var (
	// userInfo is the user and password of an address.
	userInfo = regexp.MustCompile(`://[^/?#\s]*@`)
	// proxyUserInfo is that of a proxy, which may be written without a scheme.
	proxyUserInfo = regexp.MustCompile(`^[^/?#\s]*@`)
	// keyBlock begins a private key in PEM.
	keyBlock = regexp.MustCompile(`PRIVATE KEY-----`)
	// secretForm is what tokens look like: a web token, those of well-known services,
	// and the value of an Authorization header.
	secretForm = regexp.MustCompile(`eyJ[\w-]+\.[\w-]+\.|\bgh[pousr]_\w{20}|\bgithub_pat_\w|\bxox[abeoprs]-\w|^(?i:basic|bearer) \S`)
	// secretPair is one member of a connection string or of a signed address.
	secretPair = regexp.MustCompile(`(?i)(password|passwd|pwd|secret|token|accountkey|accesskey|sharedaccesskey|sharedaccesssignature|[?&]sig)\s*=`)
)

// holdsSecret reports whether a value has the form of a secret, whatever its
// variable is called.
func holdsSecret(name, value string) bool {
	return userInfo.MatchString(value) || keyBlock.MatchString(value) ||
		secretPair.MatchString(value) || secretForm.MatchString(value) ||
		strings.HasSuffix(strings.ToLower(name), "proxy") && proxyUserInfo.MatchString(value)
}
