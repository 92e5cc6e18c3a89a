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
	}
}

// runCommandLine is CmdLine@2 (language §5.1).
func runCommandLine(ctx context.Context, a *attempt) error {
	script := a.in.text("script", "")
	if script == "" {
		return errors.New("the input script is empty")
	}
	if info, err := os.Stat(a.x.path(script)); err == nil && info.Mode().IsRegular() && !strings.ContainsAny(script, "\n") {
		script = "exec " + script
	}
	return runScript(ctx, a, script, a.env, "--noprofile", "--norc")
}

// runBash is Bash@3 (language §5.2).
func runBash(ctx context.Context, a *attempt) error {
	if value := a.in.text("bashEnvValue", ""); value != "" {
		a.env["BASH_ENV"] = value
	}
	if strings.EqualFold(a.in.text("targetType", "filePath"), "inline") {
		return runScript(ctx, a, a.in.text("script", ""), a.env)
	}
	given := a.in.text("filePath", "")
	file := a.x.path(given)
	if info, err := os.Stat(file); given == "" || err != nil || info.IsDir() {
		return fmt.Errorf("the input filePath %q is no file", given)
	}
	script := "exec bash " + quote(file)
	if _, old := a.env["AZP_BASHV3_OLD_SOURCE_BEHAVIOR"]; old {
		script = ". " + quote(file)
	}
	if arguments := a.in.text("arguments", ""); arguments != "" {
		script += " " + arguments
	}
	return runScript(ctx, a, script, a.env)
}

// quote writes text as one word of a shell.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// runScript writes script to a file that only this user reads, because its
// macros may be expanded secrets, runs it with bash and removes it.
func runScript(ctx context.Context, a *attempt, script string, env environment, options ...string) (err error) {
	dir, err := a.x.directory(a.in.text("workingDirectory", ""))
	if err != nil {
		return err
	}
	bash, err := env.look("bash")
	if err != nil {
		return hint.With(err, "install bash, or name its directory in PATH")
	}
	a.node.print("Generating script.")
	if !strings.Contains(script, "\n") {
		a.node.print("Script contents:")
		a.node.print(script)
	}
	file := filepath.Join(a.x.folders.temp, uuid.NewString()+".sh")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		return fmt.Errorf("writing the script: %w", err)
	}
	defer func() {
		if rerr := os.Remove(file); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			err = errors.Join(err, fmt.Errorf("removing the script: %w", rerr))
		}
	}()
	a.node.print(commandRuler)
	args := append(options, file)
	a.node.print("##[command]" + bash + " " + strings.Join(args, " "))
	return exitError("Bash", a.process(ctx, program{
		path: bash, args: args, dir: dir, env: env, commands: true, noStderr: a.in.truth("failOnStderr", false),
	}))
}
