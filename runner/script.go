package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/hint"
)

// commandRuler stands between what a script task says and what the script does.
const commandRuler = "========================== Starting Command Output ==========================="

// scriptTasks are the built-ins that run a script by a shell.
func scriptTasks() map[string]task {
	return map[string]task{
		"d9bafed4-0b18-4f58-968d-86655b4d2ce9@2": {
			name: "CmdLine", title: "Command line", description: "Run a command line script using Bash.", run: runCommandLine,
		},
		"6c731c3c-3c68-459a-a5c9-bde6e6595b5b@3": {
			name: "Bash", title: "Bash", description: "Run a Bash script.", run: runBash,
		},
		"e213ff0f-5d5c-4791-802d-52ea3e7be1f1@2": {
			name: "PowerShell", title: "PowerShell", description: "Run a PowerShell script.", run: runPowerShell,
		},
	}
}

// runCommandLine is CmdLine@2 (language §5.1).
func runCommandLine(ctx context.Context, a *attempt) error {
	script := a.in.text("script", "")
	if script == "" {
		return errors.New("the input script is empty")
	}
	if is, _ := a.isFile(a.path(script)); is && !strings.ContainsAny(script, "\n") {
		script = "exec " + script
	}
	return runScript(ctx, a, script, a.env, "--noprofile", "--norc")
}

// runBash is Bash@3 (language §5.2).
func runBash(ctx context.Context, a *attempt) error {
	if value := a.in.text("bashEnvValue", ""); value != "" {
		if old := a.env["BASH_ENV"]; old != "" {
			a.node.print(fmt.Sprintf("BASH_ENV is %s for this step, in place of %s.", value, old))
		}
		a.env["BASH_ENV"] = value
	}
	if !strings.EqualFold(a.in.text("targetType", "filePath"), "filePath") {
		return runScript(ctx, a, a.in.text("script", ""), a.env)
	}
	given := a.in.text("filePath", "")
	file := a.path(given)
	if is, seen := a.isFile(file); given == "" || seen && !is {
		return fmt.Errorf("the input filePath %q is no file", given)
	}
	script := "exec bash " + quote(file)
	if a.env["AZP_BASHV3_OLD_SOURCE_BEHAVIOR"] != "" {
		script = ". " + quote(file)
	}
	if arguments := a.in.text("arguments", ""); arguments != "" {
		script += " " + arguments
	}
	return runBashScript(ctx, a, script, "Formatted command: "+script, a.env)
}

// quote writes text as one word of a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// runScript runs a script of the pipeline with bash. One of a single line is
// shown, unless it is a logging command, which would look like one then.
func runScript(ctx context.Context, a *attempt, script string, env environment, options ...string) error {
	shown := ""
	if !strings.Contains(script, "\n") && !strings.Contains(strings.ToLower(script), "##vso[") {
		shown = "Script contents:\n" + script
	}
	return runBashScript(ctx, a, script, shown, env, options...)
}

func runBashScript(ctx context.Context, a *attempt, script, shown string, env environment, options ...string) error {
	bash, err := a.look(env, "bash")
	if err != nil {
		return hint.With(err, "install bash, or name its directory in PATH")
	}
	f := scriptFile{
		name: "Bash", program: bash, end: ".sh", content: script, shown: shown, env: env,
		args: func(file string) []string { return append(options, file) },
	}
	return f.run(ctx, a)
}

// scriptFile is a script that a program runs out of a file.
type scriptFile struct {
	name    string // of the program, in messages
	program string // its path
	args    func(file string) []string
	end     string // of the file's name
	content string
	shown   string // what the log says of it; empty: nothing
	env     environment
}

// run writes the script to a file that only this user reads, because its macros
// may be expanded secrets, runs it and removes it.
func (f scriptFile) run(ctx context.Context, a *attempt) (err error) {
	dir, err := a.directory(a.in.text("workingDirectory", ""))
	if err != nil {
		return err
	}
	a.node.print("Generating script.")
	if f.shown != "" {
		for line := range strings.SplitSeq(f.shown, "\n") {
			a.node.print(line)
		}
	}
	file := filepath.Join(a.x.folders.temp, uuid.NewString()+f.end)
	if err := os.WriteFile(file, []byte(a.inside(f.content)), 0o600); err != nil {
		return fmt.Errorf("writing the script: %w", err)
	}
	defer func() {
		if rerr := os.Remove(file); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("removing the script: %w", rerr))
		}
	}()
	a.node.print(commandRuler)
	args := f.args(file)
	a.node.print(a.inside("##[command]" + f.program + " " + strings.Join(args, " ")))
	return exitError(f.name, a.process(ctx, program{
		path: f.program, args: args, dir: dir, env: f.env, commands: true, noStderr: a.in.truth("failOnStderr", false),
	}))
}
