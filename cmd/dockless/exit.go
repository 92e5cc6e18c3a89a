package main

import "fmt"

// Exit codes (design §3).
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130
)

// usageError marks unusable settings or arguments.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// unusable marks err as one of unusable settings or arguments.
func unusable(err error) error { return usageError{err} }

// usagef is [fmt.Errorf] for unusable settings or arguments.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// quietError carries an exit code for something that was already shown, such as
// a job that failed.
type quietError struct{ code int }

// exitWith ends the command with a code, and prints nothing more.
func exitWith(code int) error { return quietError{code} }

func (e quietError) Error() string { return fmt.Sprintf("exit code %d", e.code) }
