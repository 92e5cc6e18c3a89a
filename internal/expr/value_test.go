package expr

import (
	"strings"
	"testing"
)

func TestNumbersConvertBothWays(t *testing.T) {
	tests := map[string]struct {
		want string
		ok   bool
	}{
		"":                                    {"0", true},
		" +1,234.50":                          {"1234.5", true},
		"1,":                                  {"1", true},
		",1":                                  {"", false},
		" ":                                   {"", false},
		"- 1":                                 {"", false},
		"1.2.3":                               {"", false},
		".":                                   {"", false},
		"-.5":                                 {"-0.5", true},
		"1e3":                                 {"", false},
		"79228162514264337593543950335":       {"79228162514264337593543950335", true},
		"79228162514264337593543950336":       {"", false},
		"0.00000005":                          {"0.0000001", true},
		"-0.00000001":                         {"0", true},
		"0." + strings.Repeat("3", 90):        {"0.3333333", true},
		"00000000000000000000000000000000001": {"1", true},
	}
	for text, test := range tests {
		number, ok := ParseNumber(text)
		if got, _ := number.Text(); ok != test.ok || ok && got != test.want {
			t.Errorf("ParseNumber(%q) = %q, %v, want %q, %v", text, got, ok, test.want, test.ok)
		}
	}
}

func TestVersionsAndDatesCompare(t *testing.T) {
	for text, want := range map[string]bool{
		"lt(1.2.3, 1.2.3.0)":                     true,
		"eq(1.2.3, 1.2)":                         false,
		"gt(1.10.0, '1.9')":                      true,
		"eq(x.when, '2020/1/2T3:4:5Z')":          true,
		"eq(x.when, '2020-01-02 04:04:05+1:00')": true,
		"eq(x.when, '2020-02-31 04:04:05')":      false,
		"lt(x.when, '2020-01-02 03:04:05.5')":    true,
		"eq(x.when, x.when)":                     true,
		"eq(x.list, x.list)":                     true,
		"eq(x.list.*, x.list.*)":                 false,
	} {
		m := new(Map)
		when, _ := Text("2020-01-02 03:04:05").toDateTime()
		m.Set("when", Time(when))
		m.Set("list", List(Int(1)))
		e, err := Parse(text, Scope{Values: []string{"x"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Eval(Env{Values: map[string]Value{"x": MappingOf(m)}})
		if err != nil || got.Truthy() != want {
			t.Errorf("%s = %v, %v, want %v", text, got, err, want)
		}
	}
}

func TestTextFunctionsMapOneCharacterToOne(t *testing.T) {
	for text, want := range map[string]string{
		"upper('straße ı')":      "STRAßE ı",
		"lower('İÉ')":            "İé",
		"eq('ß', 'SS')":          "False",
		"length('a😀')":           "3",
		"replace('aXbx','x','')": "ab",
		"replace('ab','','x')":   "ab",
		"substring('abc', 1, 2)": "bc",
		"format('{0:}', 1)":      "1",
		"format('}}{{')":         "}{",
		"convertToJson('a\"\\')": `"a\"\\"`,
		"trim(' a\n')":           "a",
	} {
		e, err := Parse(text, Scope{})
		if err != nil {
			t.Fatal(err)
		}
		value, err := e.Eval(Env{})
		if got, _ := value.Text(); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestACounterAdvancesOncePerRun(t *testing.T) {
	stored := map[string]int64{}
	for _, want := range []string{"100", "101"} {
		counters := NewCounters(stored)
		for range 2 {
			value, err := counters.Function([]Value{Text("A"), Int(100)})
			if got, _ := value.Text(); err != nil || got != want {
				t.Errorf("counter = %s, %v, want %s", got, err, want)
			}
		}
		stored = counters.Values()
	}
}
