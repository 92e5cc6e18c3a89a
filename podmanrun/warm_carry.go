package podmanrun

import (
	"context"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/podmanrun/internal/warm"
)

// carrier brings the content of a container's volumes into a fixture and back. The
// container does not run meanwhile.
type carrier interface {
	name() string // of its kind of fixtures
	save(ctx context.Context, dir string, limit int64) (warm.Tally, error)
	load(ctx context.Context, dir string) (warm.Tally, error)
}

// carrierFor copies volumes where they are if this process may, and else through
// Podman's API.
func (n *unit) carrierFor(ctx context.Context, volumes []warmVolume) (carrier, error) {
	places := make([]string, len(volumes))
	direct := n.up.client.local() && os.Geteuid() == 0
	for i, v := range volumes {
		place, err := n.up.client.api.VolumePath(ctx, v.name)
		if err != nil {
			return nil, err
		}
		// A directory of this name, made a moment ago, is the one that Podman sees.
		stat, err := os.Lstat(place)
		direct = direct && err == nil && stat.IsDir()
		places[i] = place
	}
	if direct {
		return folders(places), nil
	}
	return newArchives(ctx, n.up.client.api, volumes)
}

// writable reports whether this process may write into a directory.
func writable(dir string) bool { return unix.Access(dir, unix.W_OK) == nil }

// folders are where volumes are on this machine.
type folders []string

func (folders) name() string { return "files" }

func (f folders) save(ctx context.Context, dir string, limit int64) (total warm.Tally, err error) {
	for i, place := range f {
		to := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(to, 0o700); err != nil {
			return total, err
		}
		tally, err := warm.Copy(ctx, to, place, limit-total.Bytes)
		total.Files, total.Bytes = total.Files+tally.Files, total.Bytes+tally.Bytes
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (f folders) load(ctx context.Context, dir string) (total warm.Tally, err error) {
	for i, place := range f {
		tally, err := warm.Copy(ctx, place, filepath.Join(dir, strconv.Itoa(i)), 1<<62)
		total.Files, total.Bytes = total.Files+tally.Files, total.Bytes+tally.Bytes
		if err != nil {
			return total, err
		}
	}
	return total, nil
}
