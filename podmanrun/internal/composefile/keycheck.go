package composefile

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// KeyError is a key of a compose file that cannot be honoured.
type KeyError struct {
	File         string
	Line, Column int    // counted from 1
	Key          string // path of the key, such as services.db.ipc
	Reason       string
}

func (e *KeyError) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s %s", e.File, e.Line, e.Column, e.Key, e.Reason)
}

// finding is a key that is not simply supported.
type finding struct {
	KeyError
	path    []string // Key, in its parts
	service string   // the service the key belongs to; empty for everything else
	verdict verdict
}

// keyCheck walks compose files beside compose-go, which knows no positions.
type keyCheck struct {
	findings []finding
	files    map[string]map[string]ast.Node // file → key path → the key's node
	extended map[string]map[string]bool     // file that is only extended → services taken from it
	reasons  map[string]string
}

func newKeyCheck() *keyCheck {
	return &keyCheck{
		files: make(map[string]map[string]ast.Node), extended: make(map[string]map[string]bool), reasons: reasons(),
	}
}

// addFile checks one file and the local files it includes or extends.
func (k *keyCheck) addFile(name string, content []byte) error {
	if _, seen := k.files[name]; seen {
		return nil
	}
	k.files[name] = make(map[string]ast.Node)
	file, err := parser.ParseBytes(content, 0)
	if err != nil {
		return syntaxError(name, err)
	}
	w := &keyWalk{check: k, file: name, anchors: make(map[string]ast.Node)}
	for _, doc := range file.Docs {
		ast.Walk(w, doc) // collects the anchors
	}
	for _, doc := range file.Docs {
		w.object(doc.Body, nil, composeKeys())
	}
	for _, link := range w.links {
		if err := k.follow(name, link); err != nil {
			return err
		}
	}
	return nil
}

// forget drops what was found at path, and below it, in the files before file, whose
// values there do not count. That no such key exists stays true.
func (k *keyCheck) forget(path []string, file string) {
	k.findings = slices.DeleteFunc(k.findings, func(f finding) bool {
		return f.File != file && f.verdict != unknown && len(f.path) >= len(path) && slices.Equal(f.path[:len(path)], path)
	})
}

// fileLink is a file that another one includes or extends.
type fileLink struct {
	path    string // empty is the same file
	service string // the extended service; empty includes the whole file
}

// follow checks the file behind a link of file from.
func (k *keyCheck) follow(from string, link fileLink) error {
	path := link.path
	switch {
	case path == "":
		path = from
	case !filepath.IsAbs(path):
		path = filepath.Join(filepath.Dir(from), path)
	}
	_, seen := k.files[path]
	if taken := k.extended[path]; link.service != "" && (taken != nil || !seen) {
		if taken == nil {
			taken = make(map[string]bool)
			k.extended[path] = taken
		}
		taken[link.service] = true
	} else if link.service == "" {
		delete(k.extended, path)
	}
	if seen {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return nil //nolint:nilerr // remote, or with a variable in its name: compose-go reads it or reports it
	}
	return k.addFile(path, content)
}

// unknown returns an error for all keys that compose does not have.
func (k *keyCheck) unknown() error {
	var errs []error
	for _, f := range k.findings {
		if f.verdict == unknown {
			errs = append(errs, &f.KeyError)
		}
	}
	return errors.Join(errs...)
}

// verdict turns the findings about what is active in p into errors or warnings.
func (k *keyCheck) verdict(p *types.Project, check func(*types.Project) map[string]error) (*Project, error) {
	project := &Project{Compose: p, keys: k}
	var errs []error
	for _, f := range k.findings {
		if _, disabled := p.DisabledServices[f.service]; disabled {
			continue
		}
		if taken := k.extended[f.File]; taken != nil && !taken[f.service] {
			continue
		}
		switch f.verdict {
		case unsupported:
			errs = append(errs, &f.KeyError)
		case ignored:
			project.Warnings = append(project.Warnings, f.Error())
		case unknown, supported:
		}
	}
	if check != nil {
		found := check(p)
		for _, path := range slices.Sorted(maps.Keys(found)) {
			errs = append(errs, k.at(path, found[path]))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return project, nil
}

// syntaxError is the parser's error on one line, without its drawing of the file.
func syntaxError(file string, err error) error {
	syntax, ok := errors.AsType[yaml.Error](err)
	if !ok || syntax.GetToken() == nil {
		return fmt.Errorf("reading compose file %s: %w", file, err)
	}
	pos := syntax.GetToken().Position
	return fmt.Errorf("%s:%d:%d: %s", file, pos.Line, pos.Column, syntax.GetMessage())
}

// Where compose-go's errors name a key, or the first service of a cycle.
var (
	keyPath = regexp.MustCompile(`(?:services|networks|volumes)\.[A-Za-z0-9._-]+`)
	cycle   = regexp.MustCompile(`cycle detected: ([A-Za-z0-9._-]+)`)
)

// locate puts file, line and column in front of an error of compose-go that
// names a key.
func (k *keyCheck) locate(err error) error {
	if path := keyPath.FindString(err.Error()); path != "" {
		return k.at(path, err)
	}
	if match := cycle.FindStringSubmatch(err.Error()); match != nil {
		return k.at("services."+match[1]+".depends_on", err)
	}
	return err
}

// at puts the position of the key at path, or of its nearest parent, in front of err.
func (k *keyCheck) at(path string, err error) error {
	for path != "" {
		for _, file := range slices.Sorted(maps.Keys(k.files)) {
			if node, ok := k.files[file][path]; ok {
				pos := node.GetToken().Position
				return fmt.Errorf("%s:%d:%d: %w", file, pos.Line, pos.Column, err)
			}
		}
		path, _, _ = cutLast(path, ".")
	}
	return err
}

// cutLast slices s around the last sep.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}
