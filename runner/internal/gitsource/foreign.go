package gitsource

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// one is one setting of a configuration.
type one struct {
	section, sub, key string // section and key in lower case
	named             bool   // the section has a sub, which may be empty
	value             string // as git reads it
}

// name is what can be told of a setting: a sub can be an address with a password.
func (o one) name() string {
	if o.named {
		return o.section + ".*." + o.key
	}
	return o.section + "." + o.key
}

// The lines that git writes. It reads others as well, which no checkout leaves.
var (
	sectionLine = regexp.MustCompile(`^\[([A-Za-z0-9-]+)(?: "((?:[^"\\\x00]|\\["\\])*)")?\]$`)
	settingLine = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9-]*)(?: *= *([^\x00\r]*))?$`)
)

// usual are the settings that git, git-lfs and this package write in a checkout. None
// makes git start a program or talk to another server. To those with a value that is
// given here, no other value is ours.
var usual = map[string]string{
	"core.repositoryformatversion": "", "core.filemode": "", "core.bare": "", "core.logallrefupdates": "",
	"core.symlinks": "", "core.ignorecase": "", "core.precomposeunicode": "",
	"core.sparsecheckout": "", "core.sparsecheckoutcone": "", "index.sparse": "",
	"extensions.partialclone": "", "extensions.worktreeconfig": "", "extensions.objectformat": "", "extensions.refstorage": "",
	"gc.auto": "", "http.version": "",
	"remote.*.url": "", "remote.*.fetch": "", "remote.*.promisor": "", "remote.*.partialclonefilter": "",
	"branch.*.remote": "origin", "branch.*.merge": "",
	"submodule.*.url": "", "submodule.*.active": "",
	"lfs.repositoryformatversion": "", "lfs.*.access": "",
	"filter.*.clean": smudging["filter.lfs.clean"], "filter.*.smudge": smudging["filter.lfs.smudge"],
	"filter.*.process": smudging["filter.lfs.process"], "filter.*.required": "true",
}

// ours reports whether the setting is one of a checkout.
func (o one) ours() bool {
	value, ok := usual[o.name()]
	switch {
	case !ok, value != "" && value != o.value:
		return false
	case o.section == "remote":
		return o.sub == "origin"
	case o.section == "filter":
		return o.sub == "lfs"
	}
	return true
}

// onlyOurs returns the text of a configuration without the settings that no checkout
// makes, and their names. also is the name of one more that one may make. An error says
// that the repository is not to be used: the text is not what git writes, a setting is
// there twice, of which git may take another one than we, or it depends on one that we
// do not know.
func onlyOurs(data []byte, also string) (kept []byte, foreign []string, err error) {
	var out bytes.Buffer
	var now one
	inside, seen := false, make(map[one]bool)
	number := 0
	for line := range bytes.Lines(data) {
		number++
		text := strings.Trim(string(line), " \t\n")
		if text == "" || text[0] == '#' || text[0] == ';' {
			out.Write(line)
			continue
		}
		if m := sectionLine.FindStringSubmatch(text); m != nil {
			now = one{section: strings.ToLower(m[1]), sub: m[2], named: strings.Contains(text, `"`)}
			inside = true
			out.Write(line)
			continue
		}
		m := settingLine.FindStringSubmatch(text)
		if m == nil || !inside || strings.HasSuffix(text, `\`) {
			return nil, nil, fmt.Errorf("line %d of its configuration is not as git writes it", number)
		}
		now.key, now.value = strings.ToLower(m[1]), "true"
		if strings.Contains(text, "=") {
			now.value = unquote(m[2])
		}
		if !now.ours() && now.name() != also {
			if now.section == "extensions" {
				return nil, nil, fmt.Errorf("it has the extension %s", now.key)
			}
			if !slices.Contains(foreign, now.name()) {
				foreign = append(foreign, now.name())
			}
			continue
		}
		id := now
		id.value = ""
		if seen[id] {
			return nil, nil, fmt.Errorf("its configuration has %s twice", now.name())
		}
		seen[id] = true
		out.Write(line)
	}
	return out.Bytes(), foreign, nil
}
