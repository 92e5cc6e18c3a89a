package ado

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"runtime"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/internal/retry"
)

// The values of protocol §9.1.
const (
	partSize      = 4 << 20
	partAttempts  = 3
	partTimeout   = 600 * time.Second
	parallelFiles = 2
)

var (
	errChanged    = errors.New("the file changed while it was uploaded")
	errIncomplete = errors.New("the server did not confirm the whole file")
)

// Upload sends files into the container of a run, two at a time, of each of which
// it holds no more than three parts of 4 MiB in memory. A part is tried three
// times, and the files that failed all the same once more a minute later.
func (c *BuildClient) Upload(ctx context.Context, u job.Upload) error {
	up := &uploading{client: c, Upload: u}
	failed, err := up.all(ctx, u.Files)
	if err == nil || ctx.Err() != nil || !hopeful(err) {
		return err
	}
	_, _, pause := c.pauses()
	up.say(fmt.Sprintf("%d of %d files could not be uploaded and are tried again in %s: %v", len(failed), len(u.Files), pause, err))
	if err := retry.Wait(ctx, pause); err != nil {
		return err
	}
	_, err = up.all(ctx, failed)
	return err
}

// hopeful reports whether sending a file again may help: not when our own side or
// the server refuses it as it is.
func hopeful(err error) bool {
	if status, ok := errors.AsType[*StatusError](err); ok {
		return status.Code >= http.StatusInternalServerError || status.Code == http.StatusTooManyRequests || status.Code == http.StatusRequestTimeout
	}
	_, broken := errors.AsType[*connectionError](err)
	return broken || errors.Is(err, errIncomplete)
}

// uploading is one call of [BuildClient.Upload].
type uploading struct {
	client *BuildClient
	job.Upload

	mu sync.Mutex
}

func (u *uploading) say(line string) {
	if u.Say != nil {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.Say(line)
	}
}

// all sends files, two at a time, and returns those that failed with the first
// failure. What cannot be mended ends it at once.
func (u *uploading) all(ctx context.Context, files []job.UploadFile) (failed []job.UploadFile, first error) {
	g, together := errgroup.WithContext(ctx)
	g.SetLimit(min(runtime.NumCPU(), parallelFiles))
	var mu sync.Mutex
	for _, f := range files {
		if together.Err() != nil {
			break
		}
		g.Go(func() error {
			err := u.file(together, f)
			if err == nil {
				return nil
			}
			err = fmt.Errorf("uploading %s: %w", f.Path, err)
			mu.Lock()
			defer mu.Unlock()
			failed, first = append(failed, f), cmp.Or(first, err)
			if !hopeful(err) {
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return failed, err
	}
	if first == nil && ctx.Err() != nil {
		first = context.Cause(ctx)
	}
	return failed, first
}

// file sends one file, compressed when that makes it smaller.
func (u *uploading) file(ctx context.Context, f job.UploadFile) error {
	content, err := u.content(ctx, f)
	if err != nil {
		return err
	}
	defer content.Close() //nolint:errcheck // only read from
	if content.length == 0 {
		status, err := u.put(ctx, f.Path, nil, nil)
		return confirmed(status, err)
	}
	buffer := make([]byte, min(partSize, content.length))
	for start := int64(0); start < content.length; {
		part := buffer[:min(int64(len(buffer)), content.length-start)]
		if _, err := io.ReadFull(content, part); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = errChanged
			}
			return err
		}
		end := start + int64(len(part))
		header := map[string]string{"Content-Range": fmt.Sprintf("bytes %d-%d/%d", start, end-1, content.length)}
		if content.packed {
			header["Content-Encoding"] = "gzip"
			header["x-tfs-filelength"] = strconv.FormatInt(content.size, 10)
		}
		status, err := u.chunk(ctx, f.Path, part, header)
		if err != nil {
			return fmt.Errorf("bytes %d to %d of %d: %w", start, end-1, content.length, err)
		}
		if start = end; start == content.length {
			return confirmed(status, nil)
		}
	}
	return nil
}

// confirmed says that a file is there only when the last answer says so.
func confirmed(status int, err error) error {
	if err == nil && status != http.StatusCreated {
		err = fmt.Errorf("%w: its last answer was %d", errIncomplete, status)
	}
	return err
}

// chunk sends one part of a file, again when that fails.
func (u *uploading) chunk(ctx context.Context, name string, part []byte, header map[string]string) (status int, err error) {
	low, high, _ := u.client.pauses()
	for attempt := 1; ; attempt++ {
		status, err = u.put(ctx, name, part, header)
		if err == nil || ctx.Err() != nil || attempt == partAttempts || !hopeful(err) {
			return status, err
		}
		pause := retry.Between(low, high)
		u.say(fmt.Sprintf("A part of %s could not be uploaded and is tried again in %s: %v", name, pause.Round(time.Second), err))
		if err := retry.Wait(ctx, pause); err != nil {
			return 0, err
		}
	}
}

// put sends a part of a file, or an empty file.
func (u *uploading) put(ctx context.Context, name string, part []byte, header map[string]string) (status int, err error) {
	r := call{
		method: http.MethodPut, location: LocationContainers, version: versionContainers,
		route:  map[string]string{"containerId": strconv.FormatInt(u.Container, 10)},
		query:  url.Values{"itemPath": {path.Join(u.Folder, name)}, "scope": {u.Run.Project}},
		header: header,
	}
	if part != nil {
		r.content = bytes.NewReader(part)
	}
	answer, err := u.client.chunks.send(withoutRetries(ctx), r)
	if err != nil {
		return 0, err
	}
	_ = answer.Body.Close() // in memory already
	return answer.StatusCode, nil
}

// Files lists the files of an artifact in a container.
func (c *BuildClient) Files(ctx context.Context, run job.RunReference, a job.Artifact) ([]job.ContainerFile, error) {
	id, folder, ok := a.Resource.Container()
	if !ok {
		return nil, fmt.Errorf("artifact %s is of type %s at %q, which is no file container", a.Name, a.Resource.Type, a.Resource.Data)
	}
	var items List[struct {
		Path       string          `json:"path"`
		ItemType   containerFolder `json:"itemType"`
		FileLength int64           `json:"fileLength"`
	}]
	_, err := c.conn.do(ctx, call{
		method: http.MethodGet, location: LocationContainers, version: versionContainers,
		route: map[string]string{"containerId": strconv.FormatInt(id, 10)},
		query: url.Values{"itemPath": {folder}, "scope": {run.Project}},
	}, &items)
	if err != nil {
		return nil, fmt.Errorf("listing the files of artifact %s: %w", a.Name, err)
	}
	var files []job.ContainerFile
	for _, item := range items.Value {
		if name, ok := below(folder, item.Path); ok && !bool(item.ItemType) {
			files = append(files, job.ContainerFile{Path: name, Size: item.FileLength})
		}
	}
	return files, nil
}

// Fetch writes one file of an artifact to to. It makes one attempt and may have
// written a part of the file when it fails; whether another one may help is said
// as by [TaskClient.FetchTask].
func (c *BuildClient) Fetch(ctx context.Context, run job.RunReference, a job.Artifact, name string, to io.Writer) error {
	id, folder, ok := a.Resource.Container()
	if !ok {
		return fmt.Errorf("artifact %s is in no file container", a.Name)
	}
	query := url.Values{"itemPath": {path.Join(folder, name)}, "scope": {run.Project}}
	answer, err := c.conn.stream(ctx, c.base, LocationContainers, versionContainers, map[string]string{"containerId": strconv.FormatInt(id, 10)}, query)
	if err != nil {
		return fmt.Errorf("fetching %s of artifact %s: %w", name, a.Name, err)
	}
	defer answer.Body.Close() //nolint:errcheck // read only
	if _, err := io.Copy(to, answer.Body); err != nil {
		return fmt.Errorf("fetching %s of artifact %s: %w", name, a.Name, err)
	}
	return nil
}

// content is the stream that is uploaded for a file.
type content struct {
	io.Reader
	close  func() error
	length int64 // of the stream
	size   int64 // of the file
	packed bool
}

// Close releases the file.
func (c *content) Close() error { return c.close() }

// open opens a file and says how large it is.
func open(f job.UploadFile) (fs.File, int64, error) {
	file, err := f.Open()
	if err != nil {
		return nil, 0, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		_ = file.Close() // nothing was read
		return nil, 0, err
	}
	return file, info.Size(), nil
}

// temporary makes a file that has no name, so nothing is left of it.
func temporary(dir string) (*os.File, error) {
	file, err := os.CreateTemp(dir, "upload-*")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}
