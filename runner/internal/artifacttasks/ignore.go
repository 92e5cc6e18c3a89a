package artifacttasks

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"
)

// ignoreFile is a list of what is not published, in the syntax of .gitignore.
const ignoreFile = ".artifactignore"

// maxIgnore bounds the list, in bytes, and maxRules its rules, each of which is
// compared with every file: a longer one is some other file.
const (
	maxIgnore = 256 << 10
	maxRules  = 2000
)

// ignoring is a parsed list: the last rule that fits decides.
type ignoring []ignoreRule

type ignoreRule struct {
	path    *regexp.Regexp
	dirs    bool // fits directories only, and so what is in them
	include bool
}

// parseIgnore reads a list. What git would not understand never fits anything.
func parseIgnore(from io.Reader) (ignoring, error) {
	var rules ignoring
	lines := bufio.NewScanner(io.LimitReader(from, maxIgnore+1))
	lines.Buffer(nil, maxIgnore)
	total := 0
	for lines.Scan() {
		if total += len(lines.Bytes()) + 1; total > maxIgnore {
			return nil, fmt.Errorf("%s is larger than %d bytes", ignoreFile, maxIgnore)
		}
		if r, ok := parseIgnoreRule(strings.TrimPrefix(lines.Text(), "\xef\xbb\xbf")); ok {
			rules = append(rules, r)
		}
		if len(rules) > maxRules {
			return nil, fmt.Errorf("%s has more than %d rules", ignoreFile, maxRules)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading %s: %w", ignoreFile, err)
	}
	return rules, nil
}

func parseIgnoreRule(line string) (r ignoreRule, ok bool) {
	line = strings.TrimRight(line, "\r")
	for strings.HasSuffix(line, " ") && !strings.HasSuffix(line, `\ `) {
		line = line[:len(line)-1]
	}
	if line == "" || line[0] == '#' {
		return r, false
	}
	if line[0] == '!' {
		r.include, line = true, line[1:]
	}
	if strings.HasSuffix(line, "/") {
		r.dirs, line = true, strings.TrimRight(line, "/")
	}
	anchored := strings.Contains(line, "/") && !strings.HasPrefix(line, "**/")
	line = strings.TrimPrefix(strings.TrimPrefix(line, "**/"), "/")
	if line == "" {
		return r, false
	}
	expression := ignoreExpression(line)
	if !anchored {
		expression = "(?:.*/)?" + expression
	}
	compiled, err := regexp.Compile("^" + expression + "$")
	if err != nil {
		return r, false
	}
	r.path = compiled
	return r, true
}

// ignoreExpression is a pattern as a regular expression.
func ignoreExpression(pattern string) string {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		rest := pattern[i:]
		switch {
		case rest == "/**":
			b.WriteString("/.+")
			i += 2
		case strings.HasPrefix(rest, "/**/"):
			b.WriteString("/(?:.*/)?")
			i += 3
		case rest[0] == '*':
			b.WriteString("[^/]*")
		case rest[0] == '?':
			b.WriteString("[^/]")
		case rest[0] == '\\' && len(rest) > 1:
			i++
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		case rest[0] == '[':
			class, length := ignoreClass(rest)
			b.WriteString(class)
			i += length - 1
		default:
			b.WriteString(regexp.QuoteMeta(rest[:1]))
		}
	}
	return b.String()
}

// ignoreClass returns the expression for the class that text begins with and how
// long the class is; a bracket that nothing closes stands for itself.
func ignoreClass(text string) (string, int) {
	start := 1
	if start < len(text) && (text[start] == '!' || text[start] == '^') {
		start++
	}
	end := strings.IndexByte(text[min(start+1, len(text)):], ']')
	if end < 0 {
		return regexp.QuoteMeta("["), 1
	}
	end += start + 1
	inner := strings.NewReplacer(`\`, `\\`, "[", `\[`, "^", `\^`, "/", "").Replace(text[start:end])
	if strings.HasPrefix(inner, "]") {
		inner = `\` + inner
	}
	if start == 2 {
		return "[^/" + inner + "]", end + 1
	}
	return "[" + inner + "]", end + 1
}

// ignores reports whether a file is left out: by a rule for it, or for a directory
// above it. As in git, nothing below a directory that is left out comes back.
func (l ignoring) ignores(file string) bool {
	for i, c := range file {
		if c == '/' && l.decide(file[:i], true) {
			return true
		}
	}
	return l.decide(file, false)
}

func (l ignoring) decide(name string, dir bool) bool {
	out := false
	for _, r := range l {
		if (dir || !r.dirs) && r.path.MatchString(name) {
			out = !r.include
		}
	}
	return out
}

// ignoresGit is what is left out without a list.
func ignoresGit(name string) bool {
	for part := range strings.SplitSeq(path.Clean(name), "/") {
		if part == ".git" {
			return true
		}
	}
	return false
}
