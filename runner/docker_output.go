package runner

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/runner/internal/command"
)

// output opens where what we print for a command goes: the log and a file. end
// finishes both.
func (d *dockerStep) output(name string) (w io.Writer, end func() error, err error) {
	file, endFile, err := d.outputFile(name)
	if err != nil {
		return nil, nil, err
	}
	log := &splitter{n: d.node, execute: d.node.disarm}
	return io.MultiWriter(log, file), func() error {
		log.finish()
		return endFile()
	}, nil
}

// outputFile opens a file for the output of a command, which the variable
// DockerOutput names. What is written is masked, and end makes the logging
// commands in it harmless.
func (d *dockerStep) outputFile(name string) (w io.Writer, end func() error, err error) {
	dir := filepath.Join(d.x.folders.temp, "task_outputs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("keeping the output of docker: %w", err)
	}
	path := filepath.Join(dir, name+"_"+uuid.NewString()+".txt")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return nil, nil, fmt.Errorf("keeping the output of docker: %w", err)
	}
	masked := d.x.masks.NewWriter(file)
	d.outputs = append(d.outputs, path)
	return masked, func() error { return errors.Join(masked.Close(), file.Close(), d.x.disarmFile(path)) }, nil
}

// disarmFile makes logging commands in a file harmless, for the script that
// shows it.
func (x *execution) disarmFile(path string) error {
	from, err := x.open(path)
	if err == nil {
		err = errors.Join(disarmed(from, path), from.Close())
	}
	if err != nil {
		return fmt.Errorf("keeping the output of docker: %w", err)
	}
	return nil
}

// disarmed does so in place, a piece at a time: outputs can be large.
func disarmed(from io.Reader, path string) (err error) {
	to, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	const seam = len(command.Prefix) - 1 // of a mark that goes on in the next piece
	piece := make([]byte, seam+1<<16)
	kept, at := 0, int64(0) // bytes of the piece before; where the piece begins
	for {
		n, err := from.Read(piece[kept:])
		text := piece[:kept+n]
		harmless := []byte(command.Disarm(string(text)))
		for i := range text {
			if harmless[i] != text[i] {
				if _, err := to.WriteAt(harmless[i:i+1], at+int64(i)); err != nil {
					return err
				}
			}
		}
		kept = min(seam, len(text))
		at += int64(len(text) - kept)
		copy(piece, harmless[len(text)-kept:])
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
