package filetasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dockless-ci/dockless/internal/hint"
)

var errRoom = hint.With(errors.New("it is larger than nine tenths of what is free on the disk"), "give the work folder more space, or look whether this is an archive made to fill disks")

// space returns how much an archive may write, in bytes: most of what is free, so
// that one that is made to fill the disk ends before other jobs do.
func space(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("looking for space in %s: %w", dir, err)
	}
	return int64(s.Bavail) * int64(s.Bsize) / 10 * 9, nil //nolint:gosec,unconvert // no disk is as large; the types differ by system
}

// watching is how often somebody looks at what a program writes: it fills some
// hundred megabytes meanwhile.
const watching = 200 * time.Millisecond

// watched runs what writes to a disk, and ends it when the disk is full.
func watched(ctx context.Context, full func() bool, run func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		tick := time.NewTicker(watching)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if full() {
					cancel(errRoom)
				}
			}
		}
	}()
	err := run(ctx)
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	<-over
	return err
}
