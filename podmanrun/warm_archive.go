package podmanrun

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/dockless-ci/dockless/podmanrun/internal/libpod"
	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

// askTimeout bounds the question whether Podman can carry volumes, which it answers
// at once: nothing else ends it, since what a start makes is not left halfway.
const askTimeout = time.Minute

// archives carries volumes through Podman's API, as archives: Podman is on another
// machine or in another container, or its files are not this user's.
type archives struct {
	api     *libpod.Client
	volumes []warmVolume
}

// newArchives looks whether the service has the requests: Podman 5.6 and later do.
func newArchives(ctx context.Context, api *libpod.Client, volumes []warmVolume) (*archives, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("podman did not hand out an empty volume within %s", askTimeout))
	defer cancel()
	body, err := api.ExportVolume(ctx, volumes[0].name) // which is empty and there
	if libpod.HasStatus(err, http.StatusNotFound) {
		return nil, notWarmError("this process cannot write Podman's volumes itself, and Podman " + api.Version + " does not do it for others, as 5.6 and later do")
	}
	if err != nil {
		return nil, err
	}
	return &archives{api: api, volumes: volumes}, body.Close()
}

func (*archives) name() string { return "archive" }

func archiveIn(dir string, i int) string { return filepath.Join(dir, strconv.Itoa(i)+".tar.zst") }

func (a *archives) save(ctx context.Context, dir string, limit int64) (total warm.Tally, err error) {
	for i, v := range a.volumes {
		from, err := a.api.ExportVolume(ctx, v.name)
		if err != nil {
			return total, err
		}
		tally, err := warm.Pack(ctx, archiveIn(dir, i), from, limit-total.Bytes)
		_ = from.Close() // it has been read as far as it matters
		total.Files, total.Bytes = total.Files+tally.Files, total.Bytes+tally.Bytes
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (a *archives) load(ctx context.Context, dir string) (total warm.Tally, err error) {
	for i, v := range a.volumes {
		tally, err := a.fill(ctx, v, archiveIn(dir, i))
		total.Files += tally.Files
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (a *archives) fill(ctx context.Context, v warmVolume, file string) (warm.Tally, error) {
	f, err := os.Open(file)
	if err != nil {
		return warm.Tally{}, err
	}
	defer func() { _ = f.Close() }() // only read from
	read, write := io.Pipe()
	var tally warm.Tally
	done := make(chan struct{})
	go func() {
		defer close(done)
		var err error
		tally, err = warm.Unpack(ctx, write, f)
		write.CloseWithError(err)
	}()
	err = a.api.ImportVolume(ctx, v.name, read)
	_ = read.CloseWithError(io.ErrClosedPipe) // an answer that came early ends the writer
	<-done
	return tally, err
}
