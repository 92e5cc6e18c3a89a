package buildxsetup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/gofrs/flock"

	"github.com/dockless-ci/dockless/internal/buildkitconf"
)

// wedgedBelow is when BuildKit can no longer remove records: its databases grow
// by 16 MB at a time and have to be written for that.
const wedgedBelow = 16 << 20

// unwedge gives up the cache in root, which no buildkitd of ours uses yet, when
// the disk is so full that BuildKit could not remove any of it. argv is how
// buildkitd is started: without root it runs in a user namespace, in which alone
// its files can be removed.
func unwedge(ctx context.Context, root string, argv []string, log *slog.Logger) (err error) {
	if _, err := os.Stat(root); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	v, err := buildkitconf.StatVolume(root)
	if err != nil || v.Free >= wedgedBelow {
		return err
	}
	// Whoever started one in the meantime keeps it: this is the lock of buildkitd.
	lock := flock.New(filepath.Join(root, "buildkitd.lock"))
	free, err := lock.TryLock()
	if err != nil || !free {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	log.WarnContext(ctx, "giving up the build cache: its disk is full to the last byte", "root", root, "free", v.Free)
	if i := slices.IndexFunc(argv, func(a string) bool { return filepath.Base(a) == "buildkitd" }); i > 0 {
		const removeTimeout = time.Minute
		ctx, cancel := context.WithTimeoutCause(ctx, removeTimeout, fmt.Errorf("removing the cache took longer than %s", removeTimeout))
		defer cancel()
		inside := append(slices.Clone(argv[:i]), "rm", "-rf", "--", root)
		if out, err := exec.CommandContext(ctx, inside[0], inside[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("removing the cache: %w: %s", err, out)
		}
		return nil
	}
	if err := os.RemoveAll(root); err != nil {
		return fmt.Errorf("removing the cache: %w", err)
	}
	return nil
}
