package explain

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"

	"github.com/moby/patternmatcher/ignorefile"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
)

// maxIgnore bounds an ignore file; real ones have some lines.
const maxIgnore = 1 << 20

// maxReaders is how many files are read at once where there are the processors:
// half of them, to leave the others to the build.
const maxReaders = 4

// entry is a file, directory or link of a context that is not ignored.
type entry struct {
	path string // slashes, relative
	stat *types.Stat
	read bool // by some step
	sum  Sum
}

// readFiles resolves what steps read, and hashes it.
func (w *describing) readFiles(ctx context.Context, sums *Sums) error {
	for i, dir := range w.dirs {
		var reads []read
		for _, r := range w.reads {
			if r.context == i {
				reads = append(reads, r)
			}
		}
		if dir == "" || len(reads) == 0 {
			continue
		}
		if err := w.readContext(ctx, i, reads, sums); err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("reading the files of the context: %w", context.Cause(ctx))
			}
			w.record.Contexts[i].Incomplete = clean(err.Error())
		}
	}
	return nil
}

func (w *describing) readContext(ctx context.Context, i int, reads []read, sums *Sums) error {
	dir, c := w.dirs[i], &w.record.Contexts[i]
	ignore := w.b.Ignore
	if i > 0 || ignore == nil {
		var err error
		if ignore, err = w.readIgnore(filepath.Join(dir, ".dockerignore")); err != nil {
			return err
		}
	}
	c.Ignore = Sum(ignore)
	entries, err := list(ctx, dir, ignore, reads)
	if err != nil {
		return err
	}
	selected := make([][]int, len(reads))
	for n, r := range reads {
		if selected[n], err = choose(entries, r); err != nil {
			return err
		}
		for _, at := range selected[n] {
			entries[at].read = true
		}
	}
	if err := hash(ctx, dir, entries, sums, w.b.Open); err != nil {
		return err
	}
	// Entries that no step reads leave; index says where the others went.
	index := make([]int, len(entries))
	for n, e := range entries {
		index[n] = len(c.Paths)
		if e.read {
			name := e.path
			if os.FileMode(e.stat.Mode).IsDir() {
				name += "/"
			}
			c.Paths, c.Sums = append(c.Paths, name), append(c.Sums, e.sum)
		}
	}
	for n, r := range reads {
		step := &w.record.Platforms[r.platform].Stages[r.stage].Steps[r.step]
		step.Files = append(step.Files, Files{Context: i, Ranges: ranges(selected[n], index)})
	}
	return nil
}

func (w *describing) open(name string) (*os.File, error) {
	if w.b.Open != nil {
		return w.b.Open(name)
	}
	return os.Open(name)
}

func (w *describing) readIgnore(name string) ([]byte, error) {
	f, err := w.open(name)
	if err != nil {
		return nil, nil //nolint:nilerr // no ignore file ignores nothing; the build itself reports one that cannot be read
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxIgnore))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return text, nil
}

// list returns the entries of dir that BuildKit would be sent, in its order.
func list(ctx context.Context, dir string, ignore []byte, reads []read) ([]entry, error) {
	excludes, err := ignorefile.ReadAll(bytes.NewReader(ignore))
	if err != nil {
		return nil, fmt.Errorf("reading the ignore file: %w", err)
	}
	local, err := fsutil.NewFS(dir)
	if err != nil {
		return nil, err
	}
	filtered, err := fsutil.NewFilterFS(local, &fsutil.FilterOpt{ExcludePatterns: excludes, FollowPaths: followed(reads)})
	if err != nil {
		return nil, err
	}
	var out []entry
	err = filtered.Walk(ctx, "/", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*types.Stat)
		if !ok {
			return fmt.Errorf("%s has no properties", name)
		}
		if len(out) == maxFiles {
			return fmt.Errorf("it has more than %d files", maxFiles)
		}
		out = append(out, entry{path: filepath.ToSlash(name), stat: stat})
		return ctx.Err()
	})
	return out, err
}

// followed returns the paths that BuildKit asks for, nil for all.
func followed(reads []read) []string {
	var out []string
	for _, r := range reads {
		for _, s := range r.sources {
			s = path.Join("/", filepath.ToSlash(s))
			if s == "/" {
				return nil
			}
			out = append(out, s[1:])
		}
	}
	return out
}

// hash computes the sums of the entries that steps read.
func hash(ctx context.Context, dir string, entries []entry, sums *Sums, open func(string) (*os.File, error)) error {
	if open == nil {
		open = os.Open
	}
	known := sums.load(dir)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(1, min(maxReaders, runtime.GOMAXPROCS(0)/2)))
	for i := range entries {
		e := &entries[i]
		if !e.read {
			continue
		}
		mode := os.FileMode(e.stat.Mode)
		head := fmt.Sprintf("%o\x00%s\x00", e.stat.Mode, e.stat.Linkname)
		if !mode.IsRegular() {
			e.sum = Sum(head)
			continue
		}
		g.Go(func() error {
			content, err := known.file(ctx, filepath.Join(dir, filepath.FromSlash(e.path)), e.path, open)
			e.sum = Sum(head) + Sum(content)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	sums.keep(known)
	return nil
}

// ranges turns indexes into ranges, after entries that nobody reads have left.
func ranges(chosen, index []int) [][2]int {
	var out [][2]int
	for _, i := range chosen {
		at := index[i]
		if n := len(out); n > 0 && out[n-1][1] == at {
			out[n-1][1]++
			continue
		}
		out = append(out, [2]int{at, at + 1})
	}
	return out
}
