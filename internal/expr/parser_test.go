package expr

import (
	"errors"
	"strings"
	"testing"
)

func TestParseErrorsNameTheWordAndItsPlace(t *testing.T) {
	deep := strings.Repeat("not(", 51) + "true" + strings.Repeat(")", 51)
	tests := map[string]struct{ text, want string }{
		"nothing":                 {"  ", "An expression was expected"},
		"two values":              {"true false", "Unexpected symbol: 'false'. Located at position 6 within expression: true false."},
		"unclosed indexer":        {"variables['a'", "Unclosed indexer: '['. Located at position 10 within expression: variables['a'."},
		"empty indexer":           {"variables[]", "Unexpected symbol: ']'. Located at position 11 within expression: variables[]."},
		"two indexes":             {"variables['a','b']", "Unexpected symbol: ','. Located at position 14 within expression: variables['a','b']."},
		"no arguments":            {"eq()", "Unexpected symbol: ')'. Located at position 4 within expression: eq()."},
		"missing comma":           {"eq(1 2)", "Unexpected symbol: '2'. Located at position 6 within expression: eq(1 2)."},
		"word after a string":     {"'a'b", "Unexpected symbol: 'b'. Located at position 4 within expression: 'a'b."},
		"position counts UTF-16":  {"eq('😀', x)", "Unrecognized named-value: 'x'. Located at position 10 within expression: eq('😀', x)."},
		"keyword after wildcard":  {"variables.*a", "Unexpected symbol: 'a'. Located at position 12 within expression: variables.*a."},
		"literal has no property": {"1 .a", "Unexpected symbol: '.'. Located at position 3 within expression: 1 .a."},
		"nested too deep":         {deep, "Exceeded max expression depth 50: 'not'. Located at position 201 within expression: " + deep + "."},
		"too long":                {strings.Repeat("x", 21001), "Exceeded max expression length 21000"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(test.text, Scope{Values: []string{"variables"}})
			if _, ok := errors.AsType[*ParseError](err); !ok || err.Error() != test.want {
				t.Errorf("Parse(%.60q) = %v, want %s", test.text, err, test.want)
			}
		})
	}
}

func TestAPropertyMayBeNamedLikeAFunctionOrLiteral(t *testing.T) {
	m := new(Map)
	m.Set("true", Text("yes"))
	m.Set("eq", Int(2))
	for text, want := range map[string]string{"p.true": "yes", "p.EQ": "2"} {
		e, err := Parse(text, Scope{Values: []string{"p"}})
		if err != nil {
			t.Fatal(err)
		}
		value, err := e.Eval(Env{Values: map[string]Value{"P": MappingOf(m)}})
		if got, _ := value.Text(); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestUnknownNamesFailLateWhenTheScopeTakesAnyName(t *testing.T) {
	e, err := Parse("or(true, foo(bar.x))", Scope{AnyName: true})
	if err != nil {
		t.Fatal(err)
	}
	if value, err := e.Eval(Env{}); err != nil || !value.Truthy() {
		t.Errorf("an unknown function that is not needed: %v, %v", value, err)
	}
	if e, err = Parse("foo(1)", Scope{AnyName: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Eval(Env{}); err == nil {
		t.Error("an unknown function that is needed was evaluated")
	}
}

func TestEvaluationIsBoundedInMemory(t *testing.T) {
	for _, text := range []string{
		"replace('" + strings.Repeat("a", 9000) + "', 'a', '" + strings.Repeat("b", 9000) + "')",
		"format('" + strings.Repeat("{0}", 3000) + "', '" + strings.Repeat("b", 9000) + "')",
	} {
		e, err := Parse(text, Scope{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Eval(Env{}); err == nil || !strings.Contains(err.Error(), "maximum allowed memory size") {
			t.Errorf("%.20s…: got error %.80v", text, err)
		}
	}
}

// FuzzParse checks that no text can make parsing or evaluation panic, and that a trace
// begins with an expression that parses again.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"and(succeeded(), eq(variables['x'], '1'))", "format('{0:yyyy}{{', variables.a.*.b[0])",
		"in(1, .5, 1.2.3, 'it''s')", "eq(", "'", "-", "join(',', split('a,b', ','))", "succeeded('A')",
		"convertToJson(variables)", "replace('a','a','b')", "substring('a', 0, 1)", "iif(true,1,2)",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		scope := stepScope()
		parsed, err := Parse(text, scope)
		if err != nil {
			return
		}
		a := new(Map)
		a.Set("a", List(Int(1), Text("x")))
		_, trace, _ := parsed.EvalTraced(Env{Values: map[string]Value{"variables": MappingOf(a)}, Functions: stepFunctions(Failed)})
		if again := strings.TrimPrefix(trace[0], "Evaluating: "); len(again) < maxLength {
			if _, err := Parse(again, scope); err != nil {
				t.Errorf("%q is traced as %q, which does not parse: %v", text, again, err)
			}
		}
	})
}
