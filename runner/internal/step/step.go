// Package step says what a built-in task may do with the step that it runs: read
// inputs and variables, write into the log, set variables, open files of the job,
// and run programs.
//
// The runner implements [Step]; each family of built-ins is a package of its own
// beside this one and knows nothing else of a job. A built-in returns nil when it
// is done, and otherwise the error that the step fails with.
package step

import (
	"context"
	"io"
	"os"
)

// Func is a built-in task. It returns when no process of its own is left.
type Func func(ctx context.Context, s Step) error

// Step is one try of one step. Its methods may be called concurrently.
type Step interface {
	Inputs
	Files
	Log
	Effects

	// Run runs a program in the step: its output goes into the log, and ends with
	// the context. The error of one that ends with another code than 0 says so.
	Run(ctx context.Context, p Program) error
}

// Inputs are what the step was given, with macros expanded and blanks trimmed.
// Names ignore case.
type Inputs interface {
	// Text returns an input, or otherwise when it is absent or empty.
	Text(name, otherwise string) string
	// Given reports whether the step names the input, be it empty.
	Given(name string) bool
	// Truth returns an input as the service reads truth values.
	Truth(name string, otherwise bool) bool
	// Variable returns a variable of the job, or "" when there is none.
	Variable(name string) string
}

// Files are the files that the job may read and write.
type Files interface {
	// Path resolves a path of an input against the default working directory,
	// which is also what an empty one means.
	Path(value string) string
	// Target resolves the path of an input as Path does, for what is written, made
	// or removed at it or below. A step in a container could have put a link there
	// that leads to files of the agent: in a job with such steps a path fails that
	// leads out of what containers see. Ask right before the path is used.
	Target(input, value string) (string, error)
	// Open opens a file that the job names, as far as the job may read it: never
	// open such a file in another way.
	Open(path string) (*os.File, error)
	// Temp is a directory that only this user can read; the job's end empties it.
	Temp() string
}

// Log is the log of the step. Whatever is given to it is masked. Like Effects it
// must not be used by what a logging command does beside the step.
type Log interface {
	// Print writes one line of the agent's own.
	Print(line string)
	// Warning adds a warning to the record of the step.
	Warning(text string)
	// Error adds an error to the record of the step, which fails only when the
	// built-in returns an error, too.
	Error(err error)
}

// Effects are what a step leaves behind besides files.
//
// They are for the built-in itself and take the lock of the step's record, with
// which logging commands are carried out. So neither a command nor what it does
// beside the step, such as an upload, may call them: the step may be waiting for
// that with the lock, and Command would then never return.
type Effects interface {
	// SetVariable sets a plain variable for later steps, as task.setvariable does.
	SetVariable(name, value string) error
	// SetOutput sets an output variable of the step.
	SetOutput(name, value string) error
	// WithIssues makes the step succeed with issues, unless it fails.
	WithIssues()
	// Command carries out a logging command, as if the step had printed it. Names
	// of properties are in lower case.
	Command(area, event string, properties map[string]string, data string)
}

// Program is one process of a step.
type Program struct {
	// Path is the program: a name without a slash is looked for on the PATH of the
	// step.
	Path string
	Args []string
	// Dir is the working directory; empty is the default working directory.
	Dir string
	// Env has entries besides those of the step.
	Env map[string]string
	// Commands says that logging commands in its output are carried out; otherwise
	// they are made harmless.
	Commands bool
	// FailOnStderr makes anything on standard error an error of the step.
	FailOnStderr bool
	// Copy takes a copy of the raw output; nil: nobody does.
	Copy io.Writer
}
