// Command dockless is an Azure Pipelines agent that needs no Docker daemon.
// This package puts the commands together and has those that run jobs, or prepare
// for them; the others are packages below internal. This file starts the program
// and turns its error into lines and an exit code. Only this package prints hints,
// starts a context and exits; it and those below it read the environment.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sirupsen/logrus"

	"github.com/dockless-ci/dockless/cmd/dockless/internal/cmdline"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/console"
	"github.com/dockless-ci/dockless/cmd/dockless/internal/stackcmd"
	"github.com/dockless-ci/dockless/internal/ado"
	"github.com/dockless-ci/dockless/internal/entra"
	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/launch"
	"github.com/dockless-ci/dockless/internal/pipeline"
)

// version is set by the linker.
var version = "dev"

func main() {
	// In a container of a job, this program is the one that starts its steps.
	if asked, err := launch.Main(os.Args, os.Environ()); asked {
		if err != nil {
			printError(os.Stderr, err)
			os.Exit(cmdline.ExitFailed)
		}
		return
	}
	// Libraries of the container world write to logrus' global logger; what they
	// have to say reaches us as errors and warnings of their calls.
	logrus.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := notifyContext()
	defer stop()
	root := newRoot()
	root.SetArgs(stackcmd.Arguments(args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return cmdline.ExitOK
	}
	if _, quiet := errors.AsType[cmdline.QuietError](err); !quiet {
		printError(stderr, err)
	}
	return exitCode(ctx, err)
}

// notifyContext returns a context that the first SIGINT or SIGTERM cancels. A
// second signal ends the program at once, unless the command has a use for it:
// whoever sends it does not want to wait for the clean-up any longer.
func notifyContext() (context.Context, context.CancelFunc) {
	parent, second := cmdline.WithSecondSignal(context.Background())
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for count := 1; ; count++ {
			select {
			case s := <-signals:
				switch {
				case count == 1:
					cancel(cmdline.InterruptError{Signal: s})
				case count == 2 && second():
				default:
					os.Exit(cmdline.ExitInterrupted)
				}
			case <-done:
				return
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

func exitCode(ctx context.Context, err error) int {
	if quiet, ok := errors.AsType[cmdline.QuietError](err); ok {
		return quiet.Code
	}
	if _, ok := errors.AsType[cmdline.UsageError](err); ok {
		return cmdline.ExitUsage
	}
	if _, ok := errors.AsType[*pipeline.Error](err); ok {
		return cmdline.ExitUsage
	}
	if refused, ok := errors.AsType[*entra.RefusedError](err); ok && !refused.Temporary() {
		return cmdline.ExitUsage
	}
	if errors.Is(err, ado.ErrUnauthorized) || errors.Is(err, ado.ErrPoolNotFound) {
		return cmdline.ExitUsage
	}
	if cmdline.Interrupted(ctx) {
		return cmdline.ExitInterrupted
	}
	return cmdline.ExitFailed
}

// printError writes one "error:" line and the hints below it.
func printError(w io.Writer, err error) {
	console.Say(w, "error: %s\n", console.OneLine(err.Error()))
	for _, h := range hint.All(err) {
		console.Say(w, "hint: %s\n", console.OneLine(h))
	}
}
