package filetasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// Extract is ExtractFiles@1. Archives are somebody else's: nothing outside of the
// destination is written because of one, and none fills the disk.
func Extract(ctx context.Context, s step.Step) error {
	lines, err := patterns(s, "archiveFilePatterns", "**/*.zip")
	if err != nil {
		return err
	}
	to, err := required(s, "destinationFolder", "")
	if err != nil {
		return err
	}
	if to, err = s.Target("destinationFolder", to); err != nil {
		return err
	}
	to = filepath.Clean(to)
	files, err := archives(ctx, s, lines)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		s.Warning("No archives were found using specified file patterns")
	}
	s.Print(fmt.Sprintf("Found: %d files to extract:", len(files)))
	for _, file := range files {
		s.Print(file)
	}
	if s.Truth("cleanDestinationFolder", true) {
		s.Print("Cleaning destination folder before extraction: " + to)
		if err := empty(s, to, true); err != nil {
			return fmt.Errorf("cleaning the destination folder: %w", err)
		}
	}
	if err := os.MkdirAll(to, 0o777); err != nil { //nolint:gosec // the umask decides, as for what the job makes itself
		return fmt.Errorf("making the destination folder: %w", err)
	}
	for _, file := range files {
		s.Print("Extracting file: " + file)
		if err := extractOne(ctx, s, file, to); err != nil {
			return fmt.Errorf("extracting %s: %w", file, err)
		}
	}
	return nil
}

// archives lists what the patterns choose, each once. One without a wildcard
// names a file that has to be there. Only "*" and "?" make a pattern, and "!" or
// "#" in front mean nothing, as in the task.
func archives(ctx context.Context, s step.Step, lines []string) ([]string, error) {
	var files []string
	for _, line := range lines {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		line = path.Clean(line)
		wild := strings.IndexAny(line, "*?")
		if wild < 0 {
			file := s.Path(line)
			if info, err := os.Stat(file); err != nil {
				return nil, fmt.Errorf("the input archiveFilePatterns: %w", err)
			} else if !info.Mode().IsRegular() {
				return nil, fmt.Errorf("the input archiveFilePatterns: %s is no file", file)
			}
			files = append(files, file)
			continue
		}
		slash := strings.LastIndexByte(line[:wild], '/') + 1
		dir := s.Path(line[:slash])
		s.Print(fmt.Sprintf("Searching for: %s under directory: %s", line[slash:], dir))
		if info, err := os.Stat(dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("the input archiveFilePatterns: %s is no directory", dir)
		}
		found, err := match.Walk(ctx, dir)
		if err != nil {
			return nil, err
		}
		pattern := line[slash:]
		if strings.HasPrefix(pattern, "!") || strings.HasPrefix(pattern, "#") {
			pattern = `\` + pattern
		}
		if found, err = match.Filter(found, []string{pattern}, dir, match.Options{NoDots: true, Braces: true}); err != nil {
			return nil, fmt.Errorf("the input archiveFilePatterns: %w", err)
		}
		for _, file := range found {
			if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}

// extractOne extracts one archive. When it cannot, nothing of it stays.
func extractOne(ctx context.Context, s step.Step, file, to string) (err error) {
	from, info, err := opened(s, file)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	form, err := format(file, from)
	if err != nil {
		return err
	}
	room, err := space(to)
	if err != nil {
		return err
	}
	overwrite := s.Truth("overwriteExistingFiles", false)
	if form == other {
		return extractOther(ctx, s, file, to, overwrite, room)
	}
	root, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	x := &extraction{step: s, root: root, overwrite: overwrite, room: room}
	defer func() {
		if err != nil {
			x.undo()
		}
		err = errors.Join(err, root.Close())
	}()
	if form == zipped {
		err = x.zip(ctx, from, info.Size())
	} else {
		err = x.tar(ctx, form, from, file)
	}
	if err == nil {
		err = x.finish()
	}
	return err
}

// extractOther lets 7-Zip extract an archive. It asks about what is there already
// when nobody tells it what to do, and nobody would answer.
func extractOther(ctx context.Context, s step.Step, file, to string, overwrite bool, room int64) error {
	existing := "-aos" // it stays
	if overwrite {
		existing = "-aoa"
	}
	full := func() bool {
		now, err := space(to)
		return err == nil && now < room/10
	}
	return watched(ctx, full, func(ctx context.Context) error {
		return runSevenZip(ctx, s, s.Text("pathToSevenZipTool", ""), []string{"x", existing, "-o" + to, "--", file}, to)
	})
}

// form is how an archive is packed.
type form int

const (
	other form = iota // for 7-Zip
	zipped
	tarred
	tarredGzip
	tarredBzip2
	tarredXz
)

// tarEnds are the names that tar is asked for, as in the task. What compresses
// one is in the file.
var tarEnds = []string{".tar", ".tar.gz", ".tgz", ".taz", ".tar.bz2", ".tz2", ".tbz2", ".tbz", ".tar.xz", ".txz"}

// foreign are names that the program tar would ask yet other programs about.
var foreign = []string{".tar.Z", ".taZ", ".tar.lz", ".tar.lzma", ".tlz", ".tar.lzo"}

// format finds out how file is packed: by its name, as the task does, and by its
// first bytes.
func format(name string, file *os.File) (form, error) {
	ends := func(ends []string) bool {
		return slices.ContainsFunc(ends, func(end string) bool { return strings.HasSuffix(name, end) })
	}
	begin := make([]byte, 6)
	n, _ := file.ReadAt(begin, 0) // a short one has no such beginning
	begin = begin[:n]
	starts := func(text string) bool { return strings.HasPrefix(string(begin), text) }
	switch {
	case ends(foreign):
		return 0, hint.With(fmt.Errorf("%s is packed in a way that only the program tar can unpack", filepath.Base(name)), "unpack it in a script step with tar")
	case !ends(tarEnds):
		if starts("PK\x03\x04") || starts("PK\x05\x06") || ends([]string{".zip", ".jar", ".war", ".ear"}) {
			return zipped, nil
		}
		return other, nil
	case starts("\x1f\x8b"):
		return tarredGzip, nil
	case starts("BZh"):
		return tarredBzip2, nil
	case starts("\xfd7zXZ\x00"):
		return tarredXz, nil
	}
	return tarred, nil
}

// isLocal reports whether an entry stays in the folder, by its name.
func isLocal(name string) bool { return filepath.IsLocal(name) && !strings.ContainsRune(name, 0) }
