// Package kit knows how to pack what a container of a job needs of the agent's: the
// program that starts processes in it, and a Node.js that runs whatever C library
// its image has. Both are copied, because the Podman service may see nothing of the
// agent's files but the work folder, and copied for each job, because a job could
// change what it leaves to the next one.
//
// It talks to the file system, and to the loader of dynamic programs.
package kit

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/internal/launch"
	"github.com/dockless-ci/dockless/runner/internal/conceal"
)

// Launcher copies a program to file. It must be static: images have other C
// libraries, or none.
func Launcher(program, file string) error {
	interpreter, err := loader(program)
	if err == nil && interpreter != "" {
		err = hint.With(fmt.Errorf("it needs the loader %s, which images may lack", interpreter), "build dockless with CGO_ENABLED=0")
	}
	if err == nil {
		err = copyFile(program, file)
	}
	if err != nil {
		return fmt.Errorf("copying the program that runs in containers: %w", err)
	}
	return nil
}

// loader returns the loader that a program names; empty for a static one.
func loader(program string) (string, error) {
	f, err := elf.Open(program)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // read only
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			text, err := io.ReadAll(io.LimitReader(p.Open(), 4096))
			return string(bytes.TrimRight(text, "\x00")), err
		}
	}
	return "", nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()                                             //nolint:errcheck // read only
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil { //nolint:gosec // containers read it as other users
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755) //nolint:gosec // as above
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// loaderTimeout bounds the question for a program's libraries, which takes
// milliseconds on a warm disk.
const loaderTimeout = 30 * time.Second

// Node copies a Node.js with the libraries it needs to dir, for [launch.Node]. It is
// started again through a link to launcher, a path where it will run. The loader is
// asked for the libraries beneath veil, as everything that is not surely ours.
func Node(ctx context.Context, program, dir, launcher string, veil *conceal.Veil) error {
	if err := packNode(ctx, program, dir, veil); err != nil {
		return hint.With(fmt.Errorf("copying the Node.js %s for the containers: %w", program, err),
			"set DOCKLESS_NODE to a program of Node.js, not to a script that starts one")
	}
	if err := os.Symlink(launcher, launch.NodeLink(dir)); err != nil {
		return fmt.Errorf("copying Node.js for the containers: %w", err)
	}
	return nil
}

func packNode(ctx context.Context, program, dir string, veil *conceal.Veil) error {
	interpreter, err := loader(program)
	if err != nil {
		return err
	}
	if interpreter == "" {
		return errors.New("it is static, which is not supported")
	}
	libraries, err := libraries(ctx, interpreter, program, veil)
	if err != nil {
		return fmt.Errorf("asking %s for the libraries of %s: %w", interpreter, program, err)
	}
	files := launch.NodeFiles(dir)
	if err := errors.Join(copyFile(program, files.Program), copyFile(interpreter, files.Loader)); err != nil {
		return err
	}
	for name, file := range libraries {
		if err := copyFile(file, filepath.Join(files.Libraries, name)); err != nil {
			return err
		}
	}
	return os.WriteFile(files.Preload, []byte(launch.NodePreload), 0o644) //nolint:gosec // containers read it as other users
}

// libraries asks a loader what a program would be loaded with, by name.
func libraries(ctx context.Context, interpreter, program string, veil *conceal.Veil) (map[string]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loaderTimeout, fmt.Errorf("no answer within %s", loaderTimeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, interpreter, "--list", program)
	cmd.Env, cmd.WaitDelay = []string{}, time.Second
	var out bytes.Buffer
	cmd.Stdout = &out
	err := veil.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return parseLibraries(out.String(), filepath.Base(interpreter))
}

// parseLibraries reads lines of the form "libm.so.6 => /lib/libm.so.6 (0x7f…)".
// Those without an arrow are the loader itself and what the kernel brings.
func parseLibraries(text, interpreter string) (map[string]string, error) {
	found := make(map[string]string)
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " => ")
		if !ok || filepath.Base(name) == interpreter {
			continue
		}
		file, _, _ := strings.Cut(rest, " (0x")
		file = strings.TrimSpace(file)
		if !filepath.IsAbs(file) {
			return nil, fmt.Errorf("%s: %s", name, file) // "not found"
		}
		if base := filepath.Base(name); base != "." && filepath.IsLocal(base) {
			found[base] = file
		}
	}
	return found, nil
}
