package libpod

import (
	"archive/tar"
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
)

// File is a file that is copied into a container.
type File struct {
	Path     string // in the container, absolute
	Content  []byte
	Mode     os.FileMode
	UID, GID int
}

// CopyFiles writes files into a container that need not run. Directories above
// them that are missing are made.
func (c *Client) CopyFiles(ctx context.Context, id, name string, files []File) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path.Clean(f.Path), "/"), Size: int64(len(f.Content)),
			Mode: int64(f.Mode.Perm()), Uid: f.UID, Gid: f.GID,
		}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(f.Content); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	// By default everything would belong to the container's user.
	return c.call(ctx, request{
		method: http.MethodPut, path: "/containers/" + id + "/archive", query: url.Values{"path": {"/"}, "rename": {"{}"}, "copyUIDGID": {"false"}}, body: &archive,
		what: "copying files into container " + name, bound: loadTimeout,
	}, nil)
}

// PutArchive unpacks a tar archive into a directory of a container, which exists.
func (c *Client) PutArchive(ctx context.Context, id, name, dir string, archive *bytes.Buffer) error {
	return c.call(ctx, request{
		method: http.MethodPut, path: "/containers/" + id + "/archive", query: url.Values{"path": {dir}, "rename": {"{}"}}, body: archive,
		what: "copying files into container " + name, bound: loadTimeout,
	}, nil)
}
