// Command images builds the base images that tests, examples and the demo
// name in their Dockerfiles and compose files, from this host's Debian packages:
// no public registry is assumed. They behave like the public images of the same
// name, with Debian's versions inside, and land in a registry's file store that
// test/rig serves as the mirror of docker.io.
//
// Each image is remembered by a hash of all that it is made of, its base among
// them, so a second run builds only what has changed.
//
//	go run ./test/images -o .build/images [-only NAME,NAME]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/dockless-ci/dockless/internal/hint"
)

func main() {
	out := flag.String("o", ".build/images", "folder for the images")
	only := flag.String("only", "", "comma-separated names of the images to build; empty is all")
	goroot := flag.String("goroot", "", "Go distribution for the golang image; empty asks the go command")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *out, *goroot, wanted(*only))
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		for _, text := range hint.All(err) {
			fmt.Fprintln(os.Stderr, "hint:", text)
		}
		os.Exit(1)
	}
}

// run finds the Go distribution if none is named, and builds the images.
func run(ctx context.Context, out, goroot string, names []string) error {
	if goroot == "" {
		answer, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if err != nil {
			return hint.With(fmt.Errorf("finding the Go distribution: %w", err), "put go on PATH or name its folder with -goroot")
		}
		goroot = strings.TrimSpace(string(answer))
	}
	return build(ctx, out, goroot, names)
}

// wanted returns the chosen names, or nil for all.
func wanted(only string) []string {
	if only == "" {
		return nil
	}
	return strings.Split(only, ",")
}

var errUnknownImage = errors.New("no such image")
