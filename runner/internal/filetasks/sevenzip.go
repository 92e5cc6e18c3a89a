package filetasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// levels are what sevenZipCompression means to 7-Zip.
var levels = map[string]string{"ultra": "9", "maximum": "7", "normal": "5", "fast": "3", "fastest": "1", "none": "0"}

// sevenZip lets 7-Zip write the archive.
func (a *archive) sevenZip(ctx context.Context, file string) error {
	if a.add {
		if err := a.copyOld(ctx, file); err != nil {
			return err
		}
	}
	// -spd: a name is a name, not a pattern.
	args := []string{"a", "-t" + a.kind, "-spd"}
	if a.kind == "7z" {
		level, ok := levels[strings.ToLower(a.step.Text("sevenZipCompression", "normal"))]
		if !ok {
			level = levels["normal"]
		}
		args = append(args, "-mx="+level)
	}
	if a.verbose {
		args = append(args, "-bb3")
	}
	for _, own := range []string{a.file, file} {
		if name := a.within(own); name != "" {
			args = append(args, "-x!"+name)
		}
	}
	args = append(args, "--", file)
	for _, name := range a.names {
		args = append(args, "./"+name) // no list of names, which an "@" in front would make it
	}
	return runSevenZip(ctx, a.step, "", args, a.base)
}

// within returns the name of a file of the archive's folder as it counts from the
// base, or "" when it is not in there.
func (a *archive) within(file string) string {
	base, err := filepath.EvalSymlinks(a.base)
	if err != nil {
		return ""
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(file))
	if err != nil {
		return ""
	}
	name, err := filepath.Rel(base, filepath.Join(dir, filepath.Base(file)))
	if err != nil || !filepath.IsLocal(name) {
		return ""
	}
	return name
}

// copyOld copies the old archive, for 7-Zip to add to.
func (a *archive) copyOld(ctx context.Context, file string) (err error) {
	old, _, err := opened(a.step, a.file)
	if err != nil {
		return err
	}
	defer old.Close() //nolint:errcheck // read only
	return save(ctx, file, old)
}

// save writes a new file.
func save(ctx context.Context, file string, from io.Reader) (err error) {
	to, err := create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	return copied(ctx, to, from)
}

// runSevenZip runs 7-Zip: the program that is named, or whatever it is called
// here.
func runSevenZip(ctx context.Context, s step.Step, program string, args []string, dir string) error {
	names := []string{"7z", "7zz", "7za"}
	if program != "" {
		names = []string{program}
	}
	for _, name := range names {
		err := s.Run(ctx, step.Program{Path: name, Args: args, Dir: dir})
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return hint.With(fmt.Errorf("this needs 7-Zip, and there is no program %s", strings.Join(names, ", ")),
		"install 7zip in the agent's image, or use zip or tar, which need nothing")
}
