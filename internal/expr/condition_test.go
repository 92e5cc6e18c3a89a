package expr

import (
	"strings"
	"testing"
)

func TestStepConditionExplainsItself(t *testing.T) {
	variables := func(name string) (string, bool) {
		text, ok := map[string]string{"x": "0", "it": "it's"}[strings.ToLower(name)]
		return text, ok
	}
	tests := map[string]struct {
		condition string
		job       Status
		run       bool
		trace     string
	}{
		"blank is succeeded":    {" \n", Succeeded, true, "Evaluating: succeeded()\nResult: True"},
		"blank after a failure": {"", Failed, false, "Evaluating: succeeded()\nResult: False"},
		"both sides shown": {
			"and(succeeded(), eq(variables['X'], '1'))", "succeededWithIssues", false,
			"Evaluating: and(succeeded(), eq(variables['X'], '1'))\nExpanded: and(True, eq('0', '1'))\nResult: False",
		},
		"what was not needed stays": {
			"or(failed(), ne(variables.it, ''))", Failed, true,
			"Evaluating: or(failed(), ne(variables['it'], ''))\nExpanded: or(True, ne(variables['it'], ''))\nResult: True",
		},
		"missing is null": {
			"eq(variables.nope, '')", Succeeded, true,
			"Evaluating: eq(variables['nope'], '')\nExpanded: eq(Null, '')\nResult: True",
		},
		"no status function": {
			"eq(variables['x'], 0)", Failed, true,
			"Evaluating: eq(variables['x'], 0)\nExpanded: eq('0', 0)\nResult: True",
		},
		"canceled": {"always()", Canceled, true, "Evaluating: always()\nResult: True"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run, trace, err := EvalStepCondition(test.condition, variables, test.job)
			if err != nil || run != test.run || trace != test.trace {
				t.Errorf("EvalStepCondition(%q) = %v, %v\n%s\nwant %v\n%s", test.condition, run, err, trace, test.run, test.trace)
			}
		})
	}
}

func TestStepConditionErrors(t *testing.T) {
	none := func(string) (string, bool) { return "", false }
	for condition, want := range map[string]string{
		"succeeded(":                    "parsing the condition: Unclosed function: 'succeeded'. Located at position 1 within expression: succeeded(.",
		"eq(dependencies.A.result, '')": "parsing the condition: Unrecognized named-value: 'dependencies'. Located at position 4 within expression: eq(dependencies.A.result, '').",
		"gt(1, 'x')":                    "evaluating the condition: Unable to convert from String to Number. Value: 'x'",
	} {
		if _, _, err := EvalStepCondition(condition, none, Succeeded); err == nil || err.Error() != want {
			t.Errorf("EvalStepCondition(%q): %v, want %s", condition, err, want)
		}
	}
}
