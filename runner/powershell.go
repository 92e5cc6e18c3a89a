package runner

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
)

// preference is a variable of PowerShell that an input sets.
type preference struct{ input, variable, otherwise string }

// preferences are those of PowerShell@2, in the order of the script.
var preferences = []preference{
	{"errorActionPreference", "ErrorActionPreference", "stop"},
	{"warningPreference", "WarningPreference", "default"},
	{"informationPreference", "InformationPreference", "default"},
	{"verbosePreference", "VerbosePreference", "default"},
	{"debugPreference", "DebugPreference", "default"},
	{"progressPreference", "ProgressPreference", "silentlyContinue"},
}

// byteOrderMark tells Windows PowerShell that a script is UTF-8. PowerShell reads
// past it, so the task writes one everywhere.
const byteOrderMark = "\ufeff"

// exitCode ends a script as the last program that it ran did, if it ran one.
const exitCode = "if (Test-Path -LiteralPath variable:LASTEXITCODE) { exit $LASTEXITCODE }"

// runPowerShell is PowerShell@2 (language §5.3). Here pwsh always runs it,
// whatever the input of that name says.
func runPowerShell(ctx context.Context, a *attempt) error {
	content, shown, err := powerShellScript(a)
	if err != nil {
		return err
	}
	program, err := a.look(a.env, "pwsh")
	if err != nil {
		if older, oerr := a.look(a.env, "powershell"); oerr == nil {
			program, err = older, nil
		}
	}
	if err != nil {
		return hint.With(err, "install PowerShell in the agent's image, name its directory in PATH, or use a bash step")
	}
	operator := "."
	if a.in.truth("runScriptInSeparateScope", false) {
		operator = "&"
	}
	f := scriptFile{
		name: "PowerShell", program: program, end: ".ps1", content: byteOrderMark + content, shown: shown, env: a.env,
		args: func(file string) []string {
			return []string{"-NoLogo", "-NoProfile", "-NonInteractive", "-Command", operator + " " + quotePowerShell(file)}
		},
	}
	return f.run(ctx, a)
}

// powerShellScript returns what the file of the script holds, and what the log
// says of it.
func powerShellScript(a *attempt) (content, shown string, err error) {
	var lines []string
	for _, p := range preferences {
		value := a.in.text(p.input, p.otherwise)
		allowed := []string{"default", "stop", "continue", "silentlyContinue"}
		if !slices.ContainsFunc(allowed, func(v string) bool { return strings.EqualFold(v, value) }) {
			return "", "", fmt.Errorf("the input %s is %q, which is none of %s", p.input, value, strings.Join(allowed, ", "))
		}
		if !strings.EqualFold(value, "default") {
			lines = append(lines, fmt.Sprintf("$%s = '%s'", p.variable, value))
		}
	}
	script := ""
	switch kind := a.in.text("targetType", "filePath"); strings.ToLower(kind) {
	case "inline":
		script = a.in.text("script", "")
	case "filepath":
		given := a.in.text("filePath", "")
		file := a.path(given)
		is, seen := a.isFile(file)
		if given == "" || seen && !is || !strings.HasSuffix(strings.ToLower(file), ".ps1") {
			return "", "", fmt.Errorf("the input filePath %q is no file that ends in .ps1", given)
		}
		script = strings.TrimSpace(". " + quotePowerShell(file) + " " + a.in.text("arguments", ""))
		shown = "Formatted command: " + script
	default:
		return "", "", fmt.Errorf("the input targetType is %q, which is neither inline nor filePath", kind)
	}
	if a.in.truth("showWarnings", false) {
		script = showWarnings(script)
	}
	lines = append(lines, script)
	if !a.in.truth("ignoreLASTEXITCODE", false) {
		lines = append(lines, exitCode)
	}
	return strings.Join(lines, "\n"), shown, nil
}

// showWarnings makes issues of the warnings of a script: stream 3 is theirs.
// Everything else goes on as it comes.
func showWarnings(script string) string {
	return ". {\n" + script + "\n" + `} 3>&1 | ForEach-Object {
    if ($_ -is [System.Management.Automation.WarningRecord]) {
        Write-Host ('##vso[task.logissue type=warning;]' + ($_.Message -replace "` + "`r" + `", '%0D' -replace "` + "`n" + `", '%0A'))
    } else { $_ }
}`
}

// quotePowerShell writes text as one string of PowerShell, to which typographic
// quotation marks are quotation marks as well.
func quotePowerShell(text string) string {
	var quoted strings.Builder
	quoted.WriteByte('\'')
	for _, c := range text {
		if strings.ContainsRune("'‘’‚‛", c) {
			quoted.WriteRune(c)
		}
		quoted.WriteRune(c)
	}
	quoted.WriteByte('\'')
	return quoted.String()
}
