package pipeline

import (
	"fmt"
	"maps"
	"strings"

	"github.com/dockless-ci/dockless/internal/expr"
)

// runtimeText returns what stands inside $[ ]. found is false for a text that is no
// runtime expression; one that only begins like it is an error.
func runtimeText(text string) (inside string, found bool, err error) {
	trimmed := strings.TrimSpace(text)
	inside, found = strings.CutPrefix(trimmed, "$[")
	if !found {
		return "", false, nil
	}
	inside, found = strings.CutSuffix(inside, "]")
	if inside = strings.TrimSpace(inside); !found || inside == "" {
		return "", false, fmt.Errorf("'%s' is not a valid expression. Expressions must be enclosed with '$[' and ']'.", trimmed) //nolint:staticcheck // the service's own sentence
	}
	return inside, true, nil
}

func runtimeScope() expr.Scope {
	return expr.Scope{Values: graphValues, Functions: []expr.Signature{expr.CounterSignature()}}
}

// checkRuntime reports a runtime expression that will not parse when the job starts.
func (d *decoder) checkRuntime(n *node) {
	if n == nil || n.kind != scalarNode {
		return
	}
	inside, found, err := runtimeText(n.text)
	if err == nil && found {
		_, err = expr.Parse(inside, runtimeScope())
	}
	if err != nil {
		d.add(n, "%s", err)
	}
}

// surroundings are what runtime expressions and conditions of a stage or job see.
type surroundings struct {
	values   map[string]expr.Value
	table    *table
	counters *expr.Counters
	graph    expr.Graph
}

// eval returns text with its runtime expression evaluated; text without one stays.
func (s *surroundings) eval(text string) (string, error) {
	inside, found, err := runtimeText(text)
	if err != nil || !found {
		return text, err
	}
	parsed, err := expr.Parse(inside, runtimeScope())
	if err != nil {
		return "", fmt.Errorf("%w", err)
	}
	value, err := parsed.Eval(expr.Env{Values: s.named(), Functions: expr.Functions{"counter": s.counters.Function}})
	if err != nil {
		return "", fmt.Errorf("evaluating %s: %w", strings.TrimSpace(text), err)
	}
	result, ok := value.Text()
	if !ok {
		return "", fmt.Errorf("evaluating %s: Unable to convert from %s to String. Value: %s", strings.TrimSpace(text), value.Kind(), value)
	}
	return result, nil
}

// holds evaluates a condition and explains the answer.
func (s *surroundings) holds(condition string) (bool, string, error) {
	parsed, err := parseGraphCondition(condition)
	if err != nil {
		return false, "", err
	}
	value, lines, err := parsed.EvalTraced(expr.Env{Values: s.named(), Functions: s.graph.Functions()})
	trace := strings.Join(lines, "\n")
	if err != nil {
		return false, trace, fmt.Errorf("evaluating the condition %s: %w", condition, err)
	}
	return value.Truthy(), trace, nil
}

func (s *surroundings) named() map[string]expr.Value {
	values := map[string]expr.Value{"variables": expr.MappingOf(expr.Lookup(s.table.text))}
	maps.Copy(values, s.values)
	return values
}

// late evaluates a field that may hold $[ ] or macros.
func (s *surroundings) late(f deferred) (string, error) {
	text, err := s.eval(f.text())
	return strings.TrimSpace(s.table.expand(text)), err
}

func (s *surroundings) lateBool(f deferred) (bool, error) {
	text, err := s.late(f)
	if err != nil || text == "" {
		return false, err
	}
	value, ok := parseBool(text)
	if !ok {
		return false, fmt.Errorf("Unexpected value '%s'", text) //nolint:staticcheck // the service's own sentence
	}
	return value, nil
}

func (s *surroundings) lateInt(f deferred, byDefault int) (int, error) {
	text, err := s.late(f)
	if err != nil || text == "" {
		return byDefault, err
	}
	var value int
	if _, err := fmt.Sscanf(text, "%d", &value); err != nil || value < 0 || itoa(value) != text {
		return 0, fmt.Errorf("Unexpected value '%s'", text) //nolint:staticcheck // the service's own sentence
	}
	return value, nil
}
