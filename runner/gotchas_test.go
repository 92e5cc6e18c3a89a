package runner_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

// What surprises people (language §7), by the numbers there, with a real bash.
// Each case is a job; want is what the named step printed.
func TestGotchas(t *testing.T) {
	plain := func(pairs ...string) map[string]job.Variable {
		m := make(map[string]job.Variable)
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = job.Variable{Value: pairs[i+1]}
		}
		return m
	}
	env := func(pairs ...string) func(*job.Step) {
		return func(s *job.Step) {
			s.Environment = make(map[string]string)
			for i := 0; i < len(pairs); i += 2 {
				s.Environment[pairs[i]] = pairs[i+1]
			}
		}
	}
	off := func(s *job.Step) { no := false; s.Enabled = &no }
	for name, c := range map[string]struct {
		variables map[string]job.Variable
		steps     []job.Step
		step      string
		want      []string
	}{
		"G7 an undefined macro is a shell command": {
			steps: []job.Step{inline("s", `echo "[$(nope)]"; echo code $?`)},
			step:  "s", want: []string{"nope: command not found", "[]", "code 0"},
		},
		"G8 the environment comes second": {
			steps: []job.Step{inline("s", `echo "$(GOTCHA) $(gotcha 2>/dev/null)|$(shadow)"`)},
			step:  "s", variables: plain("SHADOW", "variable"), want: []string{"from the agent |variable"},
		},
		"G10 the last command counts": {
			steps: []job.Step{inline("s", "false\necho done")}, step: "s", want: []string{"done"},
		},
		"G11 a variable is visible later, here not yet": {
			variables: plain("a", "10"), steps: setAndShow(), step: "set", want: []string{"10"},
		},
		"G11 a variable is visible later, there": {
			variables: plain("a", "10"), steps: setAndShow(), step: "show", want: []string{"20"},
		},
		"G12 an output is no plain variable": {
			steps: []job.Step{inline("s", `echo "##vso[task.setvariable variable=v;isOutput=true]1"`), inline("t", `echo "[$(v)] $(s.v)"`)},
			step:  "t", want: []string{"v: command not found", "[] 1"},
		},
		"G26 a revision is a macro that nobody knows": {
			variables: plain("number", "1.$(Rev:r)"), steps: []job.Step{inline("s", `echo '$(number)'`)},
			step: "s", want: []string{"1.$(Rev:r)"},
		},
		"G32 a variable wins over the environment of the step": {
			variables: plain("MODE", "fast"), steps: []job.Step{inline("s", "echo $MODE", env("MODE", "slow"))},
			step: "s", want: []string{"fast"},
		},
		"G33 a secret is in no environment": {
			variables: map[string]job.Variable{"pw": {Value: "hunter22", IsSecret: true}},
			steps:     []job.Step{inline("s", "echo ${#PW}; env | grep -ci hunter22; true")},
			step:      "s", want: []string{"0", "0"},
		},
		"G33 unless the step asks for it": {
			variables: map[string]job.Variable{"pw": {Value: "hunter22", IsSecret: true}},
			steps:     []job.Step{inline("s", "echo ${#PASSWORD} $PASSWORD", env("PASSWORD", "$(pw)"))},
			step:      "s", want: []string{"8 ***"},
		},
		"G33 even by its own name": {
			variables: map[string]job.Variable{"pw": {Value: "hunter22", IsSecret: true}},
			steps:     []job.Step{inline("s", "echo ${#PW} $PW", env("PW", "$(pw)"))},
			step:      "s", want: []string{"8 ***"},
		},
		"G39 blanks belong to the name": {
			variables: plain("x", "1"), steps: []job.Step{inline("s", `echo '$(  x)' '$(x )' '$(x)'`)},
			step: "s", want: []string{"$(  x) $(x ) 1"},
		},
		"G40 a disabled step has no outputs": {
			steps: []job.Step{inline("that", `echo "##vso[task.setvariable variable=out;isOutput=true]1"`, off), inline("s", `echo '$(that.out)'`)},
			step:  "s", want: []string{"$(that.out)"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := message(c.steps...)
			maps.Copy(m.Variables, c.variables)
			cfg := config(t)
			cfg.Environment = append(cfg.Environment, "GOTCHA=from the agent")
			rec, out := run(t, cfg, m)
			got := rec.output(t, c.step)
			for i, line := range got { // bash says in which file a command was not found
				if _, after, ok := strings.Cut(line, ".sh: line 1: "); ok {
					got[i] = after
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" || out.Result != job.Succeeded {
				t.Errorf("job %s; output (-want +got):\n%s", out.Result, diff)
			}
		})
	}
}

// G9: inputs are trimmed, so a block of one line is shown like a one-liner.
func TestABlockOfOneLineIsShownLikeAOneLiner(t *testing.T) {
	rec, _ := run(t, config(t), message(script("s", "echo hi\n"), inline("t", "\n  echo hi  \n\n"), script("two", "echo hi\necho ho\n")))
	for name, want := range map[string]bool{"s": true, "t": true, "two": false} {
		log := strings.Join(rec.log(t, name), "\n")
		if got := strings.Contains(log, "\nScript contents:\necho hi\n===="); got != want {
			t.Errorf("the log of %s shows the script: %t, want %t:\n%s", name, got, want, log)
		}
	}
}

// inline makes a Bash step as `- bash:` does.
func inline(name, text string, change ...func(*job.Step)) job.Step {
	s := script(name, text, change...)
	s.Reference, s.Inputs["targetType"] = bash, "inline"
	return s
}

func setAndShow() []job.Step {
	return []job.Step{
		inline("set", "echo \"##vso[task.setvariable variable=a]20\"\necho $(a)"),
		inline("show", "echo $(a)"),
	}
}
