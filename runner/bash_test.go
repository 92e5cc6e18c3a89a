package runner_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
)

func TestBash(t *testing.T) {
	for name, c := range map[string]struct {
		inputs []string
		env    map[string]string
		want   []string
		log    string // what it has, too
		result job.Result
	}{
		"a file with arguments": {
			inputs: []string{"filePath", "it's.sh", "arguments", `one "two  three" $HOME_OF_IT`}, env: map[string]string{"HOME_OF_IT": "four"},
			want: []string{"3: one|two  three|four", "itself: it's.sh"}, log: "\nFormatted command: exec bash '",
		},
		"a file as it was once run": {
			inputs: []string{"targetType", "FilePath", "filePath", "it's.sh"}, env: map[string]string{"AZP_BASHV3_OLD_SOURCE_BEHAVIOR": "1"},
			want: []string{"0: ||"}, log: "\nFormatted command: . '",
		},
		"unless that is empty": {
			inputs: []string{"filePath", "it's.sh"}, env: map[string]string{"AZP_BASHV3_OLD_SOURCE_BEHAVIOR": ""},
			want: []string{"0: ||", "itself: it's.sh"}, log: "\nFormatted command: exec bash '",
		},
		"a file to begin with": {
			inputs: []string{"targetType", "inline", "script", "greet\n", "bashEnvValue", "~/begin"},
			want:   []string{"hello"}, log: "Generating script.",
		},
		"in place of another": {
			inputs: []string{"targetType", "inline", "script", "echo $BASH_ENV", "bashEnvValue", "begin"}, env: map[string]string{"BASH_ENV": "other"},
			want: []string{"begin"}, log: "\nBASH_ENV is begin for this step, in place of other.\n",
		},
		"anything on standard error": {
			inputs: []string{"targetType", "inline", "script", "echo oh dear >&2", "failOnStderr", "true"},
			want:   []string{"##[error]oh dear"}, result: job.Failed,
		},
		"no file": {
			inputs: []string{"filePath", "nothing.sh"}, want: nil, result: job.Failed, log: `the input filePath "nothing.sh" is no file`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := script("before", `printf 'greet() { echo hello; }\n' > ~/begin; printf '[ "$0" = bash ] || case $0 in *it*) ;; *) set --;; esac; echo "$#: $1|$2|$3"\ncase $0 in *s.sh) echo "itself: $(basename "$0")";; esac\n' > "it's.sh"`)
			s := use(bash, c.inputs...)
			s.Environment = c.env
			rec, _ := run(t, config(t), message(before, s))
			want := c.result
			if want == "" {
				want = job.Succeeded
			}
			log := strings.Join(rec.log(t, "it"), "\n")
			if it := rec.record(t, "it"); it.Result != want || !strings.Contains(log, c.log) {
				t.Errorf("the step %s, want %s and %q in its log:\n%s", it.Result, want, c.log, log)
			}
			if diff := cmp.Diff(c.want, rec.output(t, "it")); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

func TestALoggingCommandIsNotShownAsAScript(t *testing.T) {
	rec, _ := run(t, config(t), message(script("it", "echo '##VSO[task.setvariable variable=x]1'"), script("after", "echo $(x)")))
	if log := strings.Join(rec.log(t, "it"), "\n"); strings.Contains(log, "Script contents:") {
		t.Errorf("the script is shown:\n%s", log)
	}
}
