package rig

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// keepLog shows the end of a component's log when the test fails, and keeps the
// whole file beside the private directory, which the clean-up deletes. It must
// be called after the component's own clean-up was registered, to run before it.
func keepLog(tb testing.TB, name, log string) {
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
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, ".build", "logs")
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("making a place for logs: %w", err)
	}
	from, err := os.Open(log)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, from.Close()) }()
	to, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return "", fmt.Errorf("copying a log: %w", err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		return "", fmt.Errorf("copying a log: %w", err)
	}
	return to.Name(), nil
}
