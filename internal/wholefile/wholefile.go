// Package wholefile writes files that readers see whole or not at all, also when
// the writer dies.
package wholefile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Unfinished begins the names of files that are being written. One that is old was
// left by a process that died.
const Unfinished = ".new-"

// Write gives file what data holds. See [WriteFrom].
func Write(file string, mode fs.FileMode, data []byte) error {
	return WriteFrom(file, mode, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteFrom gives file what content writes, under a name of its own beside it that
// becomes file at the end. A link at file is replaced, not followed. The folder
// must be there. The mode is exact, whatever the umask. The last of several calls
// at once is the one that stays. Nothing is forced to the disk: after the machine
// itself went down the file may be empty, so its reader must bear with that.
func WriteFrom(file string, mode fs.FileMode, content func(io.Writer) error) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), Unfinished+"*")
	if err != nil {
		return err
	}
	err = content(tmp)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	if err := os.Rename(tmp.Name(), file); err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}
