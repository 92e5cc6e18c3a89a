// Package mounts knows under which path a file of the host is found in a
// container, and the other way round, for single paths and for all that stand in
// a text.
package mounts

import (
	"path"
	"slices"
	"strings"
)

// Mount is a directory that both sides see.
type Mount struct {
	Host, Inside string // absolute and clean
	ReadOnly     bool   // inside
}

// Table is what a container sees of the host. Its zero value is nothing.
type Table []Mount

// Inside returns text with every path of the host that is mounted replaced by
// where it is in the container.
func (t Table) Inside(text string) string {
	return t.replace(text, func(m Mount) (from, to string) { return m.Host, m.Inside })
}

// Outside returns text with every path of the container that is mounted replaced
// by where it is on the host.
func (t Table) Outside(text string) string {
	return t.replace(text, func(m Mount) (from, to string) { return m.Inside, m.Host })
}

// HostPath returns where a path of the container is on the host. It reports false
// for one that is not mounted. A path cannot lead out of its mount by dots; whether
// it does by links is for whoever opens it.
func (t Table) HostPath(inside string) (string, bool) {
	inside = path.Clean(inside)
	best, found := Mount{}, false
	for _, m := range t {
		if (inside == m.Inside || strings.HasPrefix(inside, m.Inside+"/")) && len(m.Inside) > len(best.Inside) {
			best, found = m, true
		}
	}
	if !found {
		return "", false
	}
	return best.Host + strings.TrimPrefix(inside, best.Inside), true
}

// Sees reports whether the container sees a path of the host.
func (t Table) Sees(host string) bool {
	return slices.ContainsFunc(t, func(m Mount) bool { return host == m.Host || strings.HasPrefix(host, m.Host+"/") })
}

// replace replaces whole paths from the left, the longest that fits first.
func (t Table) replace(text string, pair func(Mount) (from, to string)) string {
	var out strings.Builder
	at := 0 // up to where text has been written
	for i := 0; i < len(text); {
		if text[i] != '/' || !begins(text[:i]) {
			i++
			continue
		}
		best, replacement := "", ""
		for _, m := range t {
			from, to := pair(m)
			if len(from) > len(best) && strings.HasPrefix(text[i:], from) && after(text[i+len(from):]) {
				best, replacement = from, to
			}
		}
		if best == "" {
			i++
			continue
		}
		out.WriteString(text[at:i])
		out.WriteString(replacement)
		i += len(best)
		at = i
	}
	if at == 0 {
		return text
	}
	out.WriteString(text[at:])
	return out.String()
}

// begins reports whether a path may begin after text. After most it is the rest of
// a longer one: a/b, ./b, ~/b, ${HOME}/b, $(pwd)/b. After -I it is not, nor after
// file://.
func begins(text string) bool {
	if text == "" || strings.HasSuffix(text, "file://") {
		return true
	}
	end := len(text) - 1
	switch c := text[end]; {
	case c == '/', c == '~', c == '}', c == ')':
		return false
	case !name(c):
		return true
	}
	return end > 0 && text[end-1] == '-' && (end == 1 || !name(text[end-2]) && text[end-2] != '/')
}

// after reports whether a path may end before rest.
func after(rest string) bool { return rest == "" || rest[0] == '/' || !name(rest[0]) }

// name reports whether c is likely to be part of the name of a file.
func name(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.' || c >= 0x80
}
