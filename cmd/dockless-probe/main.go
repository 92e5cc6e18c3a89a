//go:build linux && (amd64 || arm64)

// Command dockless-probe answers an exec probe from the page of package probe:
//
//	dockless-probe live|ready [--file F] [--slot S] [--process P] [--max-age D]
//
// It exits with 0 for yes, 1 for no and 2 for arguments it does not
// understand, after one line on standard output that says why. A probe runs
// every few seconds in every pod, so it is made to cost no more than cat: see
// early.go.
package main

import (
	"os"

	"github.com/dockless-ci/dockless/cmd/dockless-probe/internal/answer"
)

func main() { os.Exit(answer.Run()) }
