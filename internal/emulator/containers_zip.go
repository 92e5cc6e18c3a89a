package emulator

import (
	"archive/zip"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// zipOf answers the items of a folder as a zip, whose names begin with the last
// part of the folder's path (§9.1).
func zipOf(c *call, items []containerItem, folder string) (any, error) {
	if len(items) == 0 {
		return nil, refuse(http.StatusNotFound, "ContainerItemNotFoundException", "The container has nothing at %s.", folder)
	}
	parent, _ := cutLast(folder)
	c.w.Header().Set("Content-Type", "application/zip")
	z := zip.NewWriter(c.w)
	for _, it := range items {
		if err := it.zip(z, strings.TrimPrefix(strings.TrimPrefix(it.path, parent), "/")); err != nil {
			return streamed{}, nil //nolint:nilerr // a zip without its end tells the client
		}
	}
	_ = z.Close() // a client that went away is its own problem
	return streamed{}, nil
}

// zip adds the file, as it was before it was compressed for its upload.
func (it *containerItem) zip(z *zip.Writer, name string) error {
	file, err := it.file.read()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read from
	from := io.LimitReader(file, it.have)
	if it.encoding != "" {
		unpacked, err := gzip.NewReader(from)
		if err != nil {
			return fmt.Errorf("reading item %s: %w", it.path, err)
		}
		from = unpacked
	}
	to, err := z.Create(name)
	if err == nil {
		_, err = io.Copy(to, from)
	}
	return err
}
