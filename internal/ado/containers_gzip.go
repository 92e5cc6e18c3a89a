package ado

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/klauspost/compress/gzip"
	"github.com/microsoft/azure-devops-go-api/azuredevops/v7"

	"github.com/dockless-ci/dockless/internal/job"
)

// content returns what is uploaded for a file: the file, or its compressed form
// when that is smaller (protocol §9.1). A file of one part is compressed in
// memory, a larger one into a temporary file, and only when its first part gets
// smaller: the rest of an archive is like its beginning.
func (u *uploading) content(ctx context.Context, f job.UploadFile) (*content, error) {
	file, size, err := open(f)
	if err != nil {
		return nil, err
	}
	plain := &content{Reader: file, close: file.Close, length: size, size: size}
	if size == 0 {
		return plain, nil
	}
	first := make([]byte, min(size, partSize))
	if _, err := io.ReadFull(file, first); err != nil {
		_ = file.Close() // the other error counts
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errChanged
		}
		return nil, err
	}
	plain.Reader = io.MultiReader(bytes.NewReader(first), file)
	var small bytes.Buffer
	if _, err := pack(&small, bytes.NewReader(first)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	switch {
	case small.Len() >= len(first):
		return plain, nil
	case size <= partSize:
		return &content{Reader: &small, close: file.Close, length: int64(small.Len()), size: size, packed: true}, nil
	}
	packed, err := u.packFile(ctx, plain)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	if packed.length < size {
		return packed, file.Close()
	}
	// Its beginning was not like the rest.
	if err := errors.Join(packed.Close(), file.Close()); err != nil {
		return nil, err
	}
	again, size, err := open(f)
	if err != nil {
		return nil, err
	}
	return &content{Reader: again, close: again.Close, length: size, size: size}, nil
}

// packFile compresses a file into a temporary one.
func (u *uploading) packFile(ctx context.Context, plain *content) (_ *content, err error) {
	to, err := temporary(u.Temp)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, to.Close())
		}
	}()
	from := &untilDone{from: io.LimitReader(plain, plain.size), ctx: ctx}
	read, err := pack(to, from)
	if err != nil {
		return nil, err
	}
	if read != plain.size {
		return nil, errChanged
	}
	length, err := to.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	if _, err := to.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return &content{Reader: to, close: to.Close, length: length, size: plain.size, packed: true}, nil
}

// pack compresses quickly: what is saved on the wire must not be lost on the CPU
// that the next step needs.
func pack(to io.Writer, from io.Reader) (read int64, err error) {
	z, err := gzip.NewWriterLevel(to, gzip.BestSpeed)
	if err != nil {
		return 0, err
	}
	if read, err = io.Copy(z, from); err != nil {
		return read, err
	}
	return read, z.Close()
}

// untilDone reads until a context ends.
type untilDone struct {
	from io.Reader
	ctx  context.Context //nolint:containedctx // of the upload that reads
}

// Read implements io.Reader.
func (u *untilDone) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.from.Read(p)
}

// stream asks for a file and returns the answer, whose body arrives as it is read.
func (c *connection) stream(ctx context.Context, base *azuredevops.Client, location LocationID, version string, route map[string]string, query url.Values) (*http.Response, error) {
	id, err := uuid.Parse(string(location))
	if err != nil {
		return nil, err
	}
	answer, err := base.Send(ctx, http.MethodGet, id, version, route, query, nil, "", mediaBinary, nil)
	if err != nil {
		return nil, cleaned(err)
	}
	return answer, nil
}

// containerFolder is true for the item type of a folder: a name in any case, or 1
// (protocol §9.1, §1.7).
type containerFolder bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *containerFolder) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) != nil {
		text = string(data)
	}
	*f = containerFolder(strings.EqualFold(text, "folder") || text == "1")
	return nil
}

// below returns the part of an item's path that is below a folder. Paths of
// containers ignore case. A file that is the folder itself is its last part.
func below(folder, item string) (string, bool) {
	item = strings.Trim(strings.ReplaceAll(item, `\`, "/"), "/")
	if strings.EqualFold(item, folder) {
		return item[strings.LastIndexByte(item, '/')+1:], true
	}
	if len(item) <= len(folder) || !strings.EqualFold(item[:len(folder)], folder) || item[len(folder)] != '/' {
		return "", false
	}
	return item[len(folder)+1:], true
}
