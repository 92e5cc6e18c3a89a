package jobcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/dockless-ci/dockless/internal/hint"
	"github.com/dockless-ci/dockless/runner/internal/tartree"
	"github.com/dockless-ci/dockless/runner/internal/tidy"
)

// Cache keeps folders. It may be used concurrently, by several processes, too.
type Cache struct {
	Dir      Dir
	Registry *Registry         // nil: none
	Say      func(line string) // is told what happens
	Warn     func(text string) // is told what went wrong and does no harm
}

// Hit says what was restored.
type Hit struct {
	Found bool
	Exact bool // under the key that was asked for, not one that begins like it
	Key   Key
}

// Restore brings back the folder of key from the first scope that has it, else the
// newest folder whose key begins with one of prefixes, which are tried in their
// order. What is there already stays, but for files of the same name. An entry that
// cannot be read is removed, and the registry's taken in its place; without one it is
// a miss with a warning. Only where it left a part of itself in a folder that had
// other files does Restore fail.
func (c *Cache) Restore(ctx context.Context, key Key, prefixes []Key, scopes []Scope, path string) (Hit, error) {
	for _, scope := range scopes {
		hit, err := c.bring(ctx, path, func() (*os.File, header, error) { return c.exact(ctx, scope, key) })
		if err != nil || hit.Found {
			hit.Exact = hit.Found
			return hit, err
		}
	}
	for _, prefix := range prefixes {
		for _, scope := range scopes {
			hit, err := c.bring(ctx, path, func() (*os.File, header, error) { return c.newest(ctx, scope, prefix) })
			if err != nil || hit.Found {
				return hit, err
			}
		}
	}
	return Hit{}, ctxCause(ctx)
}

func ctxCause(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (c *Cache) exact(ctx context.Context, scope Scope, key Key) (*os.File, header, error) {
	file, h, err := c.Dir.open(scope, key)
	if err != nil && c.Registry != nil {
		c.complain(err)
		return c.fetch(ctx, scope, c.Registry.exactTag(scope, key), func(h header) bool { return h.Key.String() == key.String() })
	}
	return file, h, err
}

// newest asks the registry first: another node may have saved since.
func (c *Cache) newest(ctx context.Context, scope Scope, prefix Key) (*os.File, header, error) {
	file, h, err := c.Dir.newest(scope, prefix)
	if c.Registry == nil {
		return file, h, err
	}
	remote, rh, rerr := c.fetch(ctx, scope, c.Registry.prefixTag(scope, prefix), func(rh header) bool {
		return rh.Key.begins(prefix) && (err != nil || rh.Created.After(h.Created))
	})
	if rerr != nil {
		return file, h, err
	}
	if err == nil {
		_ = file.Close() // only read from
	}
	return remote, rh, nil
}

// bring finds an entry and unpacks it. One that is damaged is removed, so that the
// next job can save it again, and another one is looked for in its place.
func (c *Cache) bring(ctx context.Context, path string, find func() (*os.File, header, error)) (Hit, error) {
	var failed error // by what a damaged entry has left at path
	for range 2 {    // what the registry has then is damaged, too
		file, h, err := find()
		if err != nil {
			c.complain(err)
			return Hit{}, cmp.Or(ctxCause(ctx), failed)
		}
		defer file.Close() //nolint:errcheck // read only; there are two at most
		fresh, err := isFresh(path)
		if err != nil {
			return Hit{}, err
		}
		err = unpack(ctx, file, path)
		if err == nil {
			return Hit{Found: true, Key: h.Key}, nil
		}
		damaged := ctx.Err() == nil && (errors.Is(err, tartree.ErrArchive) || errors.Is(err, errBroken)) &&
			(fresh || !h.sound(file)) // other files may be to blame as well
		if damaged {
			discard(file)
		}
		if failed = c.clear(ctx, h, path, fresh, err); !damaged {
			return Hit{}, failed
		}
	}
	return Hit{}, failed
}

// clear removes what an entry has left that could not be unpacked. Among other files
// it fails: nobody knows what is whose.
func (c *Cache) clear(ctx context.Context, h header, path string, fresh bool, err error) error {
	if !fresh {
		return fmt.Errorf("restoring the cache %s into %s, where other files were: %w", h.Key, path, err)
	}
	if rerr := tidy.Empty(ctx, path); rerr != nil {
		return errors.Join(err, rerr)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.Warn(fmt.Sprintf("The cache %s could not be restored: %v", h.Key, err))
	return nil
}

// complain warns of what is not a plain miss.
func (c *Cache) complain(err error) {
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errMiss) {
		c.Warn(fmt.Sprintf("A cache could not be read: %v", err))
	}
}

// isFresh reports whether there is nothing at path yet.
func isFresh(path string) (bool, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return err == nil && len(entries) == 0, err
}

// Save keeps the folder at path, which must be one, under key in the scope write, unless a scope of
// read has that key already: entries are never changed. What the directory or the
// registry refuses is a warning.
func (c *Cache) Save(ctx context.Context, key Key, read []Scope, write Scope, path string, open func(string) (*os.File, error)) error {
	for _, scope := range read {
		file, _, err := c.Dir.open(scope, key)
		if err == nil {
			_ = file.Close() // only read from
			c.Say("The cache has this key already; it is not changed.")
			return nil
		}
		if c.Registry != nil && c.Registry.has(ctx, scope, key, c.complain) {
			c.Say("The registry has this key already; it is not changed.")
			return nil
		}
	}
	switch info, err := os.Stat(path); {
	case err != nil:
		return fmt.Errorf("saving the cache: %w", err)
	case !info.IsDir():
		return hint.With(fmt.Errorf("saving the cache: %s is a file, and only folders are cached", path), "name its directory in the input path")
	}
	h, err := c.store(ctx, key, write, path, open)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		c.Warn(fmt.Sprintf("The cache was not saved: %v", err))
		return nil
	}
	c.Say(fmt.Sprintf("Saved %s, %d bytes.", path, h.Size))
	return nil
}

// store writes the entry, sends it to the registry and keeps it.
func (c *Cache) store(ctx context.Context, key Key, scope Scope, path string, open func(string) (*os.File, error)) (header, error) {
	file, err := c.Dir.create(scope)
	if err != nil {
		return header{}, err
	}
	h, err := write(ctx, file, key, path, c.Dir.Size, open)
	if err != nil {
		drop(file)
		return h, err
	}
	if c.Registry != nil {
		if err := c.Registry.push(ctx, scope, h, io.NewSectionReader(file, headerSize, h.Size)); err != nil && ctx.Err() == nil {
			c.Warn(fmt.Sprintf("The cache was not sent to the registry: %v", err))
		}
	}
	kept, err := c.Dir.keep(file, scope, key)
	if err == nil && !kept {
		c.Say("Another job has saved this key meanwhile.")
	}
	return h, err
}

// fetch brings an entry from the registry into the directory and opens it there.
func (c *Cache) fetch(ctx context.Context, scope Scope, tag string, fits func(header) bool) (*os.File, header, error) {
	remote, err := c.Registry.find(ctx, tag)
	if err != nil {
		return nil, header{}, err
	}
	h := remote.header
	switch {
	case !fits(h):
		return nil, h, errMiss
	case h.Size+headerSize > c.Dir.Size:
		return nil, h, ErrTooLarge
	}
	if file, known, err := c.Dir.open(scope, h.Key); err == nil {
		return file, known, nil
	}
	c.Say(fmt.Sprintf("Fetching %d bytes from the registry.", h.Size))
	file, err := c.Dir.create(scope)
	if err != nil {
		return nil, h, err
	}
	if err := remote.download(ctx, file); err != nil {
		drop(file)
		return nil, h, err
	}
	if _, err := c.Dir.keep(file, scope, h.Key); err != nil {
		return nil, h, err
	}
	return c.Dir.open(scope, h.Key)
}
