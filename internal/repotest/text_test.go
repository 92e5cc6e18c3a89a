package repotest

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// machinePath finds paths that exist on one person's machine only.
var machinePath = regexp.MustCompile(`(?m)(/home/[a-z][a-z0-9_-]*/(go|src|work|dev)\b|/Users/[A-Za-z]+/|/root/(go|src|work|\.cache)\b)`)

func TestNoFileNamesAPathOfOneMachine(t *testing.T) {
	r := repo(t)
	texts := maps.Clone(r.text)
	for _, f := range r.gofile {
		texts[f.path] = string(f.text)
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if within(name, "internal/repotest") {
			continue
		}
		for _, at := range machinePath.FindAllStringIndex(texts[name], -1) {
			line := 1 + strings.Count(texts[name][:at[0]], "\n")
			t.Errorf("%s:%d: the path %q", name, line, texts[name][at[0]:at[1]])
		}
	}
}

var (
	inlineLink    = regexp.MustCompile(`\]\(<?([^)<>\s]+)>?(?:\s+"[^"]*")?\)`)
	referenceLink = regexp.MustCompile(`(?m)^\s*\[[^\]^]+\]:\s+<?(\S+?)>?(?:\s|$)`)
	codeFence     = regexp.MustCompile("(?ms)^[ \t]*(```|~~~).*?^[ \t]*(```|~~~)[ \t]*$")
	codeSpan      = regexp.MustCompile("`[^`\n]*`")
	heading       = regexp.MustCompile(`(?m)^#{1,6}\s+(.+?)\s*#*$`)
	namedAnchor   = regexp.MustCompile(`<a (?:id|name)="([^"]+)"`)
	notInAnchor   = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
)

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	r := repo(t)
	for _, name := range slices.Sorted(maps.Keys(r.text)) {
		if path.Ext(name) != ".md" || strings.Contains(name, "testdata/") {
			continue
		}
		text := codeSpan.ReplaceAllString(codeFence.ReplaceAllString(r.text[name], ""), "")
		links := append(inlineLink.FindAllStringSubmatch(text, -1), referenceLink.FindAllStringSubmatch(text, -1)...)
		for _, link := range links {
			if why := r.broken(name, link[1]); why != "" {
				t.Errorf("%s: link to %s: %s", name, link[1], why)
			}
		}
	}
}

// broken says why a link in document name leads nowhere, or "". Links to other
// hosts are taken on trust: the tests need no network.
func (r *repository) broken(name, link string) string {
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return ""
	}
	file, anchor, _ := strings.Cut(link, "#")
	target := name
	if file != "" {
		target = path.Join(path.Dir(name), file)
		if strings.HasPrefix(target, "..") || strings.HasPrefix(file, "/") {
			return "it leaves the repository"
		}
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(target))); err != nil {
			return "there is no such file"
		}
	}
	if anchor == "" || path.Ext(target) != ".md" {
		return ""
	}
	if !slices.Contains(anchors(r.text[target]), anchor) {
		return "there is no such heading"
	}
	return ""
}

// anchors are the names of a document's headings as code hosts write them.
func anchors(text string) []string {
	text = codeFence.ReplaceAllString(text, "")
	var names []string
	seen := make(map[string]int)
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		name := notInAnchor.ReplaceAllString(strings.ToLower(match[1]), "")
		name = strings.ReplaceAll(name, " ", "-")
		if n := seen[name]; n > 0 {
			names = append(names, name+"-"+string(rune('0'+n)))
		} else {
			names = append(names, name)
		}
		seen[name]++
	}
	for _, match := range namedAnchor.FindAllStringSubmatch(text, -1) {
		names = append(names, match[1])
	}
	return names
}

func TestBrokenLinksAreNoticed(t *testing.T) {
	r := &repository{text: map[string]string{
		"internal/a.md": "# The `first` one\n## Twice\n## Twice\n```\n# not this\n```\n<a id=\"here\"></a>",
		"go.mod":        "",
	}}
	for link, want := range map[string]string{
		"#the-first-one":        "",
		"#twice-1":              "",
		"#here":                 "",
		"#not-this":             "there is no such heading",
		"../go.mod":             "",
		"../go.mod#L3":          "",
		"../none.md":            "there is no such file",
		"../../else":            "it leaves the repository",
		"/etc/passwd":           "it leaves the repository",
		"https://go.dev/#there": "",
	} {
		if got := r.broken("internal/a.md", link); got != want {
			t.Errorf("link to %s: %q, want %q", link, got, want)
		}
	}
}
