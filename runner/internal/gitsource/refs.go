package gitsource

import (
	"bytes"
	"strings"
)

// ours reports whether a mirror keeps ref.
func ours(ref string) bool {
	for _, prefix := range []string{"refs/heads/", "refs/tags/"} {
		if name, ok := strings.CutPrefix(ref, prefix); ok {
			return name != ""
		}
	}
	return false
}

// onlyRefs returns the branches and tags of a packed-refs file, one line each, and
// nothing else of it: neither comments nor what tags point to, for git finds that
// out itself when there is no header that promises it.
func onlyRefs(data []byte) []byte {
	var out []byte
	for line := range bytes.Lines(data) {
		id, ref, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
		if !ok || len(id) != 40 || strings.Trim(id, "0123456789abcdef") != "" || !ours(ref) || strings.ContainsFunc(ref, unnameable) {
			continue
		}
		out = append(out, id+" "+ref+"\n"...)
	}
	return out
}

// unnameable reports whether git refuses r in the name of a ref.
func unnameable(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("~^:?*[\\", r) }
