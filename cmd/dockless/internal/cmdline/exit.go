// Package cmdline knows how every command line of dockless is taken and how it ends:
// what its arguments and flags may be, what a signal does to it, the trace that it
// is part of, and the exit code that its error stands for. Only package main prints
// the error and exits.
package cmdline

import "fmt"

// Exit codes.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitInterrupted = 130
)

// UsageError marks unusable settings or arguments.
type UsageError struct{ err error }

// Error implements error.
func (e UsageError) Error() string { return e.err.Error() }

// Unwrap returns what cannot be used.
func (e UsageError) Unwrap() error { return e.err }

// Unusable marks err as one of unusable settings or arguments.
func Unusable(err error) error { return UsageError{err} }

// Usagef is [fmt.Errorf] for unusable settings or arguments.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// QuietError carries an exit code for something that was already shown, such as
// a job that failed.
type QuietError struct{ Code int }

// ExitWith ends the command with a code, and prints nothing more.
func ExitWith(code int) error { return QuietError{code} }

// Error implements error.
func (e QuietError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }
