package vars_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/runner/internal/vars"
)

func TestMacrosExpandAsTheGoldenCasesSay(t *testing.T) {
	data, err := os.ReadFile("../../testdata/macros.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		ID, Text, Want string
		Variables, Env map[string]string
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			s := vars.New(func(string) {})
			for name, value := range c.Variables {
				s.Set(vars.Variable{Name: name, Value: value})
			}
			got := vars.Replace(s.Expand(c.Text), func(name string) (string, bool) {
				v, ok := c.Env[name]
				return v, ok
			})
			if got != c.Want {
				t.Errorf("expanding %q = %q, want %q", c.Text, got, c.Want)
			}
		})
	}
}

func set(s *vars.Store, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		s.Set(vars.Variable{Name: pairs[i], Value: pairs[i+1]})
	}
}

func TestVariablesMayMentionEachOther(t *testing.T) {
	for name, c := range map[string]struct {
		set      []string
		want     map[string]string
		problems int
	}{
		"chain":              {set: []string{"a", "1$(b)", "b", "2$(C)", "c", "3"}, want: map[string]string{"a": "123", "b": "23"}},
		"unknown stays":      {set: []string{"a", "$(nope)"}, want: map[string]string{"a": "$(nope)"}},
		"itself":             {set: []string{"a", "x$(a)"}, want: map[string]string{"a": "x$(a)"}, problems: 1},
		"cycle and onlooker": {set: []string{"a", "$(b)", "b", "$(a)", "c", "$(a)!", "d", "$(e)", "e", "5"}, want: map[string]string{"a": "$(b)", "b": "$(a)", "c": "$(a)!", "d": "5"}, problems: 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := vars.New(func(string) {})
			set(s, c.set...)
			if got := s.Recompute(); len(got) != c.problems {
				t.Errorf("Recompute() = %v, want %d problems", got, c.problems)
			}
			for name, want := range c.want {
				if got := s.Value(name); got != want {
					t.Errorf("variable %s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestExpansionHasBounds(t *testing.T) {
	for name, value := range map[string]string{"deep": "$(%)", "wide": "$(%)$(%)$(%)"} {
		t.Run(name, func(t *testing.T) {
			s := vars.New(func(string) {})
			for i := range 60 {
				next := string(rune('0'+i/10)) + string(rune('0'+i%10))
				this := string(rune('0'+(i+1)/10)) + string(rune('0'+(i+1)%10))
				set(s, this, strings.ReplaceAll(value, "%", next))
			}
			set(s, "00", "some text")
			if problems := s.Recompute(); len(problems) == 0 {
				t.Error("Recompute() reported nothing, want that a bound was met")
			}
		})
	}
}

func TestWhatMentionsASecretBecomesSecret(t *testing.T) {
	var told []string
	s := vars.New(func(v string) { told = append(told, v) })
	s.Set(vars.Variable{Name: "pw", Value: "hunter2", Secret: true})
	set(s, "url", "u:$(pw)@h", "plain", "p")
	s.Recompute()
	if v, _ := s.Get("URL"); !v.Secret || v.Value != "u:hunter2@h" || !slices.Contains(told, "u:hunter2@h") {
		t.Errorf("url = %+v, registered %q, want it secret and registered", v, told)
	}
	want := map[string]string{"PLAIN": "p"}
	if diff := cmp.Diff(want, s.Public()); diff != "" {
		t.Errorf("public variables (-want +got):\n%s", diff)
	}
	set(s, "PW", "other")
	if v, _ := s.Get("pw"); !v.Secret {
		t.Error("a secret that was overwritten is no longer secret")
	}
}

func TestEnvironmentNames(t *testing.T) {
	s := vars.New(func(string) {})
	set(s, "Build.Reason", "Manual", "my-var x", "1", "bad=name", "2", "nul", "a\x00b")
	s.Set(vars.Variable{Name: "camelCase", Value: "3", PreserveCase: true})
	s.SetScoped(vars.Variable{Name: "build.reason", Value: "here"})
	want := map[string]string{"BUILD_REASON": "here", "MY-VAR_X": "1", "camelCase": "3"}
	if diff := cmp.Diff(want, s.Public()); diff != "" {
		t.Errorf("public variables (-want +got):\n%s", diff)
	}
}

func TestSomeNamesBelongToTheAgent(t *testing.T) {
	s := vars.New(func(string) {})
	s.Set(vars.Variable{Name: "mine", ReadOnly: true})
	for name, writable := range map[string]bool{
		"MINE": false, "Agent.TempDirectory": false, "agent.services.db.ports.1": false, "build.sourcesDirectory": false,
		"Build.Repository.Uri": false, "system.accessToken": false, "System.Debug": false, "other": true, "agent.custom": true, "build.mine": true,
	} {
		if got := s.Writable(name) == nil; got != writable {
			t.Errorf("%s may be set: %t, want %t", name, got, writable)
		}
	}
}

func FuzzReplace(f *testing.F) {
	f.Add("$(a)$(b$(a))$($(")
	f.Fuzz(func(t *testing.T, text string) {
		if got := vars.Replace(text, func(string) (string, bool) { return "", false }); got != text {
			t.Errorf("Replace(%q) without variables = %q", text, got)
		}
		got := vars.Replace(text, func(name string) (string, bool) {
			if name == "" || strings.Contains(name, ")") {
				t.Errorf("Replace(%q) asked for %q", text, name)
			}
			return "", true
		})
		if len(got) > len(text) {
			t.Errorf("Replace(%q) by nothing = %q", text, got)
		}
	})
}
