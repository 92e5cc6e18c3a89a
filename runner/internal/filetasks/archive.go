package filetasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// archive is one ArchiveFiles@2.
type archive struct {
	step           step.Step
	base           string   // the directory from which names count
	names          []string // of what is packed, in base
	file           string   // the archive
	old            fs.FileInfo
	add            bool // to the old archive
	kind           string
	compression    string
	verbose, quiet bool
}

// Archive is ArchiveFiles@2.
func Archive(ctx context.Context, s step.Step) error {
	a, err := newArchive(s)
	if err != nil {
		return err
	}
	write, err := a.writer()
	if err != nil {
		return err
	}
	if err := a.lookAtOld(s.Truth("replaceExistingArchive", true)); err != nil {
		return err
	}
	a.announce()
	if err := os.MkdirAll(filepath.Dir(a.file), 0o777); err != nil { //nolint:gosec // the umask decides, as for what the job makes itself
		return fmt.Errorf("making the folder of the archive: %w", err)
	}
	if err := a.replace(ctx, write); err != nil {
		return fmt.Errorf("making %s: %w", a.file, err)
	}
	return nil
}

func newArchive(s step.Step) (*archive, error) {
	root, err := required(s, "rootFolderOrFile", s.Variable("build.binariesDirectory"))
	if err != nil {
		return nil, err
	}
	file, err := required(s, "archiveFile", s.Variable("build.artifactStagingDirectory")+"/"+s.Variable("build.buildId")+".zip")
	if err != nil {
		return nil, err
	}
	root = filepath.Clean(s.Path(root))
	a := &archive{
		step: s, file: filepath.Clean(s.Path(file)), base: filepath.Dir(root), names: []string{filepath.Base(root)},
		kind: strings.ToLower(s.Text("archiveType", "zip")), compression: strings.ToLower(s.Text("tarCompression", "gz")),
		verbose: s.Truth("verbose", false), quiet: s.Truth("quiet", false),
	}
	// A link in the place of the archive itself is replaced.
	if _, err := s.Target("archiveFile", filepath.Dir(a.file)); err != nil {
		return nil, err
	}
	info, err := os.Stat(root)
	if err != nil {
		return nil, fmt.Errorf("the input rootFolderOrFile: %w", err)
	}
	if info.IsDir() && !s.Truth("includeRootFolder", true) {
		entries, err := os.ReadDir(root)
		if err != nil {
			return nil, fmt.Errorf("the input rootFolderOrFile: %w", err)
		}
		a.base, a.names = root, nil
		for _, e := range entries {
			a.names = append(a.names, e.Name())
		}
	}
	return a, nil
}

// writer returns what writes an archive of the kind into a file, which is empty
// or has the old archive in it.
func (a *archive) writer() (func(ctx context.Context, file string) error, error) {
	switch a.kind {
	case "zip", "default":
		return a.zip, nil
	case "tar":
		switch a.compression {
		case "gz", "bz2", "xz", "none":
			return a.tar, nil
		}
		return nil, fmt.Errorf("the input tarCompression is %q, which is none of gz, bz2, xz and none", a.compression)
	case "7z", "wim":
		return a.sevenZip, nil
	}
	return nil, fmt.Errorf("the input archiveType is %q, which is none of zip, tar, 7z and wim", a.kind)
}

func (a *archive) lookAtOld(replace bool) error {
	info, err := os.Stat(a.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("the input archiveFile: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("the input archiveFile: %s exists and is no file", a.file)
	}
	a.old = info
	if a.add = !replace; !a.add {
		a.step.Print("Replacing the archive " + a.file)
		return nil
	}
	if a.kind == "tar" && a.compression != "none" {
		return hint.With(fmt.Errorf("%s exists, and nothing can be added to a compressed tar", a.file), "set replaceExistingArchive, or tarCompression: none")
	}
	a.step.Print("Adding to the archive " + a.file)
	return nil
}

// shown bounds how many names are announced.
const shown = 10

func (a *archive) announce() {
	a.step.Print(fmt.Sprintf("Found %d files", len(a.names)))
	for i, name := range a.names {
		if i == shown {
			a.step.Print(fmt.Sprintf("... %d more ...", len(a.names)-i))
			break
		}
		a.step.Print("Archiving file: " + name)
	}
}

// replace puts what write makes in the place of the archive: it is there whole,
// or the old one stays.
func (a *archive) replace(ctx context.Context, write func(ctx context.Context, file string) error) (err error) {
	temporary := filepath.Join(filepath.Dir(a.file), "."+uuid.NewString()+"."+a.kind)
	defer func() {
		if rerr := os.Remove(temporary); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}()
	if err := write(ctx, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, a.file)
}

// create makes the new file, which nobody else put there.
func create(file string) (*os.File, error) {
	return os.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // the umask decides, as for what the job makes itself
}

// skips reports whether what is found is the old archive itself.
func (a *archive) skips(info fs.FileInfo) bool { return a.old != nil && os.SameFile(a.old, info) }
