package filetasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/dockless-ci/dockless/runner/internal/match"
	"github.com/dockless-ci/dockless/runner/internal/step"
)

// copying is one CopyFiles@2.
type copying struct {
	step                step.Step
	source, target      string
	overwrite, flatten  bool
	times, ignoreMaking bool
	clean               bool
	retries             int
	delay               time.Duration
	made                map[string]bool // directories that are there
}

// Copy is CopyFiles@2.
func Copy(ctx context.Context, s step.Step) error {
	lines, err := patterns(s, "Contents", "**")
	if err != nil {
		return err
	}
	target, err := required(s, "TargetFolder", "")
	if err != nil {
		return err
	}
	c := &copying{
		step: s, source: filepath.Clean(s.Path(s.Text("SourceFolder", ""))), target: s.Path(target),
		clean: s.Truth("CleanTargetFolder", false), overwrite: s.Truth("OverWrite", false), flatten: s.Truth("flattenFolders", false),
		times: s.Truth("preserveTimestamp", false), ignoreMaking: s.Truth("ignoreMakeDirErrors", false),
		retries: count(s.Text("retryCount", "0")), delay: time.Duration(count(s.Text("delayBetweenRetries", "1000"))) * time.Millisecond,
		made: make(map[string]bool),
	}
	files, err := c.find(ctx, lines)
	if err != nil {
		return err
	}
	s.Print(fmt.Sprintf("found %d files", len(files)))
	if len(files) == 0 {
		return nil
	}
	if c.target, err = s.Target("TargetFolder", c.target); err != nil {
		return err
	}
	if c.clean {
		s.Print("Cleaning target folder: " + c.target)
		if err := c.again(ctx, func() error { return empty(s, c.target, false) }); err != nil {
			return fmt.Errorf("cleaning the target folder: %w", err)
		}
	}
	if err := c.makeDirectory(ctx, c.target); err != nil {
		return err
	}
	for _, file := range files {
		if err := c.file(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// count reads a number as the task does: what is none counts as 0.
func count(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	// A day in milliseconds is more than any step has, and no duration overflows.
	return min(max(n, 0), 24*60*60*1000)
}

// find lists what the patterns choose, without the directories.
func (c *copying) find(ctx context.Context, lines []string) ([]string, error) {
	if _, err := os.Stat(c.source); err != nil {
		return nil, fmt.Errorf("the source folder: %w", err)
	}
	paths, err := match.Walk(ctx, c.source)
	if err != nil {
		return nil, err
	}
	if paths, err = match.Filter(paths, lines, c.source, match.Options{}); err != nil {
		return nil, fmt.Errorf("the input Contents: %w", err)
	}
	var files []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("the link %s leads to no file: %w", path, err)
		}
		if !info.IsDir() {
			files = append(files, path)
		}
	}
	return files, nil
}

// file copies one file, or says why not.
func (c *copying) file(ctx context.Context, file string) error {
	rel := filepath.Base(file)
	if !c.flatten && file != c.source {
		var err error
		if rel, err = filepath.Rel(c.source, file); err != nil {
			return err
		}
	}
	target := filepath.Join(c.target, rel)
	if _, err := c.step.Target("TargetFolder", target); err != nil { // its directory may be a link, or itself
		return err
	}
	if err := c.makeDirectory(ctx, filepath.Dir(target)); err != nil {
		return err
	}
	info, err := os.Stat(target)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("copying %s: there is a directory at %s", file, target)
	case err == nil && !c.overwrite:
		c.step.Print(fmt.Sprintf("File %s already exist at %s", file, target))
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("copying %s: %w", file, err)
	}
	c.step.Print(fmt.Sprintf("Copying %s to %s", file, target))
	if err := c.again(ctx, func() error { return c.copyFile(ctx, file, target) }); err != nil {
		return fmt.Errorf("copying %s: %w", file, err)
	}
	return nil
}

// copyFile copies the content, the mode and, when asked, the times.
func (c *copying) copyFile(ctx context.Context, file, target string) (err error) {
	from, info, err := opened(c.step, file)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	// No truncation yet: both may be one file. No wait for the reader of a pipe.
	to, err := os.OpenFile(target, os.O_WRONLY|os.O_CREATE|syscall.O_NONBLOCK, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	there, err := to.Stat()
	switch {
	case err != nil:
		return err
	case os.SameFile(info, there):
		return nil
	case !there.Mode().IsRegular():
		return fmt.Errorf("%s is no file", target)
	}
	if err := to.Truncate(0); err != nil {
		return err
	}
	if err := copied(ctx, to, from); err != nil {
		return err
	}
	if err := to.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if c.times {
		if err := os.Chtimes(target, time.Time{}, info.ModTime()); err != nil {
			c.step.Warning(fmt.Sprintf("the time of %s was not kept: %v", target, err))
		}
	}
	return nil
}

// makeDirectory makes dir unless it is there.
func (c *copying) makeDirectory(ctx context.Context, dir string) error {
	if c.made[dir] {
		return nil
	}
	err := c.again(ctx, func() error { return os.MkdirAll(dir, 0o777) }) //nolint:gosec // the umask decides, as for what the job makes itself
	if err != nil {
		if !c.ignoreMaking {
			return fmt.Errorf("making the target folder: %w", err)
		}
		c.step.Print(fmt.Sprintf("Unable to create target folder (%s): %v. This is ignored because of ignoreMakeDirErrors.", dir, err))
	}
	c.made[dir] = true
	return nil
}

// again tries what may fail for a while, as on a network share.
func (c *copying) again(ctx context.Context, try func() error) error {
	for left := c.retries; ; left-- {
		err := try()
		if err == nil || left == 0 || ctx.Err() != nil {
			return err
		}
		c.step.Print(fmt.Sprintf("%v; %d more tries", err, left))
		timer := time.NewTimer(c.delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}
