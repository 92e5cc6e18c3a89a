package repotest

import (
	"go/ast"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// settingsPage lists every setting.
const settingsPage = "docs/configuration.md"

// setting is one field with an envconfig tag.
type setting struct {
	variable string
	where    string
	tag      reflect.StructTag
	isSecret bool
}

func (r *repository) settings() []setting {
	var found []setting
	for _, f := range r.gofile {
		if f.inTests() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			field, ok := n.(*ast.Field)
			if !ok || field.Tag == nil {
				return true
			}
			text, err := strconv.Unquote(field.Tag.Value)
			if err != nil {
				return true
			}
			tag := reflect.StructTag(text)
			if name, ok := tag.Lookup("envconfig"); ok {
				found = append(found, setting{name, r.position(field), tag, isSecret(field.Type)})
			}
			return true
		})
	}
	return found
}

// isSecret reports whether a field is of type mask.Secret.
func isSecret(e ast.Expr) bool {
	selector, ok := e.(*ast.SelectorExpr)
	return ok && selector.Sel.Name == "Secret"
}

var (
	variableName = regexp.MustCompile(`^[A-Z][A-Z0-9]*(_[A-Z0-9]+)*$`)
	secretName   = regexp.MustCompile(`(TOKEN|PASSWORD|SECRET)$`)
)

func TestEverySettingExplainsItself(t *testing.T) {
	r := repo(t)
	settings := r.settings()
	if len(settings) == 0 {
		t.Fatal("no field with an envconfig tag was found")
	}
	first := make(map[string]string)
	for _, s := range settings {
		if !variableName.MatchString(s.variable) {
			t.Errorf("%s: the variable %q is not in capitals", s.where, s.variable)
		}
		if other, ok := first[s.variable]; ok {
			t.Errorf("%s: %s is a setting of %s already", s.where, s.variable, other)
		}
		first[s.variable] = s.where
		desc := s.tag.Get("desc")
		if desc == "" {
			t.Errorf("%s: %s has no desc", s.where, s.variable)
		}
		if strings.HasSuffix(desc, ".") {
			t.Errorf("%s: the desc of %s is a phrase, without a full stop: %q", s.where, s.variable, desc)
		}
		if secretName.MatchString(s.variable) && !s.isSecret {
			t.Errorf("%s: %s is no mask.Secret", s.where, s.variable)
		}
	}
}

func TestEverySettingIsDocumented(t *testing.T) {
	r := repo(t)
	page, ok := r.text[settingsPage]
	if !ok {
		t.Fatalf("%s is missing: make docs writes it", settingsPage)
	}
	for _, s := range r.settings() {
		if !regexp.MustCompile("`" + s.variable + "`").MatchString(page) {
			t.Errorf("%s: %s is not in %s: make docs writes it", s.where, s.variable, settingsPage)
		}
	}
}
