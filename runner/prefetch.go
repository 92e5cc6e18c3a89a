package runner

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dockless-ci/dockless/internal/job"
	"github.com/dockless-ci/dockless/runner/internal/taskstore"
)

// KeepTask gets the package of a task before any job needs it: into the task store of
// c or, when work is true, unpacked into the cache of its work folder. That is done
// by agents, which only read the store: the jobs of each could write what it can. A
// package that is there already is only checked. tell is told what takes time,
// warn what went wrong and was overcome.
func (c Config) KeepTask(ctx context.Context, from TaskSource, ref job.TaskReference, work bool, tell, warn func(string)) (err error) {
	store := taskstore.Store{Dir: filepath.Join(c.Work, "_tasks"), Shared: c.TaskStore, Fetch: from.FetchTask, Say: tell, Warn: warn}
	if !work {
		store.Fill = true
		// Unpacking is how a package is known to be of use.
		if store.Dir, err = os.MkdirTemp("", "dockless-task-*"); err != nil {
			return fmt.Errorf("checking the package of task %s: %w", ref.Name, err)
		}
		defer func() {
			if rerr := os.RemoveAll(store.Dir); err == nil {
				err = rerr
			}
		}()
	}
	if _, err := store.Ensure(ctx, ref); err != nil {
		return fmt.Errorf("keeping task %s (%s): %w", ref.Name, ref.Version, err)
	}
	return nil
}

// WritableTaskStore returns a folder of the task store of c that jobs can write, since
// they run as the agent's user, or "".
func (c Config) WritableTaskStore() (string, error) { return taskstore.Writable(c.TaskStore) }
