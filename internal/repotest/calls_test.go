package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rule bans functions of one package.
type rule struct {
	imported string
	names    []string
	inMain   bool   // allowed in the main packages under cmd/
	inCmd    bool   // and in the packages below them
	instead  string // what to do
}

var rules = []rule{
	{"os", []string{"Exit"}, true, false, "return an error"},
	{"log", []string{"Fatal", "Fatalf", "Fatalln"}, false, false, "return an error"},
	{"os", []string{"Getenv", "LookupEnv"}, true, true, "add a field to the package's Config"},
	{"context", []string{"Background", "TODO"}, true, false, "take ctx from the caller, or context.WithoutCancel for a clean-up"},
	{"time", []string{"Sleep"}, false, false, "wait on a timer and the context, see internal/retry"},
}

func TestCallsThatBelongIntoMainStayThere(t *testing.T) {
	r := repo(t)
	for _, f := range r.gofile {
		if f.inTests() {
			continue
		}
		isMain := f.syntax.Name.Name == "main" && within(f.path, "cmd")
		for _, rule := range rules {
			if rule.inMain && isMain || rule.inCmd && within(f.path, "cmd") {
				continue
			}
			for _, call := range uses(f, rule) {
				t.Errorf("%s: %s.%s: %s", r.position(call), rule.imported, call.Sel.Name, rule.instead)
			}
		}
	}
}

// uses finds where f names one of the rule's functions.
func uses(f *goFile, r rule) []*ast.SelectorExpr {
	local := localName(f.syntax, r.imported)
	if local == "" {
		return nil
	}
	var found []*ast.SelectorExpr
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && slices.Contains(r.names, selector.Sel.Name) {
			if x, ok := selector.X.(*ast.Ident); ok && x.Name == local {
				found = append(found, selector)
			}
		}
		return true
	})
	return found
}

// localName is what file calls the package it imports, or "".
func localName(file *ast.File, imported string) string {
	for _, spec := range file.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err != nil || p != imported {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path.Base(imported)
	}
	return ""
}

func TestForbiddenCallsAreNoticedUnderEveryName(t *testing.T) {
	const text = `package p
import (
	"context"
	sys "os"
	"time"
)
var os = struct{ Exit func(int) }{}
var _ = []any{sys.Getenv, context.Background(), context.WithoutCancel}
func f() { time.Sleep(1); os.Exit(1); time.Now() }
`
	syntax, err := parser.ParseFile(token.NewFileSet(), "p.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, rule := range rules {
		for _, call := range uses(&goFile{syntax: syntax}, rule) {
			found = append(found, rule.imported+"."+call.Sel.Name)
		}
	}
	if want := []string{"os.Getenv", "context.Background", "time.Sleep"}; !slices.Equal(found, want) {
		t.Errorf("found %q, want %q", found, want)
	}
}

func TestNoPackageHasAnInitFunction(t *testing.T) {
	r := repo(t)
	for _, f := range r.gofile {
		if f.inTests() {
			continue
		}
		for _, declaration := range f.syntax.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == "init" {
				t.Errorf("%s: func init: do it in a constructor or in main", r.position(function))
			}
		}
	}
}

func TestGoModHasNoReplace(t *testing.T) {
	for line := range strings.Lines(repo(t).text["go.mod"]) {
		if word, _, _ := strings.Cut(strings.TrimSpace(line), " "); word == "replace" || word == "exclude" {
			t.Errorf("go.mod: %s: the module must build as somebody's dependency, which ignores it", strings.TrimSpace(line))
		}
	}
}
