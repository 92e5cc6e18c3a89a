package expr

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// goldenCase is one row of testdata/expressions.json.
type goldenCase struct {
	ID         string
	Expr       string
	Context    json.RawMessage
	Want       json.RawMessage
	Kind       string
	Text       *string `json:"string"`
	Truthy     *bool
	Scope      string
	ErrorClass string
	Error      string
}

// differentWording lists the rows whose error we spell as the service does today, which
// the row's own note says differs from the engine the row was recorded with.
var differentWording = map[string]string{
	"contains-list": "Unable to convert from Array to String. Value: Array",
}

func TestEveryGoldenCaseEvaluatesAsRecorded(t *testing.T) {
	text, err := os.ReadFile("testdata/expressions.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []goldenCase
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	if len(cases) == 0 {
		t.Fatal("testdata/expressions.json has no cases")
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) { c.run(t) })
	}
}

func (c goldenCase) run(t *testing.T) {
	scope, env := c.surroundings(t)
	parsed, err := Parse(c.Expr, scope)
	if c.ErrorClass == "parse" {
		c.wantError(t, err)
		return
	}
	if err != nil {
		t.Fatalf("Parse(%q): %v", c.Expr, err)
	}
	got, err := parsed.Eval(env)
	if c.ErrorClass == "eval" {
		c.wantError(t, err)
		return
	}
	if err != nil {
		t.Fatalf("Eval(%q): %v", c.Expr, err)
	}
	if diff := cmp.Diff(fromJSON(t, c.Want).plain(), got.plain()); diff != "" {
		t.Errorf("Eval(%q) (-want +got):\n%s", c.Expr, diff)
	}
	if c.Kind != "" && got.Kind().String() != c.Kind {
		t.Errorf("Eval(%q).Kind() = %s, want %s", c.Expr, got.Kind(), c.Kind)
	}
	if text, ok := got.Text(); c.Text != nil && (!ok || text != *c.Text) {
		t.Errorf("Eval(%q).Text() = %q, %v, want %q", c.Expr, text, ok, *c.Text)
	}
	if c.Truthy != nil && got.Truthy() != *c.Truthy {
		t.Errorf("Eval(%q).Truthy() = %v, want %v", c.Expr, got.Truthy(), *c.Truthy)
	}
}

func (c goldenCase) wantError(t *testing.T, err error) {
	t.Helper()
	want := c.Error
	if other, ok := differentWording[c.ID]; ok {
		want = other
	}
	// Some rows record only the beginning of a message that ends with the position.
	if err == nil || err.Error() != want && !strings.HasPrefix(err.Error(), want+". Located at ") {
		t.Errorf("%q: got error %v, want %s", c.Expr, err, want)
	}
}

func (c goldenCase) surroundings(t *testing.T) (Scope, Env) {
	context := fromJSON(t, c.Context).Mapping()
	env := Env{Values: make(map[string]Value)}
	var names []string
	for name, value := range context.All() {
		if !strings.HasPrefix(name, "$") {
			env.Values[name] = value
			names = append(names, name)
		}
	}
	field := func(parent Mapping, name string) Value {
		value, _ := parent.Get(name)
		return value
	}
	switch c.Scope {
	case "step-condition":
		status, _ := field(field(context, "$step").Mapping(), "jobStatus").Text()
		env.Functions = stepFunctions(Status(status))
		return stepScope(), env
	case "job-condition":
		graph := field(context, "$graph").Mapping()
		env.Functions = Graph{
			Canceled:     field(graph, "canceled").Truthy(),
			Dependencies: statuses(field(graph, "dependencies").Mapping()),
			Ancestors:    statuses(field(graph, "ancestors").Mapping()),
		}.Functions()
		return GraphScope(names...), env
	case "runtime":
		stored := make(map[string]int64)
		for prefix, value := range field(context, "$counters").Mapping().All() {
			number, _ := value.toNumber()
			stored[prefix], _ = number.Floor()
		}
		env.Functions = Functions{"counter": NewCounters(stored).Function}
		return Scope{Values: names, Functions: []Signature{CounterSignature()}}, env
	case "any":
		return Scope{Values: names}, env
	}
	t.Fatalf("unknown scope %q", c.Scope)
	return Scope{}, env
}

func statuses(m Mapping) map[string]Status {
	all := make(map[string]Status)
	for name, value := range m.All() {
		text, _ := value.Text()
		all[name] = Status(text)
	}
	return all
}

// plain is the value as something cmp.Diff can show.
func (v Value) plain() any {
	switch v.Kind() {
	case Array:
		items := []any{}
		for _, item := range v.Items() {
			items = append(items, item.plain())
		}
		return items
	case Object:
		pairs := map[string]any{}
		for key, value := range v.Mapping().All() {
			pairs[key] = value.plain()
		}
		return pairs
	default:
		return v.Kind().String() + " " + v.String()
	}
}

func fromJSON(t *testing.T, text []byte) Value {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return readJSON(t, d)
}

func readJSON(t *testing.T, d *json.Decoder) Value {
	t.Helper()
	token, err := d.Token()
	if err != nil {
		t.Fatal(err)
	}
	switch token := token.(type) {
	case bool:
		return Bool(token)
	case string:
		return Text(token)
	case json.Number:
		number, ok := ParseNumber(token.String())
		if !ok {
			t.Fatalf("%s is no number", token)
		}
		return number
	case json.Delim:
		if token == '[' {
			var items []Value
			for d.More() {
				items = append(items, readJSON(t, d))
			}
			skip(t, d)
			return List(items...)
		}
		m := new(Map)
		for d.More() {
			key, _ := readJSON(t, d).Text()
			m.Set(key, readJSON(t, d))
		}
		skip(t, d)
		return special(t, m)
	}
	return Value{}
}

func skip(t *testing.T, d *json.Decoder) {
	t.Helper()
	if _, err := d.Token(); err != nil {
		t.Fatal(err)
	}
}

// special turns {"$version": …} and {"$datetime": …} into what they stand for.
func special(t *testing.T, m *Map) Value {
	t.Helper()
	if text, ok := m.Get("$version"); ok {
		v, ok := parseVersion(text.data.(string))
		if !ok {
			t.Fatalf("%v is no version", text)
		}
		return Value{Version, v}
	}
	if text, ok := m.Get("$datetime"); ok {
		parsed, err := time.Parse(time.RFC3339Nano, text.data.(string))
		if err != nil {
			t.Fatal(err)
		}
		return Time(parsed)
	}
	return MappingOf(m)
}
