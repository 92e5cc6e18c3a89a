package runner_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner"
)

var powerShell = job.TaskReference{ID: "e213ff0f-5d5c-4791-802d-52ea3e7be1f1", Name: "PowerShell", Version: "2.279.0"}

// standIn is no PowerShell, which cannot be installed where these tests run. It
// says how it was called and what its script holds, so these tests show what the
// task hands to PowerShell and makes of its end, and not what PowerShell does.
const standIn = `#!/bin/sh
printf 'argument: %s\n' "$@"
file=${5#*\'}
file=${file%\'}
echo "beginning: $(head -c 3 "$file" | od -An -tx1), mode $(stat -c %a "$file")"
tail -c +4 "$file" | sed 's/##vso/##_vso/' # to be shown, not carried out
echo
echo "##vso[task.setvariable variable=said]by $(basename "$0")"
[ -z "$COMPLAINT" ] || echo "$COMPLAINT" >&2
exit "${CODE:-0}"
`

// withPowerShell returns settings for a machine that has the stand-in under name.
func withPowerShell(t *testing.T, name string) runner.Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(standIn), 0o755); err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.Environment = append(cfg.Environment, "PATH="+dir+":/usr/bin:/bin")
	return cfg
}

func TestPowerShellGetsItsScript(t *testing.T) {
	const end = "if (Test-Path -LiteralPath variable:LASTEXITCODE) { exit $LASTEXITCODE }"
	for name, c := range map[string]struct {
		inputs []string
		call   string // the operator that the script is called by
		script []string
		shown  string
	}{
		"inline": {
			inputs: []string{"targetType", "inline", "script", "Write-Host hi\nWrite-Host $(name)"},
			script: []string{"$ErrorActionPreference = 'stop'", "$ProgressPreference = 'silentlyContinue'", "Write-Host hi", "Write-Host value", end},
		},
		"with all preferences": {
			inputs: []string{
				"targetType", "inline", "script", "x", "errorActionPreference", "default", "progressPreference", "Continue", "ignoreLASTEXITCODE", "true",
				"warningPreference", "stop", "informationPreference", "continue", "verbosePreference", "SilentlyContinue", "debugPreference", "continue",
			},
			script: []string{
				"$WarningPreference = 'stop'", "$InformationPreference = 'continue'", "$VerbosePreference = 'SilentlyContinue'",
				"$DebugPreference = 'continue'", "$ProgressPreference = 'Continue'", "x",
			},
		},
		"a file, in a scope of its own": {
			inputs: []string{"filePath", "it's/a.PS1", "arguments", "-Name 'x y' -Force", "runScriptInSeparateScope", "true"}, call: "&",
			script: []string{"$ErrorActionPreference = 'stop'", "$ProgressPreference = 'silentlyContinue'", ". 'SOURCES/it''s/a.PS1' -Name 'x y' -Force", end},
			shown:  "Formatted command: . 'SOURCES/it''s/a.PS1' -Name 'x y' -Force",
		},
		"whose quotation marks are typographic": {
			inputs: []string{"filePath", "it’s.ps1", "ignoreLASTEXITCODE", "true", "errorActionPreference", "Default", "progressPreference", "Default"},
			script: []string{". 'SOURCES/it’’s.ps1'"},
		},
		"with warnings as issues": {
			inputs: []string{"targetType", "inline", "script", "Write-Warning w", "showWarnings", "true", "ignoreLASTEXITCODE", "true", "errorActionPreference", "Default", "progressPreference", "Default"},
			script: []string{
				". {", "Write-Warning w", "} 3>&1 | ForEach-Object {", "    if ($_ -is [System.Management.Automation.WarningRecord]) {",
				"        Write-Host ('##_vso[task.logissue type=warning;]' + ($_.Message -replace \"`r\", '%0D' -replace \"`n\", '%0A'))",
				"    } else { $_ }", "}",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := message(script("before", "mkdir \"it's\"; touch \"it's/a.PS1\" it’s.ps1"), use(powerShell, c.inputs...), script("after", "echo $(said); ls -A $(Agent.TempDirectory) | grep -c ps1"))
			m.Variables["name"] = job.Variable{Value: "value"}
			cfg := withPowerShell(t, "pwsh")
			rec, _ := run(t, cfg, m)
			sources := filepath.Join(cfg.Work, "1", "s")
			log := strings.ReplaceAll(strings.Join(rec.log(t, "it"), "\n"), sources, "SOURCES")
			if rec.record(t, "it").Result != job.Succeeded || !strings.Contains(log, c.shown) {
				t.Errorf("the step %s, want it to succeed and show %q:\n%s", rec.record(t, "it").Result, c.shown, log)
			}
			call := c.call
			if call == "" {
				call = "."
			}
			var got []string
			for _, line := range rec.output(t, "it") {
				if before, _, ok := strings.Cut(line, cfg.Work); ok && strings.HasPrefix(line, "argument:") {
					line = before
				}
				if line = strings.ReplaceAll(line, sources, "SOURCES"); line != "" && !strings.Contains(line, "task.setvariable") {
					got = append(got, line)
				}
			}
			want := append([]string{
				"argument: -NoLogo", "argument: -NoProfile", "argument: -NonInteractive", "argument: -Command", "argument: " + call + " '",
				"beginning:  ef bb bf, mode 600",
			}, c.script...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what PowerShell got (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"by pwsh", "0"}, rec.output(t, "after")[:2]); diff != "" {
				t.Errorf("what it set, and scripts that are left (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPowerShellFailsForAReason(t *testing.T) {
	inline := []string{"targetType", "inline", "script", "x"}
	for name, c := range map[string]struct {
		inputs []string
		env    map[string]string
		issue  string
	}{
		"its code":              {inputs: inline, env: map[string]string{"CODE": "3"}, issue: "PowerShell exited with code '3'."},
		"a complaint":           {inputs: append([]string{"failOnStderr", "true"}, inline...), env: map[string]string{"COMPLAINT": "oh dear"}, issue: "oh dear"},
		"a wrong preference":    {inputs: append([]string{"debugPreference", "loud"}, inline...), issue: `the input debugPreference is "loud", which is none of default, stop, continue, silentlyContinue`},
		"a wrong type":          {inputs: []string{"targetType", "url"}, issue: `the input targetType is "url"`},
		"another file":          {inputs: []string{"filePath", "x.sh"}, issue: `the input filePath "x.sh" is no file that ends in .ps1`},
		"a file that is absent": {inputs: []string{"filePath", "x.ps1"}, issue: `the input filePath "x.ps1" is no file`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := use(powerShell, c.inputs...)
			s.Environment = c.env
			rec, _ := run(t, withPowerShell(t, "pwsh"), message(script("before", "touch x.sh"), s))
			it := rec.record(t, "it")
			if it.Result != job.Failed || len(it.Issues) == 0 || !strings.Contains(it.Issues[0].Message, c.issue) {
				t.Errorf("the step %s with issues %+v, want %q", it.Result, it.Issues, c.issue)
			}
		})
	}
}

func TestAnOlderPowerShellWillDo(t *testing.T) {
	rec, out := run(t, withPowerShell(t, "powershell"), message(use(powerShell, "targetType", "inline", "script", "x"), script("after", "echo $(said)")))
	if got := rec.output(t, "after"); out.Result != job.Succeeded || got[0] != "by powershell" {
		t.Errorf("job %s, said %q", out.Result, got)
	}
}

func TestWithoutPowerShellThereIsAHint(t *testing.T) {
	cfg := withPowerShell(t, "another")
	rec, _ := run(t, cfg, message(use(powerShell, "targetType", "inline", "script", "x")))
	log := strings.Join(rec.log(t, "it"), "\n")
	if it := rec.record(t, "it"); it.Result != job.Failed || !strings.Contains(log, "looking for pwsh on PATH") || !strings.Contains(log, "install PowerShell in the agent's image") {
		t.Errorf("the step %s, want a hint:\n%s", it.Result, log)
	}
}
