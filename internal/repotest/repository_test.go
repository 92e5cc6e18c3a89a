package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the repository, seen from this package's folder.
const root = "../.."

// goFile is one parsed file of our module.
type goFile struct {
	path    string // relative to root, with slashes
	text    []byte
	syntax  *ast.File
	isTest  bool     // ends in _test.go
	imports []string // import paths
}

// folder is the file's package, relative to root.
func (f *goFile) folder() string { return path.Dir(f.path) }

// inTests reports whether the file is part of tests: a test file, or below
// test/, where the rig and the programs that drive it live.
func (f *goFile) inTests() bool { return f.isTest || within(f.path, "test") }

// position is where n is, for a failure.
func (r *repository) position(n ast.Node) string {
	p := r.fset.Position(n.Pos())
	return p.String()
}

type repository struct {
	module string
	fset   *token.FileSet
	gofile []*goFile
	text   map[string]string // every other text file by path
}

// load reads the repository once for all tests.
var load = sync.OnceValues(func() (*repository, error) {
	r := &repository{fset: token.NewFileSet(), text: make(map[string]string)}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return nil, err
	}
	first, _, _ := strings.Cut(string(mod), "\n")
	r.module = strings.TrimPrefix(first, "module ")
	return r, filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if entry.IsDir() {
			if skipped(rel, name) {
				return fs.SkipDir
			}
			return nil
		}
		return r.add(rel, entry)
	})
})

// skipped reports whether a folder holds nothing of ours: what git or a build
// keeps there, and what Go ignores. Modules of their own under tools/ are read
// as text only.
func skipped(rel, name string) bool {
	base := path.Base(rel)
	if rel == "." {
		return false
	}
	// .ci is ours; other hidden folders are the tools'.
	if strings.HasPrefix(base, ".") && base != ".ci" || base == "node_modules" || base == "_work" {
		return true
	}
	_, err := os.Stat(filepath.Join(name, ".git"))
	return err == nil // a checkout of something else
}

// maxText is the largest file looked at as text; larger ones are data.
const maxText = 1 << 20

func (r *repository) add(rel string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxText {
		return err
	}
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(rel)))
	if err != nil {
		return err
	}
	if strings.ContainsRune(string(text), 0) {
		return nil
	}
	if path.Ext(rel) != ".go" || within(rel, "tools") || strings.Contains(rel, "testdata/") || strings.Contains("/"+rel, "/_") || within(rel, "examples") {
		r.text[rel] = string(text)
		return nil
	}
	syntax, err := parser.ParseFile(r.fset, rel, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	f := &goFile{path: rel, text: text, syntax: syntax, isTest: strings.HasSuffix(rel, "_test.go")}
	for _, spec := range syntax.Imports {
		f.imports = append(f.imports, strings.Trim(spec.Path.Value, `"`))
	}
	r.gofile = append(r.gofile, f)
	return nil
}

func repo(t *testing.T) *repository {
	t.Helper()
	r, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// within reports whether name is folder or something below it.
func within(name, folder string) bool {
	return name == folder || strings.HasPrefix(name, folder+"/")
}

func TestTheRepositoryWasFound(t *testing.T) {
	r := repo(t)
	if len(r.gofile) < 50 || r.module == "" || r.text["go.mod"] == "" {
		t.Fatalf("found %d Go files of module %q, want this repository's", len(r.gofile), r.module)
	}
}
