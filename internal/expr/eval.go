package expr

import (
	"fmt"
	"strings"
)

// runtimeBytes bounds the memory of one evaluation at run time, as on the service.
const runtimeBytes = 1 << 20

// Env supplies what an expression of some [Scope] may use. Names ignore case; a value
// that the scope names and Env lacks is null.
type Env struct {
	Values map[string]Value
	// Functions implement the scope's own functions. Arguments are evaluated first.
	Functions map[string]func(args []Value) (Value, error)
	// MaxBytes bounds the text one evaluation may produce; 0 is the 1 MiB that runtime
	// expressions have.
	MaxBytes int
}

// Eval computes the expression.
func (e *Expr) Eval(env Env) (Value, error) {
	return e.root.eval(e.evaluation(env))
}

// EvalTraced is [Expr.Eval] with the lines that explain the result: the expression, the
// expression with the values it met, and what came out. Lines are there also when the
// evaluation fails.
func (e *Expr) EvalTraced(env Env) (Value, []string, error) {
	ev := e.evaluation(env)
	ev.seen = make(map[node]Value)
	value, err := e.root.eval(ev)
	var evaluating, expanded strings.Builder
	e.root.write(&evaluating, nil)
	lines := []string{"Evaluating: " + evaluating.String()}
	if err != nil {
		return value, lines, err
	}
	e.root.write(&expanded, ev.seen)
	if result := value.String(); expanded.String() != result {
		lines = append(lines, "Expanded: "+expanded.String())
	}
	return value, append(lines, "Result: "+value.String()), nil
}

func (e *Expr) evaluation(env Env) *evaluation {
	ev := &evaluation{env: env, text: e.text, left: env.MaxBytes}
	if ev.left == 0 {
		ev.left = runtimeBytes
	}
	return ev
}

// evaluation is the state of one Eval.
type evaluation struct {
	env  Env
	text string
	left int            // bytes the results may still take
	seen map[node]Value // results for the trace; nil when nobody asked
}

func (ev *evaluation) record(n node, v Value) {
	if ev.seen != nil {
		ev.seen[n] = v
	}
}

// spend takes n bytes from what the evaluation may use.
func (ev *evaluation) spend(n int) error {
	if n > ev.left {
		return fmt.Errorf("The maximum allowed memory size was exceeded while evaluating the following expression: %s", ev.text) //nolint:staticcheck // the service's own sentence
	}
	ev.left -= n
	return nil
}

// node is one part of the tree. write spells it; values that were seen replace parts.
type node interface {
	eval(ev *evaluation) (Value, error)
	write(b *strings.Builder, seen map[node]Value)
}

type literal struct{ value Value }

func (l *literal) eval(*evaluation) (Value, error) { return l.value, nil }

func (l *literal) write(b *strings.Builder, _ map[node]Value) { b.WriteString(l.value.String()) }

// wildcard stands where an index would.
type wildcard struct{}

func (wildcard) eval(*evaluation) (Value, error) { return Value{}, nil }

func (wildcard) write(b *strings.Builder, _ map[node]Value) { b.WriteByte('*') }

type named struct{ name string }

func (n *named) eval(ev *evaluation) (Value, error) {
	for name, value := range ev.env.Values {
		if strings.EqualFold(name, n.name) {
			ev.record(n, value)
			return value, nil
		}
	}
	return Value{}, nil
}

func (n *named) write(b *strings.Builder, _ map[node]Value) { b.WriteString(n.name) }

type call struct {
	name    string
	builtin *builtin // nil for a function of the scope
	args    []node
}

func (c *call) eval(ev *evaluation) (Value, error) {
	value, err := c.apply(ev)
	if err != nil {
		return Value{}, err
	}
	ev.record(c, value)
	return value, nil
}

func (c *call) apply(ev *evaluation) (Value, error) {
	if c.builtin != nil && c.builtin.lazy != nil {
		return c.builtin.lazy(ev, c.args)
	}
	args := make([]Value, len(c.args))
	for i, arg := range c.args {
		var err error
		if args[i], err = arg.eval(ev); err != nil {
			return Value{}, err
		}
	}
	if c.builtin != nil {
		return c.builtin.eager(ev, args)
	}
	for name, function := range ev.env.Functions {
		if strings.EqualFold(name, c.name) {
			return function(args)
		}
	}
	return Value{}, fmt.Errorf("Unrecognized function: '%s'", c.name) //nolint:staticcheck // the service's own sentence
}

func (c *call) write(b *strings.Builder, seen map[node]Value) {
	if value, ok := seen[c]; ok && (c.builtin == nil || !c.builtin.explains) {
		b.WriteString(value.String())
		return
	}
	b.WriteString(c.name)
	b.WriteByte('(')
	for i, arg := range c.args {
		if i > 0 {
			b.WriteString(", ")
		}
		arg.write(b, seen)
	}
	b.WriteByte(')')
}
