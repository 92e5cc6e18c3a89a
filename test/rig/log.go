package rig

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// KeepLog shows the end of a component's log when the test fails, and keeps the
// whole file in .build/logs, because the clean-up deletes the original. It must
// be called after the component's own clean-up was registered, to run before it.
func KeepLog(tb testing.TB, name, log string) {
	tb.Helper()
	tb.Cleanup(func() {
		if !tb.Failed() {
			return
		}
		tb.Logf("%s", tail(log))
		kept, err := keep(name, log)
		if err != nil {
			tb.Logf("keeping the log of %s: %v", name, err)
			return
		}
		tb.Logf("whole log of %s: %s", name, kept)
	})
}

// keep copies a log to a file that outlives the rig.
func keep(name, log string) (path string, err error) {
	from, err := os.Open(log)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := CreateLog(name + "-*.log")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return "", fmt.Errorf("copying a log: %w", err)
	}
	return to.Name(), nil
}

// CreateLog makes a file in .build/logs, which outlives the test; the caller
// closes it. In the pattern a "*" stands for what makes the name unique.
func CreateLog(pattern string) (*os.File, error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, ".build", "logs")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("making a place for logs: %w", err)
	}
	file, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return nil, fmt.Errorf("keeping a log: %w", err)
	}
	return file, nil
}
