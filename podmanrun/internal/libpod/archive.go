package libpod

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
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
// What is in it belongs to whom the archive says.
func (c *Client) PutArchive(ctx context.Context, id, name, dir string, archive io.Reader) error {
	return c.call(ctx, request{
		method: http.MethodPut, path: "/containers/" + id + "/archive", query: url.Values{"path": {dir}, "rename": {"{}"}, "copyUIDGID": {"false"}}, body: archive,
		what: "copying files into container " + name, bound: loadTimeout,
	}, nil)
}

// PathStat is what Podman tells of a path in a container.
type PathStat struct {
	Name       string      `json:"name"`
	Size       int64       `json:"size"`
	Mode       os.FileMode `json:"mode"`
	LinkTarget string      `json:"linkTarget"`
}

// statHeader carries a [PathStat] as base64 of JSON.
const statHeader = "X-Docker-Container-Path-Stat"

// StatPath looks at a path in a container. One that is not there is a
// [*StatusError] with code 404.
func (c *Client) StatPath(ctx context.Context, id, name, path string) (*PathStat, error) {
	what := "looking for " + path + " in container " + name
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("podman did not answer within %s", requestTimeout))
	defer cancel()
	resp, err := c.send(ctx, request{
		method: http.MethodHead, path: "/containers/" + id + "/archive", query: url.Values{"path": {path}}, bound: -1, what: what,
	})
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close() // the answer to a question for headers has none
	stat, err := readStat(resp.Header.Get(statHeader))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return stat, nil
}

func readStat(header string) (*PathStat, error) {
	data, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		data, err = base64.URLEncoding.DecodeString(header)
	}
	var stat PathStat
	if err == nil {
		err = json.Unmarshal(data, &stat)
	}
	if err != nil {
		return nil, fmt.Errorf("decoding podman's answer: %w", err)
	}
	return &stat, nil
}

// GetArchive returns a path of a container, which need not run, as a tar archive;
// the caller closes it.
func (c *Client) GetArchive(ctx context.Context, id, name, path string) (io.ReadCloser, error) {
	return c.stream(ctx, request{
		method: http.MethodGet, path: "/containers/" + id + "/archive", query: url.Values{"path": {path}}, bound: -1,
		what: "copying " + path + " out of container " + name,
	})
}
